package prom

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ringwire/ringwire/internal/buckets"
)

// schema is that of the native buckets, each of which is 2^(1/8), 1.09, times as wide as the one
// before it. Of what a run records, a nanosecond to an hour, they are some 330 at most.
const schema = 3

// seconds is a histogram with classic buckets and native ones.
type seconds struct {
	prometheus.Metric // with the native ones
	classic           []*dto.Bucket
}

// Write writes both.
func (s *seconds) Write(out *dto.Metric) error {
	err := s.Metric.Write(out)
	if err == nil {
		out.Histogram.Bucket = s.classic
	}
	return err
}

// newSeconds makes a metric of a histogram of nanoseconds, of nil an empty one. A value counts as
// the highest that the histogram does not tell from it, as in the report's percentiles: it is
// up to 0.1 % above. Their sum is as exact.
func newSeconds(desc *prometheus.Desc, h *hdrhistogram.Histogram, created time.Time, labels ...string) (prometheus.Metric, error) {
	bounds := buckets.Seconds()
	within := make([]uint64, len(bounds))
	native := make(map[int]int64)
	var zero, count uint64
	sum := 0.0
	if h != nil && h.TotalCount() > 0 {
		count = uint64(h.TotalCount())
		sum = h.Mean() * float64(count) / float64(time.Second)
		for _, bar := range h.Distribution() {
			if bar.Count == 0 {
				continue
			}
			value := float64(bar.To) / float64(time.Second)
			for i := len(bounds) - 1; i >= 0 && value <= bounds[i]; i-- {
				within[i] += uint64(bar.Count)
			}
			if bar.To == 0 {
				zero += uint64(bar.Count)
			} else {
				native[int(math.Ceil(math.Log2(value)*(1<<schema)))] += bar.Count
			}
		}
	}
	m, err := prometheus.NewConstNativeHistogram(desc, count, sum, native, nil, zero, schema,
		prometheus.DefNativeHistogramZeroThreshold, created, labels...)
	s := &seconds{Metric: m}
	for i := range bounds {
		s.classic = append(s.classic, &dto.Bucket{UpperBound: &bounds[i], CumulativeCount: &within[i]})
	}
	return s, err
}
