package stopwatch_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/stopwatch"
)

func TestNoneTimesNothing(t *testing.T) {
	w := stopwatch.New(-1)
	assert.Nil(t, w)
	assert.Zero(t, w.Begin())
	turns := w.NewTurns()
	assert.Zero(t, turns.Begin(w))
	assert.Zero(t, w.Histogram())
	w.End(0)
}

// Both ways to choose take one of so many, the first one no more often than others.
func TestOneOfSoManyIsTimed(t *testing.T) {
	const every, n = 16, 160_000
	w := stopwatch.New(every)
	began, first := 0, 0
	turns := w.NewTurns()
	for range n {
		if w.Begin() != 0 {
			began++
		}
		if turns.Begin(w) != 0 {
			first++
		}
	}
	assert.InDelta(t, n/every, began, 700, "seven standard deviations")
	assert.InDelta(t, n/every, first, 700)
	fresh := 0
	for range n {
		turns := w.NewTurns()
		if turns.Begin(w) != 0 {
			fresh++
		}
		if w.First() >= every {
			t.Fatal("none of the first so many is timed")
		}
	}
	assert.InDelta(t, n/every, fresh, 700)
	assert.Equal(t, every, w.Every())
}

func TestOneOfOneIsEach(t *testing.T) {
	w := stopwatch.New(1)
	turns := w.NewTurns()
	for range 1000 {
		if w.Begin() == 0 || turns.Begin(w) == 0 {
			t.Fatal("one is not timed")
		}
	}
}

// Numbers that follow each other, and those that differ in their upper bits only, like the IDs of
// one slot of a table, are chosen alike.
func TestOneOfSoManyNumbersIsChosen(t *testing.T) {
	const n = 160_000
	for _, every := range []int{1, 10, 16} {
		w := stopwatch.New(every)
		for _, step := range []uint32{1, 2, 1 << 6, 1 << 10, 1<<14 + 1} {
			chosen := 0
			for i := range uint32(n) {
				if w.Chosen(7 + i*step) {
					chosen++
				}
			}
			assert.InDelta(t, n/every, chosen, 700, "every %d, step %d", every, step)
		}
	}
}

func TestWhatEndsIsRecorded(t *testing.T) {
	w := stopwatch.New(1)
	began := w.Begin()
	for stopwatch.Now() < began+stopwatch.Time(time.Millisecond) {
	}
	w.End(began)
	h := w.Histogram()
	assert.EqualValues(t, 1, h.Count())
	assert.Zero(t, h.AtMost(500*time.Microsecond))
	assert.GreaterOrEqual(t, h.Sum(), time.Millisecond)
}

func BenchmarkBegin(b *testing.B) {
	w := stopwatch.New(64)
	for b.Loop() {
		w.Begin()
	}
}

func BenchmarkChosen(b *testing.B) {
	w := stopwatch.New(64)
	for i := uint32(0); b.Loop(); i += 1 << 10 {
		w.Chosen(i)
	}
}

func BenchmarkTurns(b *testing.B) {
	w := stopwatch.New(64)
	t := w.NewTurns()
	for b.Loop() {
		t.Begin(w)
	}
}

func BenchmarkOff(b *testing.B) {
	var w *stopwatch.Stopwatch
	var t stopwatch.Turns
	for b.Loop() {
		t.Begin(w)
	}
}
