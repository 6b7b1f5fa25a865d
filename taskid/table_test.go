package taskid

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arm acquires a slot and publishes it.
func arm(t *testing.T, tb *Table[int], deadline Tick) (*Slot[int], ID) {
	t.Helper()
	s, id := tb.Acquire()
	require.NotNil(t, s)
	require.True(t, tb.Arm(s, id, deadline))
	return s, id
}

// full reports whether the table has no slot left.
func full(tb *Table[int]) bool {
	s, id := tb.Acquire()
	if s != nil {
		tb.Free(id)
	}
	return s == nil
}

func nothing(t *testing.T) func(*Slot[int], ID) {
	return func(*Slot[int], ID) { t.Error("no request is due") }
}

func TestReplyCompletesItsRequestOnce(t *testing.T) {
	tb := NewTable[int](4)
	s, id := arm(t, tb, NoTick)
	require.True(t, tb.Open(id))

	got, match := tb.Answer(id)
	require.Equal(t, Won, match)
	require.Same(t, s, got)
	assert.False(t, tb.Open(id))
	_, match = tb.Answer(id)
	assert.Equal(t, Unknown, match, "a duplicate reply must find nothing")
	_, won := tb.Cancel(id)
	assert.False(t, won)
	tb.Expire(1, nothing(t))
	assert.Equal(t, 1, tb.InUse())
	tb.Free(id)
	assert.Zero(t, tb.InUse())
	_, match = tb.Answer(id)
	assert.Equal(t, Unknown, match)
}

func TestReplyBeforeArmIsUnknown(t *testing.T) {
	tb := NewTable[int](4)
	s, id := tb.Acquire()
	_, match := tb.Answer(id)
	assert.Equal(t, Unknown, match)
	_, won := tb.Cancel(id)
	assert.False(t, won)
	assert.False(t, tb.Open(id))
	require.True(t, tb.Arm(s, id, NoTick))
	_, match = tb.Answer(id)
	assert.Equal(t, Won, match)
}

func TestVStaysWithItsSlotThroughALife(t *testing.T) {
	tb := NewTable[int](2)
	s, id := tb.Acquire()
	s.V = 7
	assert.Same(t, s, tb.Slot(id))
	require.True(t, tb.Arm(s, id, NoTick))
	s, match := tb.Answer(id)
	require.Equal(t, Won, match)
	assert.Equal(t, 7, s.V)
	s, id = tb.Renew(id)
	assert.Equal(t, 7, s.V)
	require.True(t, tb.Arm(s, id, NoTick))
	s, won := tb.Cancel(id)
	require.True(t, won)
	assert.Equal(t, 7, s.V)
}

func TestRequestGivenUpStaysInQuarantineUntilItsAnswer(t *testing.T) {
	for name, giveUp := range map[string]func(tb *Table[int], id ID) *Slot[int]{
		"cancelled": func(tb *Table[int], id ID) *Slot[int] { s, _ := tb.Cancel(id); return s },
		"expired": func(tb *Table[int], id ID) (got *Slot[int]) {
			tb.Expire(5, func(s *Slot[int], due ID) {
				assert.Equal(t, id, due)
				got = s
			})
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			tb := NewTable[int](1)
			s, id := arm(t, tb, 5)
			require.Same(t, s, giveUp(tb, id))
			require.Nil(t, giveUp(tb, id), "it was given up before")
			assert.False(t, tb.Open(id))
			assert.Equal(t, 1, tb.Orphans())
			tb.Release(id)
			require.True(t, full(tb), "the only slot is in quarantine")
			assert.Equal(t, 1, tb.InUse())

			_, match := tb.Answer(id)
			assert.Equal(t, Late, match)
			assert.Zero(t, tb.Orphans())
			_, match = tb.Answer(id)
			assert.Equal(t, Unknown, match)
			_, again := arm(t, tb, NoTick)
			assert.NotEqual(t, id, again)
		})
	}
}

func TestLateAnswerLeavesTheSlotToWhoGaveTheRequestUp(t *testing.T) {
	tb := NewTable[int](1)
	_, id := arm(t, tb, NoTick)
	_, won := tb.Cancel(id)
	require.True(t, won)
	_, match := tb.Answer(id)
	require.Equal(t, Late, match)
	assert.Zero(t, tb.Orphans())
	require.True(t, full(tb), "who gave it up still reads the slot")
	tb.Release(id)
	require.False(t, full(tb))
}

