package goroutine_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/goroutine"
)

// deepen grows the stack, which moves it, before it looks again.
func deepen(n int) goroutine.ID {
	var frame [1 << 10]byte
	if n > 0 {
		id := deepen(n - 1)
		frame[n%len(frame)] = 1
		return id
	}
	runtime.Gosched()
	return goroutine.Self()
}

func TestSelfStaysAndTellsGoroutinesApart(t *testing.T) {
	if goroutine.Self() == 0 {
		t.Skip("goroutines cannot be told apart on " + runtime.GOARCH)
	}
	const alive = 200
	ids := make([]goroutine.ID, alive)
	var arrived, done sync.WaitGroup
	leave := make(chan struct{})
	arrived.Add(alive)
	for i := range ids {
		done.Go(func() {
			ids[i] = goroutine.Self()
			assert.Equal(t, ids[i], deepen(200))
			arrived.Done()
			<-leave // nobody's ID is reused while all are alive
			assert.Equal(t, ids[i], goroutine.Self())
		})
	}
	arrived.Wait()
	seen := map[goroutine.ID]bool{goroutine.Self(): true}
	for _, id := range ids {
		assert.NotZero(t, id)
		assert.False(t, seen[id], "two goroutines with one ID")
		seen[id] = true
	}
	close(leave)
	done.Wait()
}
