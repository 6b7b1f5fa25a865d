// Package role names what a goroutine of the library does, so that a profile can be
// split by it.
package role

import (
	"context"
	"runtime/pprof"
)

// label is the key of the label.
const label = "ringwire"

// Set labels the calling goroutine with ringwire=name, and takes any other label off
// it. `go tool pprof -tagfocus ringwire=reader` then shows the readers alone. A
// goroutine that it starts afterwards inherits the label.
func Set(name string) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, name)))
}
