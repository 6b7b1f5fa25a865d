package taskid

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireDeadline checks what a slot was armed with.
func requireDeadline(t *testing.T, s *Slot[int], deadline Tick, note uint8) {
	t.Helper()
	gotDeadline, gotNote := s.Deadline()
	require.Equal(t, deadline, gotDeadline)
	require.Equal(t, note, gotNote)
}

// endings are the transitions after which somebody owns the slot of an armed request. Each
// returns the slot.
var endings = map[string]func(t *testing.T, tb *Table[int], id ID) *Slot[int]{
	"answered": func(t *testing.T, tb *Table[int], id ID) *Slot[int] {
		s, match := tb.Answer(id)
		require.Equal(t, Won, match)
		return s
	},
	"cancelled": func(t *testing.T, tb *Table[int], id ID) *Slot[int] {
		s, won := tb.Cancel(id)
		require.True(t, won)
		return s
	},
	"cancelled, and answered late": func(t *testing.T, tb *Table[int], id ID) *Slot[int] {
		s, _ := tb.Cancel(id)
		_, match := tb.Answer(id)
		require.Equal(t, Late, match)
		return s
	},
	"cancelled, and not sent": func(t *testing.T, tb *Table[int], id ID) *Slot[int] {
		s, _ := tb.Cancel(id)
		require.True(t, tb.Withdraw(id))
		return s
	},
	"lost": func(t *testing.T, tb *Table[int], id ID) (got *Slot[int]) {
		tb.Close(func(s *Slot[int], lost ID) {
			require.Equal(t, id, lost)
			got = s
		})
		return got
	},
	"refused": func(t *testing.T, tb *Table[int], id ID) *Slot[int] {
		s := tb.Slot(id)
		require.True(t, tb.withdraw(s, id)) // as Arm does when the table was closed meanwhile
		return s
	},
}

func TestADeadlineAndItsNoteStayWithTheirRequest(t *testing.T) {
	for name, end := range endings {
		for _, deadline := range []Tick{NoTick, 1, tickRange / 2, tickRange - 1} {
			for _, note := range []uint8{0, 1, 17, MaxNote} {
				t.Run(fmt.Sprintf("%s/deadline=%d/note=%d", name, deadline, note), func(t *testing.T) {
					tb := NewTable[int](4)
					startAt(tb, tb.Generations()-1) // an ID of all ones is what could reach over
					var s *Slot[int]
					var id ID
					for range 4 { // the last slot
						s, id = tb.Acquire()
					}
					require.True(t, tb.ArmNoted(s, id, deadline, note))
					require.True(t, tb.Open(id), "the ID is what it was")
					require.Same(t, s, end(t, tb, id))
					requireDeadline(t, s, deadline, note)
				})
			}
		}
	}
}

func TestTheNextRequestOfASlotHasNothingOfTheLastOne(t *testing.T) {
	tb := NewTable[int](1)
	s, id := tb.Acquire()
	require.True(t, tb.ArmNoted(s, id, tickRange-1, MaxNote))
	tb.Answer(id)
	s, id = tb.Renew(id)
	require.True(t, tb.Arm(s, id, 5))
	s, won := tb.Cancel(id)
	require.True(t, won)
	requireDeadline(t, s, 5, 0)
}

// noted is a table with one request of each note, all due at 10.
func noted(t *testing.T) (*Table[int], map[ID]uint8) {
	t.Helper()
	tb, notes := NewTable[int](64), map[ID]uint8{}
	for note := range uint8(MaxNote + 1) {
		s, id := tb.Acquire()
		require.True(t, tb.ArmNoted(s, id, 10, note))
		notes[id] = note
	}
	return tb, notes
}

