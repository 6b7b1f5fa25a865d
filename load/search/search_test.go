package search

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var wide = Config{From: 100, To: 1e6, Within: 0.02}

// upTo is a backend that holds its conditions up to a rate.
func upTo(most float64) Probe {
	return func(rate float64) (Verdict, error) {
		if rate <= most {
			return Met, nil
		}
		return Missed, nil
	}
}

// probed is a probe that keeps what it was asked.
func probed(p Probe, rates *[]float64) Probe {
	return func(rate float64) (Verdict, error) {
		*rates = append(*rates, rate)
		return p(rate)
	}
}

func TestTheHighestRateIsFoundWithinThePrecision(t *testing.T) {
	for _, most := range []float64{100, 101, 1999, 2000, 2001, 12_345, 400_000, 999_999} {
		for _, within := range []float64{0.1, 0.02, 0.001} {
			var rates []float64
			got, err := Max(Config{100, 1e6, within}, probed(upTo(most), &rates))
			require.NoError(t, err)
			assert.Equal(t, Found, got.Outcome, most)
			assert.LessOrEqual(t, got.Rate, most)
			assert.Greater(t, got.Above, most)
			assert.LessOrEqual(t, got.Above, got.Rate*(1+within)+1e-9)
			assert.Len(t, rates, got.Probes)
			assert.Less(t, got.Probes, 60)
		}
	}
}

func TestProbesDoubleThenBisectThenConfirm(t *testing.T) {
	var rates []float64
	got, err := Max(Config{100, 1e6, 0.1}, probed(upTo(700), &rates))
	require.NoError(t, err)
	assert.Equal(t, []float64{100, 200, 400, 800, 800, 800, 600, 700, 750, 750, 750, 700, 750}, rates)
	assert.Equal(t, Result{Found, 700, 750, 13}, got)
}

func TestTheEndsOfTheRangeAreOutcomes(t *testing.T) {
	var rates []float64
	got, err := Max(Config{100, 700, 0.1}, probed(upTo(1e9), &rates))
	require.NoError(t, err)
	assert.Equal(t, Result{RangeEnd, 700, 0, 5}, got)
	assert.Equal(t, []float64{100, 200, 400, 700, 700}, rates, "the last one is confirmed")

	got, err = Max(wide, upTo(99))
	require.NoError(t, err)
	assert.Equal(t, Result{LowestMisses, 0, 100, 3}, got)
}

// A generator that cannot make more than a rate says nothing of the backend.
func TestAGeneratorAtItsLimitGivesNoFigure(t *testing.T) {
	limited := func(generator, backend float64) Probe {
		return func(rate float64) (Verdict, error) {
			switch {
			case rate > generator:
				return Limited, nil
			case rate > backend:
				return Missed, nil
			}
			return Met, nil
		}
	}
	got, err := Max(wide, limited(5000, 1e9))
	require.NoError(t, err)
	assert.Equal(t, Generator, got.Outcome)
	assert.Zero(t, got.Rate)
	got, err = Max(wide, limited(50, 1e9))
	require.NoError(t, err)
	assert.Equal(t, Generator, got.Outcome, "already at the lowest rate")
	got, err = Max(wide, limited(3000, 2000))
	require.NoError(t, err)
	assert.Equal(t, Found, got.Outcome, "3200 was too much for the generator, but the edge is the backend's")
	assert.InDelta(t, 2000, got.Rate, 40)
}

// It is no use to look for the edge of a generator: three rates of six probes, those below that
// are met, and what asks both ends again.
func TestASearchOfTheGeneratorsLimitEndsSoon(t *testing.T) {
	got, err := Max(wide, func(rate float64) (Verdict, error) {
		if rate > 1050 {
			return Limited, nil
		}
		return Met, nil
	})
	require.NoError(t, err)
	assert.Equal(t, Result{Outcome: Generator, Above: 1100, Probes: 4 + 18 + 1 + 1 + 3}, got)
}

// A generator that now and then has too little time delays the answer.
func TestAProbeThatSaysNothingIsRepeated(t *testing.T) {
	for _, c := range []struct {
		at200 []Verdict // what the probes of that rate say, which is above the backend's most
		want  Outcome
	}{
		{[]Verdict{Limited, Missed, Limited, Missed, Limited, Limited, Missed, Missed}, Found},
		{[]Verdict{Missed, Met, Limited, Limited, Missed, Missed, Limited, Missed, Missed, Missed}, Found},
		{[]Verdict{Limited, Limited, Limited, Limited, Limited, Limited, Limited, Limited, Limited, Limited, Limited, Limited}, Generator},
		{[]Verdict{Missed, Limited, Met, Limited, Limited, Limited, Limited, Limited, Missed}, Found}, // the last one is asked again
	} {
		left := c.at200
		got, err := Max(Config{100, 1e6, 0.5}, func(rate float64) (Verdict, error) {
			if rate == 200 {
				v := left[0]
				left = left[1:]
				return v, nil
			}
			return upTo(199)(rate)
		})
		require.NoError(t, err)
		assert.Equal(t, c.want, got.Outcome, "%v", c.at200)
		assert.Empty(t, left)
	}
}

