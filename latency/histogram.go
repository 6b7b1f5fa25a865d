package latency

import (
	"iter"
	"math"
	"time"
)

// Histogram is how often things took how long. The zero value is empty. It is a value: a copy is a
// snapshot of its own. It is not safe for concurrent use, see [Recorder].
type Histogram struct {
	counts [cells]uint64
	sum    time.Duration
}

// Record counts a duration; a negative one as 0.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[cellOf(d)]++
	h.sum += d
}

// Add adds what another histogram has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.sum += o.sum
}

// Since returns what was counted after an earlier snapshot of the same source.
func (h *Histogram) Since(earlier *Histogram) Histogram {
	later := *h
	for i, n := range earlier.counts {
		later.counts[i] -= min(n, later.counts[i])
	}
	later.sum = max(later.sum-earlier.sum, 0)
	return later
}

// Count returns how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum returns the sum of the durations.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Mean returns the mean of the durations, 0 if there are none.
func (h *Histogram) Mean() time.Duration {
	if n := h.Count(); n > 0 {
		return h.sum / time.Duration(n)
	}
	return 0
}

// Quantile returns a duration that the part q of those counted, 0 to 1, did not exceed: the upper
// bound of its cell, so too long by a twelfth at most. It is 0 if there are none, and math.MaxInt64
// where it is longer than the last bound.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(n)))
	rank = max(rank, 1)
	for i, c := range h.counts[:cells-1] {
		if rank <= c {
			return time.Duration(bounds[i])
		}
		rank -= c
	}
	return math.MaxInt64
}

// AtMost returns how many took no longer than d, which must be one of Steps or of the bounds that
// All yields; of another d those are counted whose cell lies below it.
func (h *Histogram) AtMost(d time.Duration) (n uint64) {
	for i, c := range h.counts[:cells-1] {
		if bounds[i] > int64(d) {
			break
		}
		n += c
	}
	return n
}

// All yields the cells that have counted something, from the shortest on: the longest duration that
// is counted there, math.MaxInt64 for those beyond all bounds, and how many there are.
func (h *Histogram) All() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for i, c := range h.counts {
			most := time.Duration(math.MaxInt64)
			if i < cells-1 {
				most = time.Duration(bounds[i])
			}
			if c > 0 && !yield(most, c) {
				return
			}
		}
	}
}

// Exponential yields exponential buckets that have counted something, from the shortest on: i
// stands for what took longer than 2^((i-1)/8) seconds and no longer than 2^(i/8). What took no
// longer than Least, 2^-23 s, has Lowest, and what took longer than all bounds the highest.
func (h *Histogram) Exponential() iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		at, n := lowest, uint64(0)
		for i, c := range h.counts {
			exp := highest + 1
			if i < cells-1 {
				exp = int(exponents[i])
			}
			if exp != at {
				if n > 0 && !yield(at, n) {
					return
				}
				at, n = exp, 0
			}
			n += c
		}
		if n > 0 {
			yield(at, n)
		}
	}
}
