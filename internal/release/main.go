// Command release makes a release: the binaries with their checksums, and a tagged commit
// from which go install works.
//
// The modules of this repository name each other by replace lines, so that a clone builds
// what it holds. The go command installs no module at a version whose go.mod has such a line.
// So the tagged commit, which is on no branch, has them replaced by requirements of the same
// version. Each module gets a tag of its own: VERSION for the root, and load/VERSION for load.
//
// Nothing in the working tree changes: the work is done in a clone of HEAD. Before anything is
// kept, a module proxy made of files serves the modules to go install, and what that has built
// must say the version.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

func main() {
	version := flag.String("version", "", "the version, such as v0.2.0")
	out := flag.String("out", "dist", "directory for the binaries and SHA256SUMS; it must not exist, or be empty")
	tag := flag.Bool("tag", false, "create the tags in this repository")
	flag.Parse()
	if err := run(*version, *out, *tag); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// products are the modules that are released, as directories. What they require of this
// repository is released with them.
var products = []string{".", "load", "cmd/ringwire"}

func run(version, out string, tag bool) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version || semver.Build(version) != "" {
		return fmt.Errorf("-version %q: must be like v1.2.3 or v1.2.3-rc.1", version)
	}
	if semver.Major(version) > "v1" {
		return fmt.Errorf("-version %q: from v2 on each module path must end in the major version; this program cannot do that yet", version)
	}
	top, err := output("", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	changed, err := output(top, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("the working tree has changes, and a release is made of a commit; commit them first:\n%s", changed)
	}
	out, err = emptyDir(out)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ringwire-release-")
	if err != nil {
		return err
	}
	defer removeAll(work)
	r := &release{version: version, tree: filepath.Join(work, "tree"), work: work, proxy: filepath.Join(work, "proxy")}
	if err := r.clone(top, products); err != nil {
		return err
	}
	if err := r.make(out); err != nil {
		return err
	}
	if !tag {
		fmt.Println("no tags were created; for that give -tag")
		return nil
	}
	return r.keepTags(top)
}

// clone makes the clone, and decides what is released.
func (r *release) clone(repository string, products []string) error {
	if _, err := output("", "git", "clone", "--quiet", "--shared", repository, r.tree); err != nil {
		return err
	}
	for _, key := range []string{"user.name", "user.email"} {
		who, err := output(repository, "git", "config", key)
		if err != nil {
			return fmt.Errorf("git config %s is not set, and the tags need it: %w", key, err)
		}
		if _, err := output(r.tree, "git", "config", key, who); err != nil {
			return err
		}
	}
	modules, err := r.modules()
	if err != nil {
		return err
	}
	if r.order, err = released(modules, products); err != nil {
		return err
	}
	// A version that somebody may have never changes.
	for _, name := range tags(r.order, r.version) {
		if _, err := output(repository, "git", "rev-parse", "--quiet", "--verify", "refs/tags/"+name); err == nil {
			return fmt.Errorf("the tag %s exists already; choose another version", name)
		}
	}
	return nil
}

// make does all that a release consists of, in the clone.
func (r *release) make(out string) error {
	for _, m := range r.order {
		if err := r.publish(m); err != nil {
			return fmt.Errorf("module %s: %w", m.path, err)
		}
	}
	if err := r.commit(); err != nil {
		return err
	}
	if err := r.tryInstall(); err != nil {
		return err
	}
	return r.build(out)
}

// emptyDir makes a directory, or takes one that is empty, and returns its absolute path.
func emptyDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("-out %s: is not empty; a release mixes with nothing", dir)
	}
	return dir, err
}

// removeAll removes a tree in which a module cache has made directories that nobody may write.
func removeAll(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o755)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

// tagOf returns the tag by which the go command finds a version of the module in dir.
func tagOf(dir, version string) string {
	if dir == "." {
		return version
	}
	return strings.TrimPrefix(dir, "./") + "/" + version
}