func TestRenewIsFreeAndAcquireWithoutTheFreeList(t *testing.T) {
	tb := NewTable[int](8)
	s, id := arm(t, tb, NoTick)
	before := tb.free.head.Load()
	for range 5 {
		_, match := tb.Answer(id)
		require.Equal(t, Won, match)
		renewed, next := tb.Renew(id)
		require.Same(t, s, renewed)
		require.Equal(t, id+1<<tb.slotBits, next)
		_, match = tb.Answer(next)
		require.Equal(t, Unknown, match, "it is not armed yet")
		require.True(t, tb.Arm(s, next, NoTick))
		_, match = tb.Answer(id)
		require.Equal(t, Unknown, match, "the ID is an earlier one")
		id = next
	}
	assert.Equal(t, before, tb.free.head.Load())
	assert.Equal(t, 1, tb.InUse())
}

func TestIDThatWasNeverArmedIsIssuedAgain(t *testing.T) {
	tb := NewTable[int](1)
	_, id := tb.Acquire()
	tb.Free(id)
	s, again := tb.Acquire()
	assert.Equal(t, id, again, "nobody can have seen it")
	_, renewed := tb.Renew(again)
	assert.Equal(t, id, renewed)
	assert.True(t, tb.Arm(s, renewed, NoTick))
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
		{"the longest, before", Tick(10).After(MaxTicks), 10, false},
		{"the longest, at", Tick(10).After(MaxTicks), 10 + MaxTicks, true},
		{"across the wrap, before", Tick(3), tickRange - 2, false},
		{"across the wrap, after", tickRange - 2, Tick(3), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := NewTable[int](4)
			_, id := arm(t, tb, c.deadline)
			var got []ID
			tb.Expire(c.now, func(s *Slot[int], due ID) {
				assert.Same(t, tb.Slot(id), s)
				got = append(got, due)
				tb.Release(due)
			})
			if c.due {
				assert.Equal(t, []ID{id}, got)
			} else {
				assert.Empty(t, got)
			}
			assert.Equal(t, !c.due, tb.Open(id))
		})
	}
}

func TestTickSkipsNoTick(t *testing.T) {
	assert.Equal(t, Tick(1), Tick(tickRange-1).After(1))
	assert.Equal(t, Tick(2), Tick(tickRange-1).After(3))
	assert.Equal(t, uint32(4), Tick(2).Since(tickRange-2))
}

func TestEarlierOfTwoDeadlinesIsNeverNoneOfThem(t *testing.T) {
	for _, c := range []struct{ a, b, want Tick }{
		{NoTick, NoTick, NoTick}, {7, NoTick, 7}, {7, 9, 7}, {7, 7, 7}, {tickRange - 1, 3, tickRange - 1},
	} {
		assert.Equal(t, c.want, c.a.Earlier(c.b), "%+v", c)
		assert.Equal(t, c.want, c.b.Earlier(c.a), "%+v", c)
	}
}

func TestCloseCompletesWhatIsOpenAndEndsTheQuarantine(t *testing.T) {
	tb := NewTable[int](8)
	_, opened := arm(t, tb, NoTick)
	_, quarantined := arm(t, tb, NoTick)
	tb.Cancel(quarantined)
	tb.Release(quarantined)
	_, held := arm(t, tb, NoTick)
	tb.Cancel(held)
	_, answered := arm(t, tb, NoTick)
	tb.Answer(answered)
	_, acquired := tb.Acquire()

	var got []ID
	tb.Close(func(s *Slot[int], id ID) {
		assert.Same(t, tb.Slot(id), s)
		got = append(got, id)
	})
	assert.Equal(t, []ID{opened}, got)
	assert.False(t, tb.Open(opened))
	assert.Zero(t, tb.Orphans())
	assert.Equal(t, 4, tb.InUse(), "all but the one in quarantine have an owner")
	for _, id := range []ID{opened, held} {
		_, match := tb.Answer(id)
		assert.Equal(t, Unknown, match, "no reply can come any more")
		tb.Release(id)
	}
	tb.FreeAll([]ID{answered, acquired})
	assert.Zero(t, tb.InUse())
	tb.Close(nothing(t))
	assert.Zero(t, tb.InUse())
}

func TestArmOnAClosedTableLeavesTheSlotToTheCaller(t *testing.T) {
	tb := NewTable[int](1)
	s, id := tb.Acquire()
	s.V = 3
	tb.Close(nothing(t))
	require.False(t, tb.Arm(s, id, 1))
	assert.False(t, tb.Open(id))
	tb.Expire(1, nothing(t))
	_, match := tb.Answer(id)
	assert.Equal(t, Unknown, match)
	assert.Equal(t, 3, s.V)
	assert.Equal(t, 1, tb.InUse())
	tb.Free(id)
	assert.Zero(t, tb.InUse())
}

