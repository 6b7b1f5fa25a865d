package taskid

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// contest is a table under attack: submitters, readers, a canceller and a sweeper race
// for the same requests. A slot's V is the number of its request.
type contest struct {
	t        *testing.T
	tb       *Table[int]
	requests []contestRequest
	next     atomic.Int64
	wire     chan ID // the peer: what it gets it sends back
	onWire   sync.WaitGroup
	last     atomic.Uint32 // an ID that was armed recently

	matches          [3]atomic.Int64 // by Match
	givenUp, refused atomic.Int64
}

type contestRequest struct {
	id       ID // written before Arm, read by the goroutine that ends the request
	outcomes atomic.Int32
}

func newContest(t *testing.T, capacity, requests int) *contest {
	return &contest{
		t:        t,
		tb:       NewTable[int](capacity),
		requests: make([]contestRequest, requests),
		wire:     make(chan ID, requests),
	}
}

// start makes a request of a slot that is the caller's. It reports false when there have
// been enough; the slot is still the caller's then.
func (c *contest) start(s *Slot[int], id ID) bool {
	n := int(c.next.Add(1) - 1)
	if n >= len(c.requests) {
		return false
	}
	s.V = n // the race detector sees a slot with two owners
	c.requests[n].id = id
	deadline := NoTick
	if n%3 == 0 {
		deadline = 1
	}
	if !c.tb.Arm(s, id, deadline) {
		c.refused.Add(1)
		c.end(s, id)
		c.tb.Free(id)
		return true
	}
	c.last.Store(uint32(id))
	c.onWire.Add(1)
	c.wire <- id
	return true
}

// end notes the outcome of the slot's request; the goroutine that won it calls it.
func (c *contest) end(s *Slot[int], id ID) {
	r := &c.requests[s.V]
	if r.id != id {
		c.t.Errorf("%v ended the request of %v", id, r.id)
	}
	r.outcomes.Add(1)
}

func (c *contest) giveUp(s *Slot[int], id ID) {
	c.givenUp.Add(1)
	c.end(s, id)
	c.tb.Release(id)
}

func (c *contest) submit() {
	for {
		s, id := c.tb.Acquire()
		if s == nil {
			c.tb.Expire(1, c.giveUp) // makes room
			runtime.Gosched()
			continue
		}
		if !c.start(s, id) {
			c.tb.Free(id)
			return
		}
	}
}

// submitMany takes slots in bulk and gives back those it does not need.
func (c *contest) submitMany() {
	var ids [5]ID
	for {
		n := c.tb.AcquireInto(ids[:])
		if n == 0 {
			runtime.Gosched()
		}
		for i, id := range ids[:n] {
			if i == 3 || !c.start(c.tb.Slot(id), id) {
				c.tb.FreeAll(ids[i:n])
				break
			}
		}
		if int(c.next.Load()) >= len(c.requests) {
			return
		}
	}
}

// serve is a reader. Some requests it gives up before it looks at their answer.
func (c *contest) serve(w int) {
	var won []ID
	for n := 0; ; n++ {
		id, more := <-c.wire
		if !more || len(won) > 3 {
			c.tb.FreeAll(won)
			won = won[:0]
		}
		if !more {
			return
		}
		if n%5 == w {
			c.cancel(id)
		}
		if n%7 == w {
			c.tb.Expire(1, c.giveUp)
		}
		s, match := c.tb.Answer(id)
		c.matches[match].Add(1)
		if _, again := c.tb.Answer(id); again != Unknown {
			c.t.Errorf("the second answer to %v finds %v", id, again)
		}
		if match == Won {
			c.end(s, id)
			if s, next := c.tb.Renew(id); n%2 == 1 || !c.start(s, next) {
				won = append(won, id)
			}
		}
		c.onWire.Done()
	}
}

func (c *contest) cancel(id ID) {
	if s, won := c.tb.Cancel(id); won {
		c.giveUp(s, id)
	}
}

// cancelLast cancels requests while they are armed and answered.
func (c *contest) cancelLast() {
	for int(c.next.Load()) < len(c.requests) {
		c.cancel(ID(c.last.Load()))
		runtime.Gosched()
	}
}

// run returns when each party has done its part; during is one more.
func (c *contest) run(during func()) {
	var submitting, serving sync.WaitGroup
	for range 2 {
		submitting.Go(c.submit)
	}
	submitting.Go(c.submitMany)
	submitting.Go(c.cancelLast)
	submitting.Go(during)
	for w := range 2 {
		serving.Go(func() { c.serve(w) })
	}
	submitting.Wait()
	c.onWire.Wait() // so no reader sends any more either
	close(c.wire)
	serving.Wait()
}

func (c *contest) check() {
	for n := range c.requests {
		if got := c.requests[n].outcomes.Load(); got != 1 {
			c.t.Errorf("request %d of %d has %d outcomes", n, len(c.requests), got)
		}
	}
	if c.tb.InUse() != 0 || c.tb.Orphans() != 0 {
		c.t.Errorf("%d slots in use and %d orphans after the end", c.tb.InUse(), c.tb.Orphans())
	}
}

func TestEveryRequestIsCompletedOnceUnderContention(t *testing.T) {
	requests := 60_000
	if testing.Short() || raceEnabled {
		requests = 12_000
	}
	c := newContest(t, 64, requests)
	c.run(func() {})
	assert.Zero(t, c.matches[Unknown].Load(), "each ID was answered once")
	assert.EqualValues(t, requests, c.matches[Won].Load()+c.givenUp.Load())
	assert.Equal(t, c.givenUp.Load(), c.matches[Late].Load())
	assert.NotZero(t, c.matches[Won].Load(), "no contention")
	assert.NotZero(t, c.givenUp.Load(), "no contention")
	c.check()
	c.tb.Close(nothing(t))
	c.check()
}

