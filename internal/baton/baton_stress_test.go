package baton

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stallLimit ends the tests of a broken right. It is far from what any machine needs.
const stallLimit = 30 * time.Second

// crowd is goroutines that make work and do it, one at a time.
type crowd struct {
	right   Right
	pending atomic.Int64
	made    atomic.Int64

	// What follows belongs to the holder of the right.
	inside bool
	done   int64
	twice  bool // two were inside
}

// work does what there is.
func (c *crowd) work() {
	c.twice = c.twice || c.inside
	c.inside = true
	for n := c.pending.Swap(0); n > 0; n = c.pending.Swap(0) {
		c.done += n
		if c.done%8 == 0 {
			runtime.Gosched() // a second one would find us here
		}
	}
	c.inside = false
}

func (c *crowd) due() bool { return c.pending.Load() > 0 }

// workOn does what there is and frees the right.
func (c *crowd) workOn() {
	c.work()
	for c.right.Release(c.due) {
		c.work()
	}
}

// add makes work and looks.
func (c *crowd) add(rng *rand.Rand, borrows bool) {
	c.made.Add(1)
	c.pending.Add(1)
	switch state := c.right.State(); {
	case state == Free && c.right.Take():
		if rng.IntN(8) == 0 {
			c.right.Keep()
			return
		}
		c.workOn()
	case borrows && state == Promised && c.right.Borrow():
		c.work()
		switch rng.IntN(8) {
		case 0:
			c.right.Keep()
			return
		case 1, 2, 3:
			runtime.Gosched() // the goroutine that has promised comes back meanwhile
		}
		c.right.Renew()
	}
}

// promise makes work under a promise and ends it.
func (c *crowd) promise(rng *rand.Rand) {
	c.right.Promise()
	c.add(rng, false)
	if rng.IntN(2) == 0 {
		runtime.Gosched() // it is about other things
	}
	if c.due() && (c.right.Redeem() || c.right.Take()) {
		c.work()
		c.right.Renew()
	}
	for !c.right.Redeem() {
		runtime.Gosched() // what is borrowed comes back, now or later
		if s := c.right.State(); s != Borrowed && s != Promised {
			return
		}
	}
	c.workOn()
}

func (c *crowd) keep(quit <-chan struct{}) {
	for {
		select {
		case <-c.right.Wait():
			runtime.Gosched() // as if it waited for something
			c.workOn()
		case <-quit:
			return
		}
	}
}

// What goroutines of a crowd do.
func works(c *crowd, rng *rand.Rand)    { c.add(rng, false) }
func borrows(c *crowd, rng *rand.Rand)  { c.add(rng, true) }
func promises(c *crowd, rng *rand.Rand) { c.promise(rng) }
func revokes(c *crowd, _ *rand.Rand)    { c.right.Revoke() }
func assigns(c *crowd, rng *rand.Rand) {
	if rng.IntN(8) == 0 {
		c.right.Assign()
	}
}

// run has a goroutine do each of these so many times. Nobody looks after the last piece
// of work: what was left would stay.
func (c *crowd) run(t *testing.T, rounds int, parts ...func(*crowd, *rand.Rand)) {
	c.right.Init()
	quit := make(chan struct{})
	var keeper, others sync.WaitGroup
	keeper.Go(func() { c.keep(quit) })
	for i, do := range parts {
		seed := rand.Uint64()
		others.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), seed))
			for range rounds {
				do(c, rng)
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		others.Wait()
		for c.right.State() == Kept { // the keeper has it in hand
			runtime.Gosched()
		}
		for c.right.State() == Held { // the keeper has looked, and goes on
			runtime.Gosched()
		}
		close(quit)
		keeper.Wait()
	}()
	select {
	case <-over:
	case <-time.After(stallLimit):
		require.Fail(t, "stalled", "in state %d", c.right.State())
	}
	require.Equal(t, Free, c.right.State(), "a promise is left")
	require.Empty(t, c.right.Wait())
	require.False(t, c.twice)
	require.Zero(t, c.pending.Load(), "work is left")
	require.Equal(t, c.made.Load(), c.done)
}

func TestStressOfARightLeavesNoWork(t *testing.T) {
	rounds, ends := 40_000, 4_000
	if testing.Short() {
		rounds, ends = 4_000, 400
	}
	for _, procs := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprint("procs=", procs), func(t *testing.T) {
			old := runtime.GOMAXPROCS(procs)
			defer runtime.GOMAXPROCS(old)
			(&crowd{}).run(t, rounds, works, works, borrows, promises, promises, revokes, assigns)
			for range ends { // at each of them something could be left
				(&crowd{}).run(t, 2, works, works, assigns)
				(&crowd{}).run(t, 1, promises, borrows, borrows)
			}
		})
	}
}
