package ring

import (
	"math/bits"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/invariant"
)

// word is the atomic cell of every index and sequence here: the seam at which an
// interleaving explorer can take over scheduling. Under a build tag explore it
// becomes a struct with the same methods, each of which yields before it acts.
// An alias, declared here and not in another package, because only then are Load
// and Store inlined.
type word = atomic.Uint64

// exclusive notices that two goroutines are in a role that is meant for one.
// Callers ask invariant.Enabled first, so that it costs the inliner nothing.
type exclusive struct{ busy atomic.Uint32 }

func (e *exclusive) enter(complaint string) {
	invariant.Check(e.busy.CompareAndSwap(0, 1), complaint)
}

func (e *exclusive) leave() { e.busy.Store(0) }

// roundUp returns the smallest power of two that is at least capacity.
func roundUp(capacity int) int {
	if capacity < 1 {
		panic("ring: capacity must be at least 1")
	}
	return 1 << bits.Len(uint(capacity-1))
}