func TestCloseLeavesNoRequestWithoutItsOutcome(t *testing.T) {
	rounds := 300
	if testing.Short() || raceEnabled {
		rounds = 60
	}
	const requests = 300
	refused, closed := int64(0), atomic.Int64{}
	// More of them while Close and the submitters have not met: chance has it.
	for round := 0; round < rounds || refused == 0 || closed.Load() == 0; round++ {
		c := newContest(t, 16, requests) // a reader keeps up to 4 before it frees them
		c.run(func() {
			for c.next.Load() < requests/2 {
				runtime.Gosched()
			}
			c.tb.Close(func(s *Slot[int], id ID) { closed.Add(1); c.giveUp(s, id) })
		})
		c.check()
		refused += c.refused.Load()
		if t.Failed() {
			return
		}
	}
}

func TestSlotHasOneOwnerWhateverWayItIsAcquired(t *testing.T) {
	const capacity, rounds = 300, 5_000
	tb := NewTable[int](capacity)
	own := func(id ID, who int) {
		s := tb.Slot(id)
		if s.V != 0 && who != 0 {
			t.Errorf("%v has two owners", id)
		}
		s.V = who // the race detector sees it too
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var mine []ID
			for i := range rounds {
				var ids [80]ID
				n := 0
				if g%2 == 0 {
					n = tb.AcquireInto(ids[:1+i%len(ids)])
				} else if s, id := tb.Acquire(); s != nil {
					ids[0], n = id, 1
				}
				for _, id := range ids[:n] {
					own(id, g+1)
				}
				mine = append(mine, ids[:n]...)
				if n > 0 && len(mine) < capacity/4 && i < rounds-1 {
					continue
				}
				for _, id := range mine {
					own(id, 0)
				}
				if i%3 == 0 {
					for _, id := range mine {
						tb.Free(id)
					}
				} else {
					tb.FreeAll(mine)
				}
				mine = mine[:0]
			}
		})
	}
	wg.Wait()
	assert.Zero(t, tb.InUse())
	n := 0
	for s, _ := tb.Acquire(); s != nil; s, _ = tb.Acquire() {
		n++
	}
	assert.Equal(t, capacity, n, "no slot was lost")
}

// Growth is stopped here where the new slots are to be seen and not yet free.
func TestTableThatGrowsIsNotTakenForExhausted(t *testing.T) {
	tb := NewTable[int](2)
	tb.mu.Lock()
	tb.chunks[0].Store(new([chunkSlots]Slot[int]))
	tb.size.Store(2)
	got := make(chan *Slot[int], 2)
	var wg sync.WaitGroup
	for range cap(got) {
		wg.Go(func() {
			s, _ := tb.Acquire()
			got <- s
		})
	}
	for range 10_000 {
		runtime.Gosched() // time for a goroutine that would not wait
	}
	assert.Empty(t, got, "whoever finds nothing waits until growth is done")
	tb.free.push(0)
	tb.free.push(1)
	tb.mu.Unlock()
	wg.Wait()
	assert.NotNil(t, <-got)
	assert.NotNil(t, <-got)
	assert.True(t, full(tb))
}

func TestFirstRequestsFindSlotsAtOnce(t *testing.T) {
	rounds := 3_000
	if testing.Short() || raceEnabled {
		rounds = 500
	}
	for n := range rounds {
		tb := NewTable[int](2 + n%2*(chunkSlots-2))
		var ready, done sync.WaitGroup
		ready.Add(2)
		for range 2 {
			done.Go(func() {
				ready.Done()
				ready.Wait()
				if s, _ := tb.Acquire(); s == nil {
					t.Errorf("at most 2 of %d slots are in use, and none was left", tb.Cap())
				}
			})
		}
		done.Wait()
	}
}

func TestInUseMissesNoSlotWhileTheTableGrows(t *testing.T) {
	rounds := 50
	if testing.Short() || raceEnabled {
		rounds = 20
	}
	const capacity = 16 * chunkSlots
	for range rounds {
		tb := NewTable[int](capacity)
		var acquired atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for s, _ := tb.Acquire(); s != nil; s, _ = tb.Acquire() {
				acquired.Add(1)
			}
		})
		for before := 0; before < capacity; before = int(acquired.Load()) {
			if got := tb.InUse(); got < before || got > capacity {
				t.Errorf("%d slots are in use, and InUse says %d", before, got)
				break
			}
		}
		wg.Wait()
	}
}

func TestFreeListOutlastsItsPositionsLowHalf(t *testing.T) {
	var f freeList
	f.init(4)
	f.head.Store(1<<32 - 7)
	f.tail.Store(1<<32 - 7)
	f.pushAll([]ID{0, 1, 2}, 3)
	for range 5 {
		for i := range uint32(3) {
			got, ok := f.pop()
			require.True(t, ok)
			require.Equal(t, i, got)
			f.push(i)
		}
		var all [4]uint32
		require.Equal(t, 3, f.popInto(all[:]))
		require.Equal(t, [4]uint32{0, 1, 2}, all)
		require.Zero(t, f.len())
		_, ok := f.pop()
		require.False(t, ok)
		f.pushAll([]ID{4, 9, 14}, 3) // the mask cuts them down to 0, 1, 2
		require.Equal(t, 3, f.len())
	}
}
