package peer

import (
	"context"
	"errors"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// Window is how a system's client has many requests in flight at once, where its API has more for
// that than calls from as many goroutines.
type Window struct {
	// Name is that of the system's client in results; "" is the system's.
	Name string
	// Note is what a reader must know to compare it, in place of the system's.
	Note string
	API  bench.API
	// Open makes that client of a connected one that calls, for so many requests. It owns the other.
	// nil: they are the same.
	Open func(c bench.Client, callers int) (bench.Client, error)
}

// ringwireWindow are our own callbacks.
func ringwireWindow() *Window { return &Window{API: bench.Callback} }

// InWindow makes p's target that of its Window, and returns the API. Without one the target
// stays as it is, for calls.
func (p *Peer) InWindow(t *bench.Target) bench.API {
	w := p.Window
	if w == nil {
		return bench.Blocking
	}
	t.APIs = []bench.API{w.API}
	if w.Name != "" {
		t.Name, t.Note = w.Name, w.Note
	}
	if dial := t.Dial; w.Open != nil {
		t.Dial = func(ctx context.Context, callers int) (bench.Client, error) {
			c, err := dial(ctx, callers)
			if err != nil {
				return nil, err
			}
			opened, err := w.Open(c, callers)
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return opened, nil
		}
	}
	return w.API
}
