package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/ringwire/ringwire/taskid"
)

// stillHistory is what a standstill is a summary of: every tick, and what stood still then.
type stillHistory struct {
	s     *standstill
	reach int
	ticks []stillTick
}

type stillTick struct {
	arriving, waiting bool        // in this tick
	at                taskid.Tick // if it was the last one before a sweep, what it is called,
	empty             bool        // and whether the sweep saw the outbox empty
}

func newStillHistory(reach uint32, first taskid.Tick) *stillHistory {
	h := &stillHistory{s: &standstill{}, reach: int(reach)}
	h.s.init(reach, first)
	h.ticks = append(h.ticks, stillTick{at: first, empty: true})
	return h
}

// now is the index of the present tick.
func (h *stillHistory) now() int { return len(h.ticks) - 1 }

// sweep lets ticks pass and notes what was seen at their end.
func (h *stillHistory) sweep(steps int, arriving, waiting, empty bool) {
	empty = empty && !waiting
	at := h.ticks[h.now()].at.After(uint32(steps))
	for range steps {
		h.ticks = append(h.ticks, stillTick{arriving: arriving, waiting: waiting})
	}
	last := &h.ticks[h.now()]
	last.at, last.empty = at, last.empty || empty
	h.s.note(at, uint32(steps), arriving, waiting, empty)
}

// stood returns for how many ticks the time stood still since tick came, after its sweep:
// in those in which a frame arrived, and in those in which the outbox waited until it was
// first empty.
func (h *stillHistory) stood(came int) (n int) {
	queued := true
	for i := came + 1; i <= h.now(); i++ {
		if h.ticks[i].arriving {
			n++
		}
		if queued && h.ticks[i].waiting {
			n++
		}
		queued = queued && !h.ticks[i].empty
	}
	return n
}

// most is what may be said at most of a request that came then: as of one that came with the
// sample before, and met an empty outbox with the sample behind.
func (h *stillHistory) most(came int) (n int) {
	sample := int(h.s.span) + stepMax
	queued := true
	for i := max(came-sample+1, 0); i <= h.now(); i++ {
		if h.ticks[i].arriving {
			n++
		}
		if queued && h.ticks[i].waiting {
			n++
		}
		queued = queued && !(h.ticks[i].empty && i >= came+sample)
	}
	return n + 1 // the ticks may wrap
}

// check compares what the standstill says of a request that came at a sweep with the
// history. length is how far ahead its attempt was to end.
func (h *stillHistory) check(t *testing.T, came int, length uint32) {
	t.Helper()
	at := h.ticks[came].at
	end := at.After(length)
	got := int(h.s.since(length, end))
	got += int(end.Since(at) - length) // where the ticks wrap it ends one later
	want := h.stood(came)
	if h.ticks[h.now()].at < at || end < at {
		want -= 2 // a tick has no name where they wrap: it may be missed, once in days
	}
	if got < want && h.now()-came <= h.reach {
		t.Fatalf("reach %d, from tick %d to %d the time stood still for %d ticks, said to be %d",
			h.reach, came, h.now(), want, got)
	}
	if most := h.most(came); got > most && h.now()-came <= h.reach {
		t.Fatalf("reach %d, tick %d to %d, %d ticks in which anything stood still, said to be %d",
			h.reach, came, h.now(), most, got)
	}
}

// checkAll checks a request of each sweep within reach.
func (h *stillHistory) checkAll(t *testing.T, length uint32) {
	t.Helper()
	for came := h.now(); came >= max(0, h.now()-h.reach); came-- {
		if h.ticks[came].at != taskid.NoTick {
			h.check(t, came, length)
		}
	}
}

// stillReaches are one tick for each sample, some, and what the defaults come to.
var stillReaches = []uint32{1, 40, 61, 62, 63, 200, 1000, 4000}

// stillStarts are ticks to begin at: the last ones before they wrap among them.
var stillStarts = []taskid.Tick{1, 1 << 20, 1<<24 - 1, 1<<24 - 50, 1<<24 - 1000}

func TestStandstillIsNeverLessThanTheTruthWithinReach(t *testing.T) {
	for _, reach := range stillReaches {
		for i, first := range stillStarts {
			if reach > 1000 && i > 0 { // the check is quadratic
				break
			}
			rng := rand.New(rand.NewPCG(uint64(reach), uint64(i)))
			h := newStillHistory(reach, first)
			var arriving, waiting, empty bool
			for h.now() < 3*int(reach)+200 {
				// What is the case stays so for a while, as it does on a connection.
				if rng.IntN(20) == 0 {
					arriving = !arriving && rng.IntN(2) == 0
				}
				if rng.IntN(20) == 0 {
					waiting = !waiting && rng.IntN(2) == 0
				}
				if rng.IntN(5) == 0 {
					empty = rng.IntN(2) == 0
				}
				h.sweep(rng.IntN(stepMax+1), arriving, waiting, empty)
				if rng.IntN(1+int(reach)/8) == 0 {
					h.checkAll(t, uint32(1+rng.IntN(2*int(reach))))
				}
			}
			h.checkAll(t, reach)
		}
	}
}

func TestStandstillIsNothingWhereNothingStoodStill(t *testing.T) {
	for _, reach := range stillReaches {
		for _, first := range stillStarts {
			h := newStillHistory(reach, first)
			for i := 0; h.now() < 2*int(reach)+100; i++ {
				h.sweep(i%(stepMax+1), false, false, i%3 == 0)
			}
			for came := h.now(); came >= h.now()-int(reach); came-- {
				at := h.ticks[came].at
				if at == taskid.NoTick {
					continue
				}
				if got := h.s.since(reach, at.After(reach)); got != 0 {
					t.Fatalf("reach %d: %d ticks since tick %d of %d", reach, got, came, h.now())
				}
			}
		}
	}
}

// What stood still once, and long ago, is forgotten.
func TestStandstillForgetsWhatIsLongAgo(t *testing.T) {
	for _, reach := range stillReaches {
		h := newStillHistory(reach, 1)
		for range 10 {
			h.sweep(1, true, true, false)
		}
		for h.now() < 10+2*int(reach)+4*stillSamples*stepMax {
			h.sweep(1, false, false, true)
		}
		if got := h.s.since(reach, h.ticks[h.now()].at); got != 0 {
			t.Fatalf("reach %d: %d ticks", reach, got)
		}
	}
}

// A program is the reach, where it begins, and then a sweep a byte: three bits of what was
// seen, and the steps.
func FuzzStandstill(f *testing.F) {
	f.Add(byte(0), byte(0), []byte{12, 13, 8, 9, 12, 12, 10, 10, 14, 8, 12})
	f.Add(byte(1), byte(2), []byte{12, 10, 10, 10, 10, 12, 12, 41, 42, 43, 44})
	f.Add(byte(3), byte(3), []byte{12, 12, 12, 10, 9, 9, 11, 35, 36, 34, 33, 8})
	f.Fuzz(func(t *testing.T, reach, first byte, sweeps []byte) {
		if len(sweeps) > 256 {
			return
		}
		h := newStillHistory(stillReaches[int(reach)%len(stillReaches)], stillStarts[int(first)%len(stillStarts)])
		for _, b := range sweeps {
			// An outbox that waits is not empty, see watchStill.
			h.sweep(int(b>>3)%(stepMax+1), b&1 != 0, b&2 != 0, b&6 == 4)
			h.check(t, h.now(), 3)
		}
		h.checkAll(t, uint32(h.reach))
	})
}
