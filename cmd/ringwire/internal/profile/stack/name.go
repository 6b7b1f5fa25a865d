// Package stack reads what the samples of a profile are about: names short enough
// for a table, whose code it is, what the processor was doing, and the role of the
// goroutine.
package stack

import (
	"regexp"
	"strings"
)

const (
	ownModule   = "github.com/ringwire/ringwire/"
	harnessPath = ownModule + "benchmarks/"
	commandPath = ownModule + "cmd/"
	profilePath = commandPath + "ringwire/internal/profile"
)

// pathEnd is the length of name's leading part in which slashes separate the
// elements of an import path. Behind it they are part of a type.
func pathEnd(name string) int {
	if at := strings.IndexAny(name, "(["); at >= 0 {
		return at
	}
	return len(name)
}

// Package is the import path in a function's name, such as
// "github.com/ringwire/ringwire/engine" for one of its methods.
func Package(name string) string {
	path := name[:pathEnd(name)]
	slash := strings.LastIndexByte(path, '/') + 1
	if dot := strings.IndexByte(path[slash:], '.'); dot >= 0 {
		return path[:slash+dot]
	}
	return path
}

// versionElement is the last element of the import path of a module's second
// and later major versions.
var versionElement = regexp.MustCompile(`^v[0-9]+$`)

// typeArguments are those of a generic function, which fill a line and tell
// nothing that its name does not.
var typeArguments = regexp.MustCompile(`\[.*\]`)

// Short is a function's name without what every reader knows: our module's path,
// the hosts and owners of others', and type arguments. The standard library's
// paths stay whole.
func Short(name string) string {
	pkg := Package(name)
	rest := typeArguments.ReplaceAllString(name[len(pkg):], "[...]")
	own, isOwn := strings.CutPrefix(pkg, ownModule)
	first, _, _ := strings.Cut(pkg, "/")
	if isOwn && OwnerOf(name) == Ours {
		return own + rest
	}
	if !strings.Contains(first, ".") {
		return pkg + rest
	}
	elements := strings.Split(pkg, "/")
	last := len(elements) - 1
	if last > 0 && versionElement.MatchString(elements[last]) {
		last--
	}
	return elements[last] + rest
}

// Owner is whose code a function is.
type Owner string

const (
	Ours     Owner = "ringwire" // the library
	Harness  Owner = "harness"  // the load, the echo handler, the command
	Profiler Owner = "profiler" // the code that records
	Loop     Owner = "gnet"     // the server's event loops, and its worker pool
	Runtime  Owner = "runtime"  // the scheduler, memory, channels
	Sync     Owner = "sync"     // locks, and what they stand on
	Other    Owner = "other"
)

// OwnerOf says whose code the function is.
func OwnerOf(name string) Owner {
	pkg := Package(name)
	switch {
	case strings.HasPrefix(pkg, profilePath):
		return Profiler
	case strings.HasPrefix(pkg, harnessPath), strings.HasPrefix(pkg, commandPath), pkg == "main":
		return Harness
	case strings.HasPrefix(pkg, ownModule):
		return Ours
	case pkg == "runtime/pprof", pkg == "runtime/trace", pkg == "internal/profile",
		pkg == "net/http", strings.HasPrefix(pkg, "net/http/"), strings.HasPrefix(pkg, "compress/"):
		return Profiler
	case pkg == "runtime", strings.HasPrefix(pkg, "internal/runtime/"), pkg == name && name != unknown:
		return Runtime // assembler functions, such as memeqbody, have no package
	case pkg == "sync", pkg == "internal/sync", pkg == "sync/atomic", pkg == "internal/poll" && strings.Contains(name, "fdMutex"):
		return Sync
	case strings.HasPrefix(pkg, "github.com/panjf2000/"):
		return Loop
	}
	return Other
}

// Responsible is whose code caused what the stack, leaf first, did: the owner
// of the first frame that is neither the standard library's nor the runtime's.
func Responsible(frames []string) Owner {
	for _, name := range frames {
		switch owner := OwnerOf(name); owner {
		case Runtime, Sync, Other:
		default:
			return owner
		}
	}
	return Other
}
