package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func all(t *testing.T, c Config) (times []time.Duration) {
	t.Helper()
	require.NoError(t, c.Validate())
	s := New(c)
	for at, more := s.Next(); more; at, more = s.Next() {
		times = append(times, at)
	}
	_, more := s.Next()
	require.False(t, more, "it stays at its end")
	require.True(t, slices.IsSorted(times))
	return times
}

func constant(rate float64, d time.Duration) []Stage { return []Stage{{d, rate, rate}} }

func TestAConstantRateIsExactHoweverMany(t *testing.T) {
	for _, rate := range []float64{1, 3, 1000, 44_100, 300_000} {
		c := Config{Stages: constant(rate, 10*time.Second)}
		times := all(t, c)
		require.Len(t, times, int(rate*10), "rate %v", rate)
		for i, at := range times {
			want := float64(i) * float64(time.Second) / rate
			if math.Abs(float64(at)-want) > 1 {
				t.Fatalf("rate %v: request %d is due at %v, not %v", rate, i, at, time.Duration(want))
			}
		}
	}
	c := Config{Stages: constant(1000, 1000*time.Hour), N: 5}
	assert.Equal(t, []time.Duration{0, 1e6, 2e6, 3e6, 4e6}, all(t, c), "N is exact")
}

func TestARampIsTheInverseOfItsIntegral(t *testing.T) {
	// From 0 to 200/s in 10 s: 10·t² requests are due by t.
	times := all(t, Config{Stages: []Stage{{10 * time.Second, 0, 200}}})
	require.Len(t, times, 1000)
	assert.Zero(t, times[0])
	for i, at := range times {
		assert.InDelta(t, math.Sqrt(float64(i)/10), at.Seconds(), 1e-8, "request %d", i)
	}
	// And down again: the same gaps, backwards.
	down := all(t, Config{Stages: []Stage{{10 * time.Second, 200, 0}}})
	require.Len(t, down, 1000)
	for i := 1; i < 1000; i++ {
		assert.InDelta(t, (10 - math.Sqrt(float64(1000-i)/10)), down[i].Seconds(), 1e-6, "request %d", i)
	}
}

func TestStagesFollowEachOtherWithoutAGap(t *testing.T) {
	c := Config{Stages: []Stage{{time.Second, 10, 10}, {2 * time.Second, 10, 30}, {time.Second, 5, 5}}}
	times := all(t, c)
	require.Len(t, times, 10+40+5)
	phases := NewPhases(c)
	counts := make([]int, 3)
	for _, at := range times {
		counts[phases.Of(at)]++
	}
	assert.Equal(t, []int{10, 40, 5}, counts)
	assert.Equal(t, time.Second, times[10])
	assert.Equal(t, 3*time.Second, times[50])
	assert.Equal(t, 4*time.Second, c.Duration())
	assert.Equal(t, 2, phases.Of(time.Hour), "after the end it is the last")
}

func TestStagesWhoseCountIsNoIntegerLoseNothing(t *testing.T) {
	stages := []Stage{}
	for range 100 {
		stages = append(stages, Stage{100 * time.Millisecond, 25, 25}) // two and a half each
	}
	times := all(t, Config{Stages: stages})
	require.Len(t, times, 250)
	for i, at := range times {
		assert.InDelta(t, float64(i)/25, at.Seconds(), 1e-6)
	}
}

func TestPoissonArrivalsAreReproducibleAndExponential(t *testing.T) {
	c := Config{Stages: constant(1000, 100*time.Second), Poisson: true, Seed: 7}
	times := all(t, c)
	assert.Equal(t, times, all(t, c), "the same seed")
	c.Seed = 8
	assert.NotEqual(t, times[:10], all(t, c)[:10], "another seed")

	assert.InDelta(t, 100_000, len(times), 4*math.Sqrt(100_000), "the rate")
	var gaps []float64
	var sum, squares float64
	for i := 1; i < len(times); i++ {
		gap := (times[i] - times[i-1]).Seconds()
		gaps = append(gaps, gap)
		sum += gap
		squares += gap * gap
	}
	n := float64(len(gaps))
	mean := sum / n
	assert.InDelta(t, 1, math.Sqrt(squares/n-mean*mean)/mean, 0.05, "coefficient of variation")
	// Kolmogorov and Smirnov: at the level 0.01 the distance is below 1.63/√n.
	slices.Sort(gaps)
	var distance float64
	for i, gap := range gaps {
		cdf := 1 - math.Exp(-1000*gap)
		distance = max(distance, math.Abs(cdf-float64(i)/n), math.Abs(cdf-float64(i+1)/n))
	}
	assert.Less(t, distance, 1.63/math.Sqrt(n))
}

func TestPoissonArrivalsFollowARamp(t *testing.T) {
	c := Config{Stages: []Stage{{100 * time.Second, 0, 1000}}, Poisson: true, Seed: 1}
	times := all(t, c)
	assert.InDelta(t, 50_000, len(times), 4*math.Sqrt(50_000))
	half, _ := slices.BinarySearch(times, 50*time.Second)
	assert.InDelta(t, 12_500, half, 4*math.Sqrt(12_500), "a quarter in the first half")
}

func TestNonsenseIsRefusedWithItsRange(t *testing.T) {
	for want, c := range map[string]Config{
		"no stage":                                               {},
		"stage 1: rate 0: must be above 0":                       {Stages: constant(0, time.Second)},
		"stage 1: rate -1: must be 0 to 10000000":                {Stages: constant(-1, time.Second)},
		"stage 1: rate NaN: must be":                             {Stages: constant(math.NaN(), time.Second)},
		"stage 2: lasts 0s: must be above 0":                     {Stages: []Stage{{1, 1, 1}, {0, 1, 1}}},
		"lasts 2000h0m0s: must be above 0 and at most 1000h0m0s": {Stages: constant(1, 2000*time.Hour)},
		"requests -1: must be 0":                                 {Stages: constant(1, 1), N: -1},
	} {
		assert.ErrorContains(t, c.Validate(), want)
	}
}

func TestNextAllocsNothing(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		s := New(Config{Stages: constant(1e6, time.Hour), Poisson: poisson})
		assert.Zero(t, testing.AllocsPerRun(1000, func() { s.Next() }))
	}
}

func TestTheRateIsThatOfTheStage(t *testing.T) {
	c := Config{Stages: []Stage{{10 * time.Second, 0, 100}, {time.Second, 500, 500}, {4 * time.Second, 500, 100}}}
	for at, want := range map[time.Duration]float64{0: 0, 5 * time.Second: 50, 10 * time.Second: 500, 11 * time.Second: 500,
		13 * time.Second: 300, 15*time.Second - 1: 100, 15 * time.Second: 0, time.Hour: 0} {
		assert.InDelta(t, want, c.Rate(at), 1e-6, "%v", at)
	}
}
