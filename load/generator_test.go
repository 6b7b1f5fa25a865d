package load

import (
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestQuantilesOfWhatAHistogramHasGained(t *testing.T) {
	h := func(counts ...uint64) *metrics.Float64Histogram {
		return &metrics.Float64Histogram{Counts: counts, Buckets: []float64{0, 1e-6, 1e-3, 1, math.Inf(1)}}
	}
	before := h(5, 5, 5, 5)
	assert.Zero(t, since(before, before, 0.99), "nothing")
	assert.Equal(t, time.Microsecond, since(before, h(104, 5, 6, 5), 0.99))
	assert.Equal(t, time.Second, since(before, h(104, 5, 6, 5), 1))
	assert.Equal(t, time.Millisecond, since(before, h(5, 105, 6, 5), 0.5))
	assert.Equal(t, time.Second, since(before, h(5, 5, 5, 6), 1), "the last bucket has no upper end")
	assert.Zero(t, since(nil, before, 1))
}

func TestUseIsOfTheTimeWatched(t *testing.T) {
	use := watchUse()
	for began := cpuTime(); began >= 0 && cpuTime() < began+20*time.Millisecond; {
		runtime.Gosched()
	}
	g := use()
	if runtime.GOOS != "windows" {
		assert.Positive(t, g.CPU)
		assert.LessOrEqual(t, g.CPU, 1.1)
	}
	if runtime.GOOS == "linux" {
		assert.GreaterOrEqual(t, g.Stolen, 0.0)
		assert.LessOrEqual(t, g.Stolen, 1.1)
	}
}
