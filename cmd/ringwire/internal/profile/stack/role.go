package stack

import (
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Roles of goroutines, and of what runs on none, that no label tells.
const (
	RoleLoop      = "loop"      // an event loop of the server
	RoleScheduler = "scheduler" // between two goroutines
	RoleGC        = "gc"        // the runtime's own goroutines
	RoleNone      = "unlabelled"
	// RoleProfiler is that of the goroutines that record; package record sets it.
	RoleProfiler = "profiler"
)

// role is the sample's label, or what its stack tells.
func role(s *profile.Sample, frames []string) string {
	if values := s.Label[Label]; len(values) > 0 {
		return values[0]
	}
	for _, name := range frames {
		switch {
		case strings.HasPrefix(name, "github.com/panjf2000/gnet/") && strings.Contains(name, ".(*eventloop)."):
			return RoleLoop
		case backgroundGoroutine[name]:
			return RoleGC
		case strings.HasPrefix(name, "runtime/pprof.") || strings.HasPrefix(name, "runtime/trace."):
			return RoleProfiler
		}
	}
	if slices.ContainsFunc(frames, func(name string) bool { return OwnerOf(name) != Runtime }) {
		return RoleNone
	}
	return RoleScheduler
}

// backgroundGoroutine are the functions in which the runtime's own goroutines
// begin. A label cannot reach them.
var backgroundGoroutine = set(
	"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.forcegchelper",
	"runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}