// The rest of an Arm that was held up between its store and its look.
func TestWithdrawTakesBackOnlyWhatIsItsOwn(t *testing.T) {
	tb := NewTable[int](1)
	s, first := arm(t, tb, NoTick)
	tb.Answer(first)
	tb.Free(first)
	_, second := arm(t, tb, NoTick)
	require.False(t, tb.withdraw(s, first), "it was answered")
	require.True(t, tb.Open(second), "the slot serves another request by now")
	require.True(t, tb.withdraw(s, second))
	tb.Free(second)
	assert.Zero(t, tb.InUse())
}

// Close can pass a slot just before it is armed, and Expire take it just after.
func TestWithdrawEndsAQuarantineThatCloseDidNotSee(t *testing.T) {
	for _, released := range []bool{true, false} {
		tb := NewTable[int](1)
		s, id := arm(t, tb, NoTick)
		tb.Cancel(id)
		if released {
			tb.Release(id)
		}
		require.False(t, tb.withdraw(s, id), "its outcome is delivered")
		assert.Zero(t, tb.Orphans())
		if !released {
			assert.True(t, full(tb), "who gave it up still uses it")
			tb.Release(id)
		}
		assert.Zero(t, tb.InUse())
		assert.False(t, full(tb))
	}
}

func TestFullTableHoldsExactlyItsCapacity(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 255, 256, 257, 1000} {
		tb := NewTable[int](capacity)
		for round := range 3 {
			seen := map[*Slot[int]]bool{}
			var got []ID
			for s, id := tb.Acquire(); s != nil; s, id = tb.Acquire() {
				require.False(t, seen[s], "two requests have one slot")
				seen[s] = true
				got = append(got, id)
			}
			require.Len(t, got, capacity, "round %d", round)
			require.Equal(t, capacity, tb.InUse())
			for _, id := range got {
				tb.Free(id)
			}
		}
		assert.Zero(t, tb.InUse())
		assert.EqualValues(t, 3*capacity, tb.free.head.Load())
	}
}

func TestExhaustedTableOfFullSizeTakesNoLock(t *testing.T) {
	tb := NewTable[int](chunkSlots + 1)
	for range tb.Cap() {
		s, _ := tb.Acquire()
		require.NotNil(t, s)
	}
	tb.mu.Lock() // a goroutine that waits for it here waits for ever
	defer tb.mu.Unlock()
	assert.True(t, full(tb))
	assert.Zero(t, tb.AcquireInto(make([]ID, 4)))
}

func TestAcquireIntoTakesWhatThereIs(t *testing.T) {
	for _, capacity := range []int{1, 3, 63, 64, 65, 256, 1000} {
		tb := NewTable[int](capacity)
		for _, room := range []int{1, 2, 64, 65, 2000} {
			ids := make([]ID, room)
			assert.Zero(t, tb.AcquireInto(nil))
			seen := map[*Slot[int]]bool{}
			var got []ID
			for n := tb.AcquireInto(ids); n > 0; n = tb.AcquireInto(ids) {
				require.LessOrEqual(t, n, min(room, 64))
				for _, id := range ids[:n] {
					require.False(t, seen[tb.Slot(id)], "two requests have one slot")
					seen[tb.Slot(id)] = true
				}
				got = append(got, ids[:n]...)
			}
			require.Len(t, got, capacity)
			require.True(t, full(tb))
			for _, id := range got {
				_, match := tb.Answer(id)
				require.Equal(t, Unknown, match, "it is not armed")
			}
			tb.FreeAll(nil)
			tb.FreeAll(got)
			require.Zero(t, tb.InUse())
		}
	}
}

func TestAcquireIntoIssuesTheIDsThatAcquireWould(t *testing.T) {
	one, many := NewTable[int](4), NewTable[int](4)
	for range 5 {
		ids := make([]ID, 4)
		n := many.AcquireInto(ids[:1])
		for n < 4 {
			n += many.AcquireInto(ids[n:])
		}
		for _, id := range ids {
			s, want := one.Acquire()
			require.Equal(t, want, id)
			require.True(t, one.Arm(s, want, NoTick))
			require.True(t, many.Arm(many.Slot(id), id, NoTick))
			one.Answer(want)
			many.Answer(id)
			one.Free(want)
		}
		many.FreeAll(ids)
	}
}

func TestSlotsAreReusedInFIFOOrder(t *testing.T) {
	tb := NewTable[int](4)
	var ids [4]ID
	for i := range ids {
		_, ids[i] = tb.Acquire()
	}
	tb.Free(ids[3])
	tb.FreeAll([]ID{ids[1], ids[2]})
	tb.Free(ids[0])
	for _, want := range []ID{ids[3], ids[1], ids[2], ids[0]} {
		s, _ := tb.Acquire()
		assert.Same(t, tb.Slot(want), s)
	}
}

