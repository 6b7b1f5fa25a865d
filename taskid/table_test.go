package taskid

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sent acquires, arms and marks a request as sent.
func sent(t *testing.T, tb *Table[int], deadline Tick) *Slot[int] {
	t.Helper()
	s := tb.Acquire()
	require.NotNil(t, s)
	require.True(t, tb.Arm(s, deadline))
	require.True(t, tb.MarkSent(s, NoTick))
	return s
}

func TestReplyCompletesItsRequestOnce(t *testing.T) {
	tb := NewTable[int](4)
	s := sent(t, tb, NoTick)
	id := s.ID()

	got, match := tb.Answer(id)
	require.Equal(t, Won, match)
	require.Same(t, s, got)
	_, match = tb.Answer(id)
	assert.Equal(t, Unknown, match, "a duplicate reply must find nothing")
	_, won, _ := tb.Cancel(id)
	assert.False(t, won)
	assert.Equal(t, 1, tb.InUse())
	tb.Release(s)
	assert.Zero(t, tb.InUse())
	_, match = tb.Answer(id)
	assert.Equal(t, Unknown, match)
}

func TestReplyBeforeTheFrameIsSentIsUnknown(t *testing.T) {
	tb := NewTable[int](4)
	s := tb.Acquire()
	_, match := tb.Answer(s.ID())
	assert.Equal(t, Unknown, match, "not armed")
	require.True(t, tb.Arm(s, NoTick))
	_, match = tb.Answer(s.ID())
	assert.Equal(t, Unknown, match, "armed, in the queue")
	require.True(t, tb.MarkSent(s, NoTick))
	_, match = tb.Answer(s.ID())
	assert.Equal(t, Won, match)
}

func TestCancelledRequestStaysInQuarantineUntilItsAnswer(t *testing.T) {
	tb := NewTable[int](1)
	s := sent(t, tb, NoTick)
	id := s.ID()

	_, won, wasSent := tb.Cancel(id)
	require.True(t, won)
	assert.True(t, wasSent)
	assert.Equal(t, 1, tb.Orphans())
	tb.Release(s)
	require.Nil(t, tb.Acquire(), "the only slot is in quarantine")

	_, match := tb.Answer(id)
	assert.Equal(t, Late, match)
	assert.Zero(t, tb.Orphans())
	again := tb.Acquire()
	require.NotNil(t, again)
	assert.NotEqual(t, id, again.ID())
}

func TestAnswerBeforeTheOwnerReleasesLeavesTheSlotToTheOwner(t *testing.T) {
	tb := NewTable[int](1)
	s := sent(t, tb, NoTick)
	_, won, _ := tb.Cancel(s.ID())
	require.True(t, won)
	_, match := tb.Answer(s.ID())
	require.Equal(t, Late, match)
	require.Nil(t, tb.Acquire(), "its owner still reads the slot")
	tb.Release(s)
	require.NotNil(t, tb.Acquire())
}

func TestCancelledInQueueIsFreedWhenPopped(t *testing.T) {
	tb := NewTable[int](1)
	s := tb.Acquire()
	require.True(t, tb.Arm(s, NoTick))
	_, won, wasSent := tb.Cancel(s.ID())
	require.True(t, won)
	assert.False(t, wasSent)
	tb.Release(s)
	require.Nil(t, tb.Acquire(), "its ID is still in the queue")
	q, wanted := tb.Queued(s.ID())
	assert.False(t, wanted)
	assert.False(t, tb.MarkSent(q, NoTick), "must not be sent")
	assert.Zero(t, tb.Orphans(), "it was never sent")
	require.NotNil(t, tb.Acquire())
}

func TestArmSentPublishesARequestThatCanBeAnsweredAtOnce(t *testing.T) {
	tb := NewTable[int](1)
	s := tb.Acquire()
	require.True(t, tb.ArmSent(s, 5))
	id := s.ID()
	got, match := tb.Answer(id)
	require.Equal(t, Won, match)
	require.Same(t, s, got)
	tb.Release(s)

	s = tb.Acquire()
	require.True(t, tb.ArmSent(s, 5))
	id = s.ID()
	tb.Expire(5, func(s *Slot[int], wasSent bool) { assert.True(t, wasSent); tb.Release(s) })
	assert.Equal(t, 1, tb.Orphans())
	assert.Nil(t, tb.Acquire(), "in quarantine until its answer")
	_, match = tb.Answer(id)
	assert.Equal(t, Late, match)

	s = tb.Acquire()
	tb.Close(func(*Slot[int], bool) { t.Error("nothing is open") })
	require.False(t, tb.ArmSent(s, 5))
	tb.Discard(s)
	assert.Zero(t, tb.InUse())
	assert.Zero(t, tb.Orphans())
}

func TestExpireTakesWhatIsDueAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name     string
		deadline Tick
		now      Tick
		due      bool
	}{
		{"before", 10, 9, false},
		{"at", 10, 10, true},
		{"after", 10, 11, true},
		{"none", NoTick, 10, false},
		{"across the wrap, before", Tick(3), tickRange - 2, false},
		{"across the wrap, after", tickRange - 2, Tick(3), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := NewTable[int](4)
			sent(t, tb, c.deadline)
			n := 0
			tb.Expire(c.now, func(s *Slot[int], wasSent bool) {
				n++
				assert.True(t, wasSent)
				tb.Release(s)
			})
			assert.Equal(t, c.due, n == 1)
		})
	}
}

func TestMarkSentBringsTheDeadlineForwardOnly(t *testing.T) {
	for _, c := range []struct{ armed, sent, want Tick }{
		{NoTick, NoTick, NoTick}, {NoTick, 7, 7}, {7, NoTick, 7}, {7, 9, 7}, {9, 7, 7}, {tickRange - 1, 3, tickRange - 1},
	} {
		tb := NewTable[int](1)
		s := tb.Acquire()
		tb.Arm(s, c.armed)
		require.True(t, tb.MarkSent(s, c.sent))
		assert.Equal(t, c.want, wordTick(s.word.Load()), "%+v", c)
	}
}

func TestTickSkipsNoTick(t *testing.T) {
	assert.Equal(t, Tick(1), Tick(tickRange-1).After(1))
	assert.Equal(t, Tick(2), Tick(tickRange-1).After(3))
	assert.Equal(t, uint32(4), Tick(2).Since(tickRange-2))
}

func TestCloseCompletesWhatIsOpenAndEndsTheQuarantine(t *testing.T) {
	tb := NewTable[int](8)
	queuedOnly := tb.Acquire()
	require.True(t, tb.Arm(queuedOnly, NoTick))
	onWire := sent(t, tb, NoTick)
	orphan := sent(t, tb, NoTick)
	tb.Cancel(orphan.ID())
	tb.Release(orphan)
	answered := sent(t, tb, NoTick)
	tb.Answer(answered.ID())

	got := map[*Slot[int]]bool{}
	tb.Close(func(s *Slot[int], wasSent bool) { got[s] = wasSent; tb.Release(s) })
	assert.Equal(t, map[*Slot[int]]bool{queuedOnly: false, onWire: true}, got)
	assert.Zero(t, tb.Orphans())
	tb.Release(answered)
	tb.Unqueue(queuedOnly)
	assert.Zero(t, tb.InUse())

	late := tb.Acquire()
	assert.False(t, tb.Arm(late, NoTick), "a closed table takes nothing")
	tb.Discard(late)
	tb.Close(func(*Slot[int], bool) { t.Error("the second Close completed something") })
	assert.Zero(t, tb.InUse())
}

func TestFullTableHoldsExactlyItsCapacity(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 255, 256, 257, 1000} {
		tb := NewTable[int](capacity)
		for round := range 3 {
			var got []*Slot[int]
			for s := tb.Acquire(); s != nil; s = tb.Acquire() {
				got = append(got, s)
			}
			require.Len(t, got, capacity, "round %d", round)
			for _, s := range got {
				tb.Discard(s)
			}
		}
		assert.Zero(t, tb.InUse())
	}
}

func TestSlotsAreReusedInFIFOOrder(t *testing.T) {
	tb := NewTable[int](4)
	a, b := tb.Acquire(), tb.Acquire()
	tb.Discard(b)
	tb.Discard(a)
	c, d := tb.Acquire(), tb.Acquire()
	assert.NotContains(t, []*Slot[int]{a, b}, c, "slots that were free longer come first")
	assert.NotContains(t, []*Slot[int]{a, b}, d)
	assert.Same(t, b, tb.Acquire())
	assert.Same(t, a, tb.Acquire())
}

func TestIDsWrapWithoutZeroAndWithoutRepetition(t *testing.T) {
	for _, capacity := range []int{1, 2, 4} {
		tb := newTableAt[int](capacity, 0)
		tb.StartGeneration(tb.Generations() - 2)
		seen := map[ID]int{}
		for i := range capacity * 12 {
			s := sent(t, tb, NoTick)
			require.NotEqual(t, None, s.ID())
			require.NotZero(t, uint32(s.ID())>>tb.slotBits, "generation 0 is reserved")
			if at, ok := seen[s.ID()]; ok {
				t.Fatalf("ID %v of use %d came back at use %d", s.ID(), at, i)
			}
			seen[s.ID()] = i
			got, match := tb.Answer(s.ID())
			require.Equal(t, Won, match)
			tb.Release(got)
		}
	}
}

func TestOrphanKeepsItsIDAcrossTheWrap(t *testing.T) {
	tb := newTableAt[int](2, 0)
	tb.StartGeneration(tb.Generations() - 1)
	orphan := sent(t, tb, NoTick)
	tb.Cancel(orphan.ID())
	tb.Release(orphan)
	for range 10 {
		s := sent(t, tb, NoTick)
		require.NotEqual(t, orphan.index, s.index)
		tb.Answer(s.ID())
		tb.Release(s)
	}
	_, match := tb.Answer(orphan.ID())
	assert.Equal(t, Late, match)
}

