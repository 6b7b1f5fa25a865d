// Package stopwatch times one of so many things, chosen at random.
//
// To time each costs two looks at the clock, some 60 ns, and 20 ns more to count it: a tenth of
// what a request costs where 256 callers share a broker. Quantiles need no more than a part: of
// 256,000 requests a second, one of 256 gives a thousand. To share a look among the replies of a
// batch saves one of the two only, and a time that is not the call's own hides what the call has
// waited for.
//
// The choice is random, because every 256th would always meet the same place of a batch.
package stopwatch

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/ringwire/ringwire/latency"
)

// EveryMost is the largest part, one of EveryMost, that may be timed.
const EveryMost = 1 << 20

// Stopwatch records how long things take. nil times nothing. Its methods may be called by anybody.
type Stopwatch struct {
	every    uint32
	gap      float64 // mean of an exponential distribution; rounded down it is the number left out
	recorder *latency.Recorder
}

// New returns a Stopwatch that times one of every things, nil if every is not positive.
func New(every int) *Stopwatch {
	if every <= 0 {
		return nil
	}
	return &Stopwatch{uint32(every), -1 / math.Log1p(-1/float64(every)), latency.NewRecorder()}
}

// Time is when something began that is timed; 0: it is not.
type Time int64

// epoch is what a Time counts from: time.Since reads one clock, time.Now two.
var epoch = time.Now()

// Now returns the present Time, never 0.
func Now() Time { return Time(time.Since(epoch) + 1) }

// At returns the Time of a moment.
func At(t time.Time) Time { return Time(t.Sub(epoch) + 1) }

// Begin begins to time one of so many things.
func (w *Stopwatch) Begin() Time {
	if w == nil {
		return 0
	}
	return w.begin()
}

func (w *Stopwatch) begin() Time {
	// rand.Uint32N, done by hand: 7 ns instead of 12, which is much for a call of
	// Broker.Go.
	if n, _ := bits.Mul64(rand.Uint64(), uint64(w.every)); n != 0 {
		return 0
	}
	return Now()
}

// Chosen reports whether one of many things that have numbers is timed: one of so many, whatever
// the order of the numbers. It costs a sixth of a random number.
// (The number is mixed as by the end of MurmurHash3: Austin Appleby, 2011.)
func (w *Stopwatch) Chosen(number uint32) bool {
	number = (number ^ number>>16) * 0x85ebca6b
	number = (number ^ number>>13) * 0xc2b2ae35
	return uint64(number^number>>16)*uint64(w.every)>>32 == 0
}

// End records what began at t, if it is timed, and returns when it ended, else 0.
func (w *Stopwatch) End(t Time) (now Time) {
	if t != 0 {
		now = Now()
		w.recorder.Record(time.Duration(now - t))
	}
	return now
}

// Histogram returns what was recorded.
func (w *Stopwatch) Histogram() latency.Histogram {
	if w == nil {
		return latency.Histogram{}
	}
	return w.recorder.Histogram()
}

// First returns which of many things at once is timed first, the first being 0; the next ones are
// Every further each.
func (w *Stopwatch) First() int { return int(rand.Uint32N(w.every)) }

// Every returns one of how many things is timed.
func (w *Stopwatch) Every() int { return int(w.every) }

// Turns is Begin for a goroutine that does one thing after another: it draws how many are left out
// before the next one that is timed, and counts, which costs a fifth of a random number for each.
// The zero value times the first.
type Turns struct{ left uint32 }

// NewTurns returns Turns that time the first thing no more often than others. w may be nil.
func (w *Stopwatch) NewTurns() (t Turns) {
	if w != nil {
		t.draw(w)
	}
	return t
}

// draw draws a geometrically distributed number, which makes each thing as likely to be timed as
// any other, also where Turns are seldom used for long.
func (t *Turns) draw(w *Stopwatch) { t.left = uint32(rand.ExpFloat64() * w.gap) }

// Begin begins to time the next thing, if it is its turn.
func (t *Turns) Begin(w *Stopwatch) Time {
	if w == nil {
		return 0
	}
	if t.left > 0 {
		t.left--
		return 0
	}
	return t.begin(w)
}

func (t *Turns) begin(w *Stopwatch) Time {
	t.draw(w)
	return Now()
}