// startAt sets the generation that every slot of a new table was last used in.
func startAt[T any](tb *Table[T], generation uint32) {
	tb.grow()
	for i := range tb.size.Load() {
		tb.slot(i).word.Store(uint64(ID(generation)<<tb.slotBits|ID(i)) << idShift)
	}
}

func TestIDsBeginWithGenerationOne(t *testing.T) {
	for _, capacity := range []int{1, 2, 300} {
		tb := NewTable[int](capacity)
		for i := range capacity {
			_, id := tb.Acquire()
			require.Equal(t, ID(1<<tb.slotBits|i), id)
		}
	}
}

func TestIDsWrapWithoutZeroAndWithoutRepetition(t *testing.T) {
	for _, capacity := range []int{1, 2, 4} {
		tb := NewTable[int](capacity)
		startAt(tb, tb.Generations()-2)
		seen := map[ID]bool{}
		for range capacity * 12 {
			_, id := arm(t, tb, NoTick)
			require.NotEqual(t, None, id)
			require.NotZero(t, uint32(id)>>tb.slotBits, "generation 0 is reserved")
			require.False(t, seen[id], "ID %v came back", id)
			seen[id] = true
			_, match := tb.Answer(id)
			require.Equal(t, Won, match)
			tb.Free(id)
		}
	}
}

func TestSlotOfTheLargestTableIssuesEveryGenerationBeforeItRepeatsOne(t *testing.T) {
	tb := NewTable[int](MaxCapacity)
	require.Equal(t, MaxCapacity, tb.Cap())
	require.EqualValues(t, 1<<12-1, tb.Generations())
	tb.Acquire()
	_, id := tb.Acquire() // not slot 0, whose ID of generation 0 is None
	seen := map[ID]bool{}
	for range tb.Generations() {
		s, next := tb.Renew(id)
		require.False(t, seen[next])
		seen[next] = true
		require.NotZero(t, uint32(next)>>tb.slotBits)
		require.Same(t, tb.Slot(id), s)
		require.True(t, tb.Arm(s, next, NoTick))
		_, match := tb.Answer(next)
		require.Equal(t, Won, match)
		id = next
	}
	_, next := tb.Renew(id)
	assert.True(t, seen[next])
}

func TestOrphanKeepsItsIDAcrossTheWrap(t *testing.T) {
	tb := NewTable[int](2)
	startAt(tb, tb.Generations()-1)
	orphan, lost := arm(t, tb, NoTick)
	tb.Cancel(lost)
	tb.Release(lost)
	for range 10 {
		s, id := arm(t, tb, NoTick)
		require.NotSame(t, orphan, s)
		tb.Answer(id)
		tb.Free(id)
	}
	_, match := tb.Answer(lost)
	assert.Equal(t, Late, match)
}

func TestForeignIDsAreHarmless(t *testing.T) {
	tb := NewTable[int](300)
	_, id := arm(t, tb, NoTick)
	for _, other := range []ID{None, 1, id + 1, id ^ 1<<31, id + 1<<tb.slotBits, ^ID(0), 299, 511} {
		_, match := tb.Answer(other)
		assert.Equal(t, Unknown, match, "%v", other)
		_, won := tb.Cancel(other)
		assert.False(t, won, "%v", other)
	}
	assert.True(t, tb.Open(id))
	assert.False(t, tb.Open(id+1<<tb.slotBits))
	_, match := tb.Answer(id)
	assert.Equal(t, Won, match)
}

func TestCapacityOutOfRangePanics(t *testing.T) {
	assert.Panics(t, func() { NewTable[int](0) })
	assert.Panics(t, func() { NewTable[int](MaxCapacity + 1) })
}

func TestWithdrawEndsTheQuarantineOfWhatWasGivenUpOnly(t *testing.T) {
	tb := NewTable[int](1)
	s, id := tb.Acquire()
	require.True(t, tb.Arm(s, id, NoTick))
	assert.False(t, tb.Withdraw(id), "its outcome is open")
	_, won := tb.Cancel(id)
	require.True(t, won)
	require.True(t, tb.Withdraw(id))
	assert.Zero(t, tb.Orphans())
	assert.False(t, tb.Withdraw(id), "twice")
	assert.Equal(t, 1, tb.InUse(), "whoever gave it up still uses the slot")
	tb.Release(id)
	assert.Zero(t, tb.InUse())
}
