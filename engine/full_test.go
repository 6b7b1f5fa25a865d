package engine

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A caller that has its reply has no request in flight any more, whichever goroutine
// still holds its slot. So as many callers as MaxInFlight, which wait for each reply,
// always find room.
func TestCallersUpToMaxInFlightAreNeverRefused(t *testing.T) {
	for _, callers := range []int{1, 2, 16, freedMax, 4 * freedMax} {
		b := newBroker(t, Config{Addrs: []string{rawEcho(t)}, MaxInFlight: callers})
		ready(t, b)
		var failed atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range 4000 / callers {
					if _, err := b.Send(bg, []byte("x")); err != nil {
						failed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		assert.Zero(t, failed.Load(), "of %d callers' calls", callers)
	}
}