func TestExpireIfAsksOnlyOfWhatIsDueAndHasANote(t *testing.T) {
	tb, notes := noted(t)
	for _, deadline := range []Tick{NoTick, 11, 12} { // not due
		s, id := tb.Acquire()
		require.True(t, tb.ArmNoted(s, id, deadline, 3))
	}
	var asked []uint8
	gave := map[ID]bool{}
	due := func(deadline Tick, note uint8) bool {
		assert.Equal(t, Tick(10), deadline)
		asked = append(asked, note)
		return note%3 == 0
	}
	complete := func(s *Slot[int], id ID) {
		requireDeadline(t, s, 10, notes[id])
		gave[id] = true
		tb.Release(id)
	}
	tb.ExpireIf(9, due, complete)
	require.Empty(t, asked)
	require.Empty(t, gave)

	tb.ExpireIf(10, due, complete)
	require.Len(t, asked, MaxNote)
	require.NotContains(t, asked, uint8(0))
	for id, note := range notes {
		require.Equal(t, note%3 == 0, gave[id], "note %d", note)
		require.Equal(t, note%3 != 0, tb.Open(id))
	}

	// What was put off is asked about again, and what has expired is not.
	clear(gave)
	asked = nil
	tb.ExpireIf(10, due, complete)
	require.Empty(t, gave)
	require.Len(t, asked, MaxNote-MaxNote/3)
	tb.Expire(10, complete)
	require.Len(t, gave, len(asked), "Expire does not ask")
}

// A request may be answered while it is asked whether it is due.
func TestARequestThatIsAnsweredWhileItIsAskedAboutDoesNotExpire(t *testing.T) {
	tb := NewTable[int](1)
	s, id := tb.Acquire()
	require.True(t, tb.ArmNoted(s, id, 5, 1))
	tb.ExpireIf(5, func(Tick, uint8) bool {
		_, match := tb.Answer(id)
		require.Equal(t, Won, match)
		_, id = tb.Renew(id)
		require.True(t, tb.ArmNoted(s, id, 5, 1), "and its slot used again")
		return true
	}, nothing(t))
	require.True(t, tb.Open(id))
	require.Zero(t, tb.Orphans())
}

// issueAll has every slot of a table issue an ID, in one way or other, and returns them.
func issueAll(t *testing.T, tb *Table[int], round int) (ids []ID) {
	t.Helper()
	if round%2 == 0 {
		for s, id := tb.Acquire(); s != nil; s, id = tb.Acquire() {
			ids = append(ids, id)
		}
	} else {
		var some [64]ID
		for n := tb.AcquireInto(some[:]); n > 0; n = tb.AcquireInto(some[:]) {
			ids = append(ids, some[:n]...)
		}
	}
	require.Len(t, ids, tb.Cap())
	return ids
}

func TestNobodyIsNeverIssued(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 256, 257} {
		for _, first := range []uint32{0, 5} { // rounds before the generations wrap
			tb := NewTable[int](capacity)
			if first > 0 {
				issueAll(t, tb, 0) // grows it
				for i := range tb.size.Load() {
					tb.slot(i).word.Store(uint64(ID(tb.Generations()-first)<<tb.slotBits|ID(i)) << idShift)
					tb.Free(ID(i))
				}
			}
			for round := range 12 {
				ids := issueAll(t, tb, round)
				for i, id := range ids {
					require.NotEqual(t, Nobody, id, "capacity %d, round %d", capacity, round)
					require.NotEqual(t, None, id)
					require.True(t, tb.ArmNoted(tb.Slot(id), id, NoTick, MaxNote))
					_, match := tb.Answer(Nobody)
					require.Equal(t, Unknown, match)
					_, won := tb.Cancel(Nobody)
					require.False(t, won)
					_, match = tb.Answer(id)
					require.Equal(t, Won, match)
					if i%3 == 0 {
						_, renewed := tb.Renew(id)
						require.NotEqual(t, Nobody, renewed)
					}
				}
				tb.FreeAll(ids)
			}
		}
	}
}

// The largest table has so few generations that the slot of Nobody can go through all.
func TestNobodyIsNotAmongAllIDsOfItsSlot(t *testing.T) {
	tb := NewTable[int](MaxCapacity)
	tb.Acquire()
	s, id := tb.Acquire()
	require.Equal(t, uint32(Nobody), tb.indexOf(id))
	for range 2*tb.Generations() + 3 {
		if id == Nobody {
			t.Fatal("it was issued")
		}
		require.True(t, tb.Arm(s, id, NoTick))
		tb.Answer(id)
		s, id = tb.Renew(id)
	}
}

// A peer may answer for Nobody on a table that has not issued any ID.
func TestAnEmptyTableKnowsNothingOfNobody(t *testing.T) {
	for _, capacity := range []int{1, 2, MaxCapacity} {
		tb := NewTable[int](capacity)
		_, match := tb.Answer(Nobody)
		require.Equal(t, Unknown, match)
		_, won := tb.Cancel(Nobody)
		require.False(t, won)
	}
}
