package latency

import (
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// stripesMax bounds a Recorder to some 160 KiB.
const stripesMax = 64

// Recorder is a histogram that many goroutines fill at once. Each goroutine has one of some
// stripes, by the address of its stack, as in ring.Counter, so that they seldom meet. Its methods
// may be called by anybody; make it with [NewRecorder].
type Recorder struct {
	stripes []stripe
	spread  cacheline.Stripes
}

type stripe struct {
	counts [cells]atomic.Uint64
	sum    atomic.Int64
	_      cacheline.Pad
}

// NewRecorder returns a Recorder that has counted nothing. It takes 2.5 KiB for each processor
// (GOMAXPROCS, rounded up to a power of two), 64 at most.
func NewRecorder() *Recorder {
	spread, n := cacheline.NewStripes(1, stripesMax)
	return &Recorder{make([]stripe, n), spread}
}

// Record counts a duration; a negative one as 0. It does not allocate.
func (r *Recorder) Record(d time.Duration) {
	d = max(d, 0)
	s := &r.stripes[r.spread.Own()]
	s.counts[cellOf(d)].Add(1)
	s.sum.Add(int64(d))
}

// Histogram returns what was counted. Durations that are recorded meanwhile may be in its sum and
// not in its cells.
func (r *Recorder) Histogram() (h Histogram) {
	for i := range r.stripes {
		s := &r.stripes[i]
		for j := range s.counts {
			h.counts[j] += s.counts[j].Load()
		}
		h.sum += time.Duration(s.sum.Load())
	}
	return h
}
