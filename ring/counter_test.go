package ring

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/racedetector"
)

func setProcs(t *testing.T, n int) {
	old := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

func TestCounterLosesNoAddAndNeverDecreases(t *testing.T) {
	for _, procs := range []int{1, 2, 8} {
		setProcs(t, procs)
		c := NewCounter()
		const adders = 16
		each := uint64(perProducer(t) / 8)
		var wg sync.WaitGroup
		for i := range uint64(adders) {
			wg.Go(func() {
				for range each {
					c.Add(i)
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		last := uint64(0)
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			now := c.Load()
			if now < last {
				t.Errorf("went from %d to %d", last, now)
			}
			last = now
			runtime.Gosched()
		}
		assert.Equal(t, each*adders*(adders-1)/2, c.Load())
	}
}

// With a single stripe every two adders meet.
func TestAddersOnOneStripeLoseNothing(t *testing.T) {
	spread, n := cacheline.NewStripes(1, 1)
	require.Equal(t, 1, n)
	c := &Counter{stripes: make([]stripe, n), spread: spread}
	const adders = 4
	each := 5_000_000 // long enough that they do meet
	if racedetector.On {
		each = 1_000_000
	}
	var ready, done sync.WaitGroup
	ready.Add(adders)
	for range adders {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			for range each {
				c.Add(1)
			}
		})
	}
	done.Wait()
	assert.EqualValues(t, adders*each, c.Load())
}

func TestCounterHasStripesForEveryProcessorAndABound(t *testing.T) {
	for procs, stripes := range map[int]int{1: 4, 2: 8, 3: 16, 4: 16, 64: 256, 200: 256} {
		setProcs(t, procs)
		c := NewCounter()
		assert.Len(t, c.stripes, stripes, "GOMAXPROCS=%d", procs)
	}
}

// Every address must find a stripe: the highest bits of a hash reach the last one
// and no further.
func TestCounterSpreadsGoroutinesOverItsStripes(t *testing.T) {
	setProcs(t, 8)
	c := NewCounter()
	const adders = 512
	var ready, done sync.WaitGroup
	ready.Add(adders)
	for range adders {
		done.Go(func() {
			ready.Done()
			ready.Wait() // all stacks exist at once, so no two are the same
			c.Add(1)
		})
	}
	done.Wait()
	used := 0
	for i := range c.stripes {
		if c.stripes[i].n.Load() > 0 {
			used++
		}
	}
	require.EqualValues(t, adders, c.Load())
	assert.Greater(t, used, len(c.stripes)/2)
}

func TestCounterWraps(t *testing.T) {
	c := NewCounter()
	c.Add(^uint64(0))
	c.Add(3)
	assert.EqualValues(t, 2, c.Load())
}
