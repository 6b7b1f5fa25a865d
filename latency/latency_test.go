package latency_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/latency"
)

func histogram(all ...time.Duration) (h latency.Histogram) {
	for _, d := range all {
		h.Record(d)
	}
	return h
}

// only returns the bound of the one cell that has counted d.
func only(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	h := histogram(d)
	cells := 0
	var bound time.Duration
	for most, n := range h.All() {
		require.EqualValues(t, 1, n)
		bound = most
		cells++
	}
	require.Equal(t, 1, cells)
	return bound
}

func TestADurationIsCountedWhereItBelongs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		d := time.Duration(math.Exp(random.Float64() * math.Log(8e12)))
		bound := only(t, d)
		require.LessOrEqual(t, d, bound)
		require.LessOrEqual(t, float64(bound), math.Max(float64(d)*1.0906+1, 119), "%v in the cell up to %v", d, bound)
		if bound > latency.Least { // the bound is the last one in its cell
			require.Equal(t, bound, only(t, bound))
			require.Greater(t, only(t, bound+1), bound)
		}
	}
	for _, d := range []time.Duration{-1, 0, 1, latency.Least} {
		assert.Equal(t, latency.Least, only(t, d))
	}
	assert.EqualValues(t, math.MaxInt64, only(t, math.MaxInt64))
	assert.EqualValues(t, math.MaxInt64, only(t, 8192*time.Second+1))
	assert.Equal(t, 8192*time.Second, only(t, 8192*time.Second))
}

func TestStepsCountExactly(t *testing.T) {
	steps := latency.Steps()
	require.Len(t, steps, 19)
	assert.Equal(t, 10*time.Microsecond, steps[0])
	assert.Equal(t, 10*time.Second, steps[18])
	for i, s := range steps {
		h := histogram(s-1, s, s+1)
		assert.EqualValues(t, 2, h.AtMost(s), s)
		if i > 0 {
			assert.Zero(t, h.AtMost(steps[i-1]), s)
			ratio := float64(s) / float64(steps[i-1])
			assert.True(t, ratio > 1.99 && ratio < 2.51, s)
		}
	}
	steps[0] = 0
	assert.NotZero(t, latency.Steps()[0], "a copy")
}

func TestExponentialBucketsAreThoseOfSchemaThree(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		d := time.Duration(math.Exp(random.Float64() * math.Log(8e12)))
		h := histogram(d, d)
		buckets := 0
		for i, n := range h.Exponential() {
			buckets++
			require.EqualValues(t, 2, n)
			bound := func(i int) float64 { return math.Floor(1e9 * math.Exp2(float64(i)/8)) }
			require.LessOrEqual(t, float64(d), bound(i))
			if d > latency.Least {
				require.Greater(t, float64(d), bound(i-1))
			}
		}
		require.Equal(t, 1, buckets)
	}
	h := histogram(10*time.Microsecond, 10*time.Microsecond+1, 9*time.Hour)
	var all []int
	for i := range h.Exponential() {
		all = append(all, i)
	}
	assert.Equal(t, []int{-132, 105}, all, "two cells of one bucket, and what is longer than all")
}

func TestQuantilesMeanAndSum(t *testing.T) {
	var h latency.Histogram
	assert.Zero(t, h.Quantile(0.5))
	assert.Zero(t, h.Mean())
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	assert.EqualValues(t, 1000, h.Count())
	assert.Equal(t, 500500*time.Millisecond, h.Sum())
	assert.Equal(t, 500500*time.Microsecond, h.Mean())
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 1: 1000, 7: 1000, -1: 1} {
		got := h.Quantile(q)
		assert.GreaterOrEqual(t, got, want*time.Millisecond, q)
		assert.LessOrEqual(t, float64(got), float64(want*time.Millisecond)*1.0906, q)
	}
	h = histogram(9 * time.Hour)
	assert.EqualValues(t, math.MaxInt64, h.Quantile(0.5))
}

func TestHistogramsAddUpAndSubtract(t *testing.T) {
	a, b := histogram(time.Millisecond, time.Second), histogram(time.Second, time.Minute)
	sum := a
	sum.Add(&b)
	assert.Equal(t, histogram(time.Millisecond, time.Second, time.Second, time.Minute), sum)
	assert.Equal(t, b, sum.Since(&a))
	assert.Equal(t, histogram(time.Millisecond, time.Second), a, "as it was")
}

func TestARecorderCountsWhatAllRecord(t *testing.T) {
	r := latency.NewRecorder()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				r.Record(time.Duration(i) * time.Microsecond)
			}
		})
	}
	all.Wait()
	r.Record(-5)
	var want latency.Histogram
	for i := range 8000 {
		want.Record(time.Duration(i%1000) * time.Microsecond)
	}
	want.Record(0)
	assert.Equal(t, want, r.Histogram())
}

func TestAllEndsWhenItIsToldTo(t *testing.T) {
	h := histogram(time.Millisecond, time.Second, time.Minute)
	for range h.All() {
		break
	}
	for range h.Exponential() {
		break
	}
	var bounds []time.Duration
	for d := range h.All() {
		bounds = append(bounds, d)
	}
	assert.True(t, slices.IsSorted(bounds))
	assert.Len(t, bounds, 3)
}

func BenchmarkRecord(b *testing.B) {
	r := latency.NewRecorder()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for d := time.Duration(0); pb.Next(); d = (d + 977) % time.Second {
			r.Record(d)
		}
	})
}