// What others did to the machine may be over by the end: then the edge was none.
func TestAnEdgeThatIsNoneAnyMoreIsLeft(t *testing.T) {
	for _, why := range []Verdict{Missed, Limited} {
		var rates []float64
		got, err := Max(Config{100, 1e6, 0.1}, probed(func(rate float64) (Verdict, error) {
			if rate == 400 && len(rates) < 10 { // while it is looked at first
				return why, nil
			}
			return upTo(700)(rate)
		}, &rates))
		require.NoError(t, err)
		assert.Equal(t, Found, got.Outcome)
		assert.InDelta(t, 700, got.Rate, 70, "%v", rates)
	}
}

func TestTheRangesEndIsReachedThoughItWasMissedAtFirst(t *testing.T) {
	ends := 0
	got, err := Max(Config{100, 200, 0.1}, func(rate float64) (Verdict, error) {
		if rate == 200 {
			if ends++; ends <= 3 {
				return Missed, nil
			}
		}
		return Met, nil
	})
	require.NoError(t, err)
	assert.Equal(t, RangeEnd, got.Outcome)
	assert.InDelta(t, 200, got.Rate, 0)
}

// What was met twice was so, however often it is missed.
func TestWhatIsMetTwiceStays(t *testing.T) {
	asked := 0
	got, err := Max(Config{100, 200, 0.1}, func(rate float64) (Verdict, error) {
		if rate < 200 {
			return Met, nil
		}
		asked++
		return []Verdict{Missed, Met, Missed, Met, Missed}[asked-1], nil
	})
	require.NoError(t, err)
	assert.Equal(t, Result{Outcome: RangeEnd, Rate: 200, Probes: 5}, got)
}

func TestARateThatSaysNothingBelowOneThatIsMissedTakesLittleAway(t *testing.T) {
	for from, want := range map[float64]Result{
		740: {Outcome: Found, Rate: 700, Above: 800}, // 750 says nothing, 800 is missed: 14 %
		640: {Outcome: Generator, Rate: 0, Above: 650},
	} {
		got, err := Max(Config{100, 1e6, 0.1}, func(rate float64) (Verdict, error) {
			switch {
			case rate >= 800:
				return Missed, nil
			case rate > from:
				return Limited, nil
			}
			return Met, nil
		})
		require.NoError(t, err)
		want.Probes = got.Probes
		assert.Equal(t, want, got, from)
	}
}

// A cliff: beyond its edge the backend is broken, and so it stays for a probe.
func TestACliffIsFoundThoughTheProbeAfterItFails(t *testing.T) {
	broken := false
	got, err := Max(wide, func(rate float64) (Verdict, error) {
		if broken {
			broken = false
			return Missed, nil
		}
		if rate > 3000 {
			broken = true
			return Missed, nil
		}
		return Met, nil
	})
	require.NoError(t, err)
	assert.Equal(t, Found, got.Outcome)
	assert.InDelta(t, 3000, got.Rate, 60)
}

// Near the edge chance decides, and everywhere one probe in twenty fails for no reason.
func TestNoiseMovesTheAnswerLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const times = 1000
	within, above, probes := 0, 0, 0
	for range times {
		got, err := Max(wide, func(rate float64) (Verdict, error) {
			if rng.Float64() < 0.05 || rate > 2000*(1+0.01*rng.NormFloat64()) {
				return Missed, nil
			}
			return Met, nil
		})
		require.NoError(t, err)
		probes += got.Probes
		if got.Rate > 2000*1.05 {
			above++
		}
		if got.Rate >= 2000*0.95 && got.Rate <= 2000*1.05 {
			within++
		}
	}
	assert.Zero(t, above, "a rate that is too high is not confirmed")
	assert.Greater(t, within, times*9/10)
	assert.Less(t, probes/times, 30)
}

func TestAnswersThatDoNotAgreeEndTheSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		got, err := Max(Config{100, 1e6, 0.001}, func(float64) (Verdict, error) {
			return []Verdict{Met, Missed, Limited}[rng.IntN(3)], nil
		})
		if err != nil {
			require.ErrorIs(t, err, ErrUnsteady)
		}
		assert.LessOrEqual(t, got.Probes, probesMax)
	}
	asked := make(map[float64]bool)
	_, err := Max(Config{100, 1e6, 0.001}, func(rate float64) (Verdict, error) {
		if !asked[rate] {
			asked[rate] = true
			return Met, nil
		}
		return Missed, nil // nothing is ever confirmed
	})
	require.ErrorIs(t, err, ErrUnsteady)
}

func TestAnErrorEndsTheSearch(t *testing.T) {
	why := errors.New("wrong replies")
	for n := 1; n < 12; n++ {
		calls := 0
		_, err := Max(wide, func(rate float64) (Verdict, error) {
			if calls++; calls == n {
				return "", why
			}
			return upTo(700)(rate)
		})
		require.ErrorIs(t, err, why)
		assert.Equal(t, n, calls)
	}
	for _, c := range []Config{{0, 1, 0.1}, {-1, 1, 0.1}, {5, 5, 0.1}, {1, 5, 0}, {1, 5, 0.6}} {
		_, err := Max(c, upTo(3))
		assert.ErrorContains(t, err, "must b", "%v", c)
	}
	_, err := Max(Config{5, 4, 0.1}, upTo(3))
	assert.ErrorContains(t, err, "range 5 to 4: must begin above 0")
}
