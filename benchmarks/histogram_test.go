package benchmarks

import (
	"math"
	"math/bits"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// subBits is the histogram's precision: 2^subBits buckets for each power of two,
// so a value is known to within 1.6 %.
const subBits = 6

// histogram counts durations in buckets that widen with the value. It takes the
// same memory however many there are. The root module has no histogram among its
// requirements, and a sum of buckets is all that is needed here.
type histogram struct {
	buckets [(64 - subBits) << subBits]uint64
	count   uint64
}

// add counts d; a negative one counts as 0.
func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(uint64(max(d, 0)))]++
	h.count++
}

// bucketOf maps 0 to 2^subBits-1 onto themselves, and each power of two above onto
// the next 2^subBits buckets.
func bucketOf(ns uint64) int {
	shift := max(bits.Len64(ns)-subBits-1, 0)
	return shift<<subBits + int(ns>>shift)
}

// upperBound is the largest value of a bucket.
func upperBound(bucket int) uint64 {
	shift := max(bucket>>subBits-1, 0)
	return uint64(bucket-shift<<subBits+1)<<shift - 1
}

// percentile is the smallest bound, in nanoseconds, that p percent of the values
// do not exceed; 0 when there is none.
func (h *histogram) percentile(p float64) float64 {
	want := uint64(math.Ceil(float64(h.count) * p / 100))
	var seen uint64
	for bucket, n := range h.buckets {
		if seen += n; n > 0 && seen >= want {
			return float64(upperBound(bucket))
		}
	}
	return 0
}

func TestHistogramKeepsValuesWithinItsPrecision(t *testing.T) {
	for ns := uint64(0); ns < 1<<60; ns += ns/32 + 1 {
		bucket := bucketOf(ns)
		upper := upperBound(bucket)
		require.GreaterOrEqual(t, upper, ns)
		require.LessOrEqual(t, float64(upper-ns), float64(ns)/(1<<subBits), "%d", ns)
		require.Equal(t, bucket, bucketOf(upper), "%d", ns)
		require.Equal(t, bucket+1, bucketOf(upper+1), "%d", ns)
	}
	require.Less(t, bucketOf(math.MaxInt64), len(histogram{}.buckets))
}

func TestHistogramPercentiles(t *testing.T) {
	var h histogram
	assert.Zero(t, h.percentile(50), "no value")
	h.add(-1)
	assert.Zero(t, h.percentile(99.9))
	for i := range 1000 {
		h.add(time.Duration(i))
	}
	assert.InEpsilon(t, 500, h.percentile(50), 0.02)
	assert.InEpsilon(t, 990, h.percentile(99), 0.02)
	assert.InEpsilon(t, 999, h.percentile(100), 0.02)
}
