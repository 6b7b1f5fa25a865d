// Package quantile is the rule by which everything that says a percentile finds it.
package quantile

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Percentiles of a latency, in nanoseconds.
type Percentiles struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50"`
	P75   int64 `json:"p75"`
	P90   int64 `json:"p90"`
	P95   int64 `json:"p95"`
	P99   int64 `json:"p99"`
	P999  int64 `json:"p999"`
	P9999 int64 `json:"p9999"`
	Max   int64 `json:"max"`
	Mean  int64 `json:"mean"`
}

// Of returns the percentiles of a histogram, nil if nothing was recorded.
func Of(h *hdrhistogram.Histogram) *Percentiles {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	n := h.TotalCount()
	at := func(q float64) int64 { return At(h, q) }
	return &Percentiles{n, at(50), at(75), at(90), at(95), at(99), at(99.9), at(99.99), h.Max(), int64(h.Mean())}
}

// At returns the smallest value that so many percent of a histogram's values do not exceed,
// as HdrHistogram of other languages does. This one's library takes the nearest rank, which
// may be one too low: of 7200 values the 7199th as the 99.99th percentile.
func At(h *hdrhistogram.Histogram, percent float64) int64 {
	n := float64(h.TotalCount())
	rank := math.Ceil(math.Nextafter(percent/100*n, 0)) // what arithmetic made too large is no rank
	return h.ValueAtPercentile(100 * rank / max(n, 1))
}
