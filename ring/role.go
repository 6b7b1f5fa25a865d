package ring

import (
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/invariant"
)

const (
	secondProducer = "ring: a second producer in a ring for one"
	secondConsumer = "ring: a second consumer in a ring for one"
)

// exclusive notices that two goroutines are in a role that is meant for one.
// Callers ask invariant.Enabled first, so that it costs the inliner nothing.
type exclusive struct{ busy atomic.Uint32 }

func (e *exclusive) enter(complaint string) {
	invariant.Check(e.busy.CompareAndSwap(0, 1), complaint)
}

func (e *exclusive) leave() { e.busy.Store(0) }
