package wire

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// small is the codec of IDs from least to most, in decimal digits.
func small(t *testing.T, least, most uint64) *Codec {
	t.Helper()
	c, err := New(Spec{Length: Field{0, 2, Big}, ID: Field{2, 2, Decimal}, ReplyID: 2, IDMin: least, IDMax: most})
	require.NoError(t, err)
	return c
}

func issue(t *testing.T, tb *Table[int], value int) uint64 {
	t.Helper()
	id, v, ok := tb.Issue()
	require.True(t, ok)
	require.Zero(t, *v, "what was known of an earlier one is gone")
	*v = value
	return id
}

func TestIDsAreIssuedInTurnAndThoseInUsePassedOver(t *testing.T) {
	tb := NewTable[int](small(t, 3, 7), 5)
	var ids []uint64
	for i := range 5 {
		ids = append(ids, issue(t, tb, i+1))
	}
	assert.Equal(t, []uint64{3, 4, 5, 6, 7}, ids)
	_, _, ok := tb.Issue()
	assert.False(t, ok, "all are in use")
	for _, id := range []uint64{6, 4, 3} {
		v, verdict := tb.Answer(id)
		require.Equal(t, Answered, verdict)
		assert.Equal(t, int(id)-2, *v)
	}
	assert.Equal(t, []uint64{3, 4, 6}, []uint64{issue(t, tb, 1), issue(t, tb, 2), issue(t, tb, 3)})
	assert.Equal(t, 5, tb.Open())
}

func TestEachReplyIsWhatItIs(t *testing.T) {
	tb := NewTable[int](small(t, 0, 99), 4)
	a, b := issue(t, tb, 10), issue(t, tb, 20)
	assert.Equal(t, 10, *tb.Oldest())
	tb.GiveUpOldest()
	assert.Equal(t, 20, *tb.Oldest())
	assert.Equal(t, 10, *tb.OldestGivenUp())
	v, isOpen := tb.Find(a)
	assert.Equal(t, 10, *v)
	assert.False(t, isOpen)

	v, verdict := tb.Answer(a)
	assert.Equal(t, Late, verdict)
	assert.Equal(t, 10, *v)
	_, verdict = tb.Answer(a)
	assert.Equal(t, Duplicate, verdict)
	v, verdict = tb.Answer(b)
	assert.Equal(t, Answered, verdict)
	assert.Equal(t, 20, *v)
	_, verdict = tb.Answer(b)
	assert.Equal(t, Duplicate, verdict)
	_, verdict = tb.Answer(50)
	assert.Equal(t, Unknown, verdict, "never issued")
	_, verdict = tb.Answer(1 << 40)
	assert.Equal(t, Unknown, verdict)
	v, _ = tb.Find(b)
	assert.Nil(t, v)
	tb.Reset()
	_, verdict = tb.Answer(b)
	assert.Equal(t, Unknown, verdict, "of another connection")
}

func TestAnIDThatWasGivenUpIsNotIssuedBeforeItsReply(t *testing.T) {
	tb := NewTable[int](small(t, 0, 3), 2)
	id := issue(t, tb, 1)
	tb.GiveUpOldest()
	for range 20 {
		next := issue(t, tb, 2)
		require.NotEqual(t, id, next)
		_, verdict := tb.Answer(next)
		require.Equal(t, Answered, verdict)
	}
	_, verdict := tb.Answer(id)
	require.Equal(t, Late, verdict)
	var ids []uint64
	for range 4 {
		next := issue(t, tb, 3)
		ids = append(ids, next)
		tb.Answer(next)
	}
	assert.Contains(t, ids, id)
}

func TestATableIsWornWhenHalfIsGivenUpAndItCannotGrow(t *testing.T) {
	tb := NewTable[int](small(t, 0, 9), 4)
	for i := range 5 {
		assert.False(t, tb.Worn(), "%d given up", i)
		issue(t, tb, 1)
		tb.GiveUpOldest()
	}
	assert.True(t, tb.Worn())
}

func TestATableGrowsAndForgetsNothing(t *testing.T) {
	tb := NewTable[int](codec(t, "anet"), 16)
	var given, opened []uint64
	first := issue(t, tb, 1)
	tb.Answer(first)
	for i := range 5000 {
		if i == 50 {
			_, verdict := tb.Answer(first)
			require.Equal(t, Duplicate, verdict, "what was answered before it grew")
		}
		given = append(given, issue(t, tb, i+1))
		tb.GiveUpOldest()
	}
	for i := range 16 {
		opened = append(opened, issue(t, tb, -i))
	}
	require.False(t, tb.Worn())
	require.LessOrEqual(t, 4*tb.GivenUp(), len(tb.entries))
	for i, id := range given {
		v, verdict := tb.Answer(id)
		require.Equal(t, Late, verdict)
		require.Equal(t, i+1, *v)
	}
	for i, id := range opened {
		v, verdict := tb.Answer(id)
		require.Equal(t, Answered, verdict)
		require.Equal(t, -i, *v)
	}
}

