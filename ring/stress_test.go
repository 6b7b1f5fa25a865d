package ring

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/internal/racedetector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var pushes = flag.Int("ring.pushes", 0, "pushes of each producer in a stress test; 0 = short")

// perProducer is how many values a producer pushes in each of the 40 cases, which
// have four producers or one that pushes four times as many: -ring.pushes=6250000
// makes a billion for each ring on eight processors.
func perProducer(t *testing.T) int {
	switch {
	case *pushes > 0:
		return *pushes
	case testing.Short(), racedetector.On:
		return 2_000
	default:
		return 25_000
	}
}

// stallLimit is how long a stress test may go without progress. It is far from what
// any machine needs: it ends the tests of a broken ring.
const stallLimit = 30 * time.Second

// hammer is one stress run. Values are producer<<32 | sequence, sequences from 1.
type hammer struct {
	q         both
	producers int
	each      int

	stop atomic.Bool // somebody failed or the time is up: everybody leaves
	last []uint64    // per producer, the last sequence that came out
	got  int
	dog  *time.Timer // stops the run unless the consumer puts it off
}

func (h *hammer) produce(p int) {
	for seq := 1; seq <= h.each; seq++ {
		for !h.q.TryPush(uint64(p)<<32 | uint64(seq)) {
			if h.stop.Load() {
				return
			}
			runtime.Gosched()
		}
	}
}

// take checks that v is the next value of its producer.
func (h *hammer) take(t *testing.T, v uint64) {
	p, seq := v>>32, v&(1<<32-1)
	if p >= uint64(h.producers) || seq != h.last[p]+1 {
		if !h.stop.Swap(true) {
			t.Errorf("got %#x after %d values: not the next of any producer %#x", v, h.got, h.last)
		}
		return
	}
	h.last[p] = seq
	h.got++
	if h.got%64 == 0 {
		h.dog.Reset(stallLimit)
	}
}

// consume takes values one by one and in batches, smaller and larger than the
// ring, until all have come or the producers are gone and nothing is left.
func (h *hammer) consume(t *testing.T, gone <-chan struct{}) {
	batch := make([]uint64, h.q.Cap()+2)
	for round, idle := 0, false; h.got < h.producers*h.each && !h.stop.Load(); round++ {
		before := h.got
		if round%4 == 0 {
			if v, ok := h.q.TryPop(); ok {
				h.take(t, v)
			}
		} else {
			for _, v := range batch[:h.q.PopInto(batch[:round%(len(batch)+1)])] {
				h.take(t, v)
			}
		}
		if h.got > before {
			idle = false
			continue
		}
		select {
		case <-gone:
			if idle && round%4 == 0 {
				return // nothing came in a whole round of attempts after the last push
			}
			idle = idle || round%4 == 0
		default:
			runtime.Gosched()
		}
	}
}

func (h *hammer) run(t *testing.T) {
	h.last = make([]uint64, h.producers)
	h.dog = time.AfterFunc(stallLimit, func() {
		if !h.stop.Swap(true) {
			t.Error("stalled")
		}
	})
	defer h.dog.Stop()
	var wg sync.WaitGroup
	for p := range h.producers {
		wg.Go(func() { h.produce(p) })
	}
	gone := make(chan struct{})
	go func() { wg.Wait(); close(gone) }()
	h.consume(t, gone)
	h.stop.Store(true)
	<-gone
	if t.Failed() {
		return
	}
	for p, seq := range h.last {
		assert.EqualValues(t, h.each, seq, "values of producer %d were lost", p)
	}
	require.Zero(t, h.q.PopInto(make([]uint64, 1)), "something came out that nobody pushed")
	require.True(t, exactCapacity(h.q), "a drained ring takes exactly its capacity")
}

// everywhere runs f for capacities and processor counts, from position 0 and from
// one that wraps after each/2 pushes. With more threads than processors a value can
// cost a time slice of the system, so there are fewer.
func everywhere(t *testing.T, f func(t *testing.T, capacity, each int, start uint64)) {
	for _, procs := range []int{1, 2, 4, 8} {
		each := perProducer(t)
		if procs > runtime.NumCPU() {
			each /= 8
		}
		for _, capacity := range []int{1, 2, 3, 8, 1024} {
			for _, start := range []uint64{0, -uint64(each / 2)} {
				name := fmt.Sprintf("procs=%d/cap=%d/start=%#x", procs, capacity, start)
				passed := t.Run(name, func(t *testing.T) {
					setProcs(t, procs)
					f(t, capacity, each, start)
				})
				if !passed {
					return // a broken ring may stall in every other case too
				}
			}
		}
	}
}

func TestStressSPSCDeliversEachValueOnceInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, capacity, each int, start uint64) {
		h := &hammer{q: newSPSC[uint64](capacity, start), producers: 1, each: 4 * each}
		h.run(t)
	})
}

func TestStressMPSCDeliversEachValueOnceInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, capacity, each int, start uint64) {
		r := newMPSC[uint64](capacity, start)
		h := &hammer{q: r, producers: 4, each: each}
		quit, watched := make(chan struct{}), make(chan struct{})
		go func() { defer close(watched); watch(t, r, quit) }()
		h.run(t)
		close(quit)
		<-watched
		if !t.Failed() {
			assert.EqualValues(t, 4*each+r.Cap(), r.Pushed())
		}
	})
}

// watch asks what anybody may ask, while the ring is in use.
func watch(t *testing.T, r *MPSC[uint64], quit <-chan struct{}) {
	pushed := uint64(0)
	for {
		select {
		case <-quit:
			return
		default:
		}
		r.Empty()
		if n := r.Len(); n < 0 || n > r.Cap() {
			t.Errorf("Len = %d of %d", n, r.Cap())
			return
		}
		now := r.Pushed()
		if now < pushed {
			t.Errorf("Pushed went from %d to %d", pushed, now)
			return
		}
		pushed = now
		runtime.Gosched()
	}
}

// The goroutine that holds a token is the consumer: pushers take it if it is free, drain,
// let it go, and look again whether the ring is empty. Nobody else ever drains,
// so a push that Empty overlooks for no good reason is never taken.
func TestStressNothingIsStrandedWhenTheConsumerRolePasses(t *testing.T) {
	everywhere(t, func(t *testing.T, capacity, each int, start uint64) {
		r := newMPSC[uint64](capacity, start)
		var token atomic.Uint32
		var batch [16]uint64 // the token holder's
		const pushers = 4
		taken := 0 // the token holder's
		drain := func() {
			for token.Load() == 0 && token.CompareAndSwap(0, 1) {
				for n := 1; n > 0; taken += n {
					n = r.PopInto(batch[:])
				}
				token.Store(0)
				if r.Empty() {
					return
				}
			}
		}
		var wg sync.WaitGroup
		var stop atomic.Bool
		watchdog := time.AfterFunc(stallLimit, func() { stop.Store(true) })
		for range pushers {
			wg.Go(func() {
				for range each {
					for !r.TryPush(1) && !stop.Load() {
						drain()
						runtime.Gosched()
					}
					drain()
				}
			})
		}
		wg.Wait()
		watchdog.Stop()
		require.False(t, stop.Load(), "stalled")
		require.Zero(t, r.Len(), "left in the ring")
		require.Equal(t, pushers*each, taken)
		require.True(t, exactCapacity(r))
	})
}
