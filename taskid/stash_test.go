package taskid

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// use makes one request of the slot, from Arm to its answer.
func use(t *testing.T, tb *Table[int], s *Slot[int]) {
	t.Helper()
	require.NotNil(t, s)
	require.True(t, tb.ArmSent(s, NoTick))
	_, match := tb.Answer(s.ID())
	require.Equal(t, Won, match)
}

func TestStashHandsASlotOutAgainAfterOthersWereReleased(t *testing.T) {
	tb := NewTable[int](4096)
	st := tb.NewStash()
	last := map[*Slot[int]]int{}
	rested := stashUsed
	for i := range 50_000 {
		s := st.Acquire()
		use(t, tb, s)
		if at, again := last[s]; again {
			rested = min(rested, i-at)
		}
		last[s] = i
		st.Release(s)
	}
	assert.GreaterOrEqual(t, rested, stashRest, "of all slots the one that was released last must come last")
	require.True(t, st.Return())
	assert.Zero(t, tb.InUse())
	assert.False(t, st.Return(), "it is empty")
}

func TestStashTakesNoMoreThanItNeedsFromATableNearlyUsedUp(t *testing.T) {
	const capacity = 100
	tb := NewTable[int](capacity)
	st := tb.NewStash()
	var all []*Slot[int]
	for range capacity {
		s := st.Acquire()
		use(t, tb, s)
		all = append(all, s)
	}
	require.Nil(t, st.Acquire())
	require.Nil(t, tb.Acquire())
	for i, s := range all {
		st.Release(s)
		other := tb.Acquire()
		require.NotNil(t, other, "slot %d is free, so others must get it", i)
		tb.Discard(other)
	}
	st.Return()
	assert.Zero(t, tb.InUse())
}

func TestStashKeepsNoMoreThanItCan(t *testing.T) {
	tb := NewTable[int](4 * stashUsed)
	st := tb.NewStash()
	var all []*Slot[int]
	for range 3 * stashUsed {
		s := tb.Acquire()
		use(t, tb, s)
		all = append(all, s)
	}
	for _, s := range all {
		st.Release(s)
	}
	assert.Equal(t, stashUsed, tb.InUse(), "the rest went to the table")
	st.Return()
	assert.Zero(t, tb.InUse())
}

func TestStashLeavesASlotThatTheWireStillNeeds(t *testing.T) {
	tb := NewTable[int](1000)
	st := tb.NewStash()
	s := st.Acquire()
	require.True(t, tb.ArmSent(s, NoTick))
	id := s.ID()
	_, won, wasSent := tb.Cancel(id)
	require.True(t, won)
	require.True(t, wasSent)
	st.Release(s)
	st.Return()
	assert.Equal(t, 1, tb.InUse(), "in quarantine")
	_, match := tb.Answer(id)
	assert.Equal(t, Late, match)
	assert.Zero(t, tb.InUse())
}

// TestStashAndTableAgainstAModel lets a stash and the table itself pass slots to
// and fro at random: nobody may own a slot that somebody else does, and none may
// be lost.
func TestStashAndTableAgainstAModel(t *testing.T) {
	for _, capacity := range []int{1, 31, 64, 65, 300, 3000} {
		rng := rand.New(rand.NewPCG(uint64(capacity), 1))
		tb := NewTable[int](capacity)
		st := tb.NewStash()
		owned := map[*Slot[int]]bool{}
		var order []*Slot[int]
		for range 60_000 {
			switch op := rng.IntN(100); {
			case op < 50:
				acquire := st.Acquire
				if op < 10 {
					acquire = tb.Acquire
				}
				s := acquire()
				if s == nil {
					continue
				}
				require.False(t, owned[s], "owned twice")
				use(t, tb, s)
				owned[s] = true
				order = append(order, s)
			case op < 98 && len(order) > 0:
				i := rng.IntN(len(order))
				s := order[i]
				order[i] = order[len(order)-1]
				order = order[:len(order)-1]
				delete(owned, s)
				if op < 60 {
					tb.Release(s)
				} else {
					st.Release(s)
				}
			case op >= 98:
				st.Return()
				require.Equal(t, len(owned), tb.InUse())
			}
		}
		for _, s := range order {
			st.Release(s)
		}
		st.Return()
		require.Zero(t, tb.InUse())
		for range capacity { // every slot is to be had again
			require.NotNil(t, tb.Acquire())
		}
		require.Nil(t, tb.Acquire())
	}
}

func TestStashesAndAcquirersShareATable(t *testing.T) {
	const capacity, rounds = 700, 20_000
	tb := NewTable[int](capacity)
	owners := make([]int32, capacity) // by slot index; only the slot's owner touches its entry
	own := func(s *Slot[int], who int32) {
		assert.Zero(t, owners[s.index], "owned twice")
		owners[s.index] = who
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			st := tb.NewStash()
			acquire, release := st.Acquire, st.Release
			if g%2 == 1 {
				acquire, release = tb.Acquire, tb.Release
			}
			var mine []*Slot[int]
			for i := range rounds {
				if s := acquire(); s != nil {
					own(s, int32(g+1))
					require.True(t, tb.ArmSent(s, NoTick))
					mine = append(mine, s)
				}
				if len(mine) > 100 || i == rounds-1 {
					for _, s := range mine {
						_, match := tb.Answer(s.ID())
						assert.Equal(t, Won, match)
						owners[s.index] = 0
						release(s)
					}
					mine = mine[:0]
				}
				if i%500 == 0 {
					st.Return()
					runtime.Gosched()
				}
			}
			st.Return()
		})
	}
	wg.Wait()
	assert.Zero(t, tb.InUse())
}