func TestForeignIDsAreHarmless(t *testing.T) {
	tb := NewTable[int](300)
	s := sent(t, tb, NoTick)
	for _, id := range []ID{None, 1, s.ID() + 1, s.ID() ^ 1<<31, ^ID(0), 299, 511} {
		_, match := tb.Answer(id)
		assert.Equal(t, Unknown, match, "%v", id)
		_, won, _ := tb.Cancel(id)
		assert.False(t, won, "%v", id)
	}
	_, match := tb.Answer(s.ID())
	assert.Equal(t, Won, match)
}

func TestCapacityOutOfRangePanics(t *testing.T) {
	assert.Panics(t, func() { NewTable[int](0) })
	assert.Panics(t, func() { NewTable[int](MaxCapacity + 1) })
}

// contest is a table under attack: submitters, a canceller, a sweeper and an
// answerer race for the same requests.
type contest struct {
	tb                          *Table[int]
	ids                         chan ID // the queue
	issued, completed, answered atomic.Int64
}

func (c *contest) complete(s *Slot[int], _ bool) {
	c.completed.Add(1)
	s.V++ // the race detector sees a slot with two owners
	c.tb.Release(s)
}

func (c *contest) submit(n int) {
	for i := 0; i < n; {
		s := c.tb.Acquire()
		if s == nil {
			c.tb.Expire(1, c.complete) // makes room
			runtime.Gosched()
			continue
		}
		i++
		s.V++
		id, deadline := s.ID(), NoTick
		if i%3 == 0 {
			deadline = 1
		}
		c.tb.Arm(s, deadline)
		c.issued.Add(1)
		c.ids <- id
	}
}

// serve is flusher and reader in one: it pops, cancels some, sends, expires and
// answers the rest.
func (c *contest) serve(w int) {
	n := 0
	for id := range c.ids {
		if n++; n%5 == w {
			if s, won, sent := c.tb.Cancel(id); won {
				c.complete(s, sent)
			}
		}
		s, _ := c.tb.Queued(id)
		if !c.tb.MarkSent(s, NoTick) {
			continue
		}
		if n%7 == w {
			c.tb.Expire(1, c.complete)
		}
		if s, match := c.tb.Answer(id); match == Won {
			c.answered.Add(1)
			c.complete(s, true)
		}
	}
}

func TestEveryRequestIsCompletedOnceUnderContention(t *testing.T) {
	rounds := 20_000
	if testing.Short() {
		rounds = 4_000
	}
	c := &contest{tb: NewTable[int](64), ids: make(chan ID, 64)}
	var submitting, serving sync.WaitGroup
	for range 4 {
		submitting.Go(func() { c.submit(rounds) })
	}
	for w := range 2 {
		serving.Go(func() { c.serve(w) })
	}
	submitting.Wait()
	close(c.ids)
	serving.Wait()
	c.tb.Close(c.complete)

	if got, want := c.completed.Load(), c.issued.Load(); got != want {
		t.Errorf("%d completions of %d requests", got, want)
	}
	if c.answered.Load() == 0 || c.answered.Load() == c.completed.Load() {
		t.Errorf("no contention: %d of %d were answered", c.answered.Load(), c.completed.Load())
	}
	if c.tb.InUse() != 0 || c.tb.Orphans() != 0 {
		t.Errorf("%d slots in use and %d orphans after the end", c.tb.InUse(), c.tb.Orphans())
	}
}

func TestBuffersComeBackAndSmallOnesStay(t *testing.T) {
	var b Buffer
	small := b.Reserve(100, true)
	assert.GreaterOrEqual(t, cap(small), 100)
	assert.Same(t, &small[:1][0], &b.Reserve(60, true)[:1][0], "a small buffer stays with its slot")
	before := Borrowed()
	big := b.Reserve(5000, true)
	assert.GreaterOrEqual(t, cap(big), 5000)
	b.drop()
	assert.Equal(t, before, Borrowed())
	assert.Nil(t, b.B, "a large buffer goes back to the pool")

	b.Reserve(10, true)
	first := &b.B[:1][0]
	b.Reserve(10, false)
	assert.NotSame(t, first, &b.B[:1][0], "without pooling each use allocates")
}

func TestReserveKeepsItsCapacityClass(t *testing.T) {
	for n := 1; n <= 1<<17; n = n*3/2 + 1 {
		var b Buffer
		got := b.Reserve(n, true)
		assert.Empty(t, got)
		assert.GreaterOrEqual(t, cap(got), n)
		assert.Less(t, cap(got), max(2*n, 65), "n = %d", n)
		b.Free()
	}
}
