package engine

import (
	"context"
	"runtime/pprof"
)

// setRole labels the calling goroutine, so that a profile splits by what
// goroutines do: `go tool pprof -tagfocus ringwire=reader`.
func setRole(role string) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("ringwire", role)))
}
