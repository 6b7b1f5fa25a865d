package quantile

import (
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
)

const ms = int64(time.Millisecond)

// spread is a histogram of 1 to n milliseconds, one each.
func spread(n int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range n {
		if err := h.RecordValue((i + 1) * ms); err != nil {
			panic(err)
		}
	}
	return h
}

func TestAPercentileIsNeverBelowSoManyPercent(t *testing.T) {
	for n, want := range map[int64][3]int64{1: {1, 1, 1}, 2: {1, 2, 2}, 4: {2, 4, 4}, 10: {5, 10, 10}, 100: {50, 99, 100}, 1000: {500, 990, 999}, 1001: {501, 991, 1000}} {
		h := spread(n)
		for i, q := range []float64{50, 99, 99.9} {
			assert.True(t, h.ValuesAreEquivalent(want[i]*ms, At(h, q)), "p%v of %d: %v", q, n, At(h, q))
		}
		assert.True(t, h.ValuesAreEquivalent(n*ms, At(h, 100)))
	}
	assert.Zero(t, At(spread(0), 99))
}

func TestPercentilesOfNothingAreNone(t *testing.T) {
	assert.Nil(t, Of(nil))
	assert.Nil(t, Of(spread(0)))
	p := Of(spread(7200))
	assert.EqualValues(t, 7200, p.Count)
	assert.Equal(t, p.Max, p.P9999, "rank 7199.28 is the last")
	assert.InDelta(t, 3600.5*float64(ms), float64(p.Mean), float64(4*ms))
}