func TestATableStopsGrowing(t *testing.T) {
	tb := NewTable[int](codec(t, "anet"), 1)
	for range entriesMax {
		if tb.Worn() {
			break
		}
		issue(t, tb, 1)
		tb.GiveUpOldest()
	}
	assert.True(t, tb.Worn())
	assert.Len(t, tb.entries, entriesMax)
}

func TestWithoutIDsATombstoneTakesItsOwnReply(t *testing.T) {
	tb := NewTable[int](codec(t, "fifo"), 3)
	for i := range 3 {
		issue(t, tb, i+1)
	}
	tb.GiveUpOldest()
	var got []int
	var verdicts []Verdict
	for range 3 {
		v, verdict := tb.Answer(77)
		got, verdicts = append(got, *v), append(verdicts, verdict)
	}
	assert.Equal(t, []int{1, 2, 3}, got)
	assert.Equal(t, []Verdict{Late, Answered, Answered}, verdicts)
	_, verdict := tb.Answer(77)
	assert.Equal(t, Unknown, verdict, "nobody asked")
}

func TestEachVisitsAllThatHaveNoReply(t *testing.T) {
	tb := NewTable[int](codec(t, "anet"), 4)
	for i := range 4 {
		issue(t, tb, i)
	}
	tb.Answer(tb.entries[2].id)
	tb.GiveUpOldest()
	var opened, given []int
	tb.Each(func(v *int, isOpen bool) {
		if isOpen {
			opened = append(opened, *v)
		} else {
			given = append(given, *v)
		}
	})
	assert.Len(t, opened, 2)
	assert.Equal(t, []int{0}, given)
}

func TestWindowsThatTheIDsCannotFillAreRefused(t *testing.T) {
	c := small(t, 0, 0)
	require.NoError(t, c.CheckWindow(100))
	assert.ErrorContains(t, c.CheckWindow(101), "in flight 101: must be 1 to 100, which is how many IDs there are")
	assert.ErrorContains(t, c.CheckWindow(0), "must be 1 to 65536")
	assert.ErrorContains(t, codec(t, "anet").CheckWindow(WindowMax+1), "must be 1 to 65536")
	assert.NoError(t, codec(t, "anet").CheckWindow(WindowMax))
	assert.NoError(t, codec(t, "fifo").CheckWindow(WindowMax))
}

// A million operations beside a map that knows the answers.
func TestTableBesideAMapModel(t *testing.T) {
	for _, ids := range []uint64{40, 99} {
		const window = 16
		rng := rand.New(rand.NewPCG(ids, 1))
		tb := NewTable[int](small(t, 1, ids), window)
		where := map[uint64]state{} // what the model knows of each ID
		value := map[uint64]int{}
		var order []uint64 // open, the oldest first
		for i := 1; i < 500_000; i++ {
			switch rng.IntN(5) {
			case 0, 1:
				if len(order) == window {
					continue
				}
				id, v, ok := tb.Issue()
				if !ok {
					continue
				}
				if s := where[id]; s == open || s == givenUp {
					t.Fatalf("ID %d is in use", id)
				}
				*v, value[id], where[id] = i, i, open
				order = append(order, id)
			case 2, 3:
				id := rng.Uint64N(ids + 3)
				want := map[state]Verdict{rested: Unknown, open: Answered, givenUp: Late, answered: Duplicate}[where[id]]
				v, got := tb.Answer(id)
				if want == Duplicate && got == Unknown && ids > entriesMin {
					continue // forgotten: another ID has its entry
				}
				require.Equal(t, want, got, "ID %d", id)
				if got == Answered || got == Late {
					require.Equal(t, value[id], *v)
					where[id] = answered
					order = remove(order, id)
				}
			case 4:
				if len(order) > 0 && tb.GivenUp() < 10 {
					require.Equal(t, value[order[0]], *tb.Oldest())
					tb.GiveUpOldest()
					where[order[0]] = givenUp
					order = order[1:]
				}
			}
			require.Equal(t, len(order), tb.Open())
		}
	}
}

func remove(all []uint64, one uint64) (rest []uint64) {
	for _, id := range all {
		if id != one {
			rest = append(rest, id)
		}
	}
	return rest
}

func TestIssueAndAnswerAllocNothing(t *testing.T) {
	tb := NewTable[[4]uint64](codec(t, "anet"), 32)
	c := codec(t, "anet")
	buf, payload := make([]byte, 0, 256), make([]byte, 64)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		id, _, _ := tb.Issue()
		buf, _ = c.Append(buf[:0], id, payload)
		tb.Answer(id)
	}))
}
