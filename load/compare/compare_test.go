package compare

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/racedetector"
)

func TestTheRanksAreThoseOfTables(t *testing.T) {
	// Hollander and Wolfe, Nonparametric Statistical Methods, A.4 and A.2.
	for _, c := range []struct {
		of      func(n int, outside float64) (int, float64)
		n       int
		outside float64
		k       int
		sure    float64
	}{
		{signedRanks, 10, 0.05, 8, 0.951172}, {signedRanks, 10, 0.05 / 3, 4, 0.986328}, {signedRanks, 11, 0.05, 10, 0.958008},
		{signedRanks, 20, 0.05, 52, 0.951559}, {signedRanks, 40, 0.05 / 3, 233, 0.983494}, {signedRanks, 10, 1e-9, 0, 0.998047},
		{orderStatistics, 10, 0.05, 1, 0.978516}, {orderStatistics, 12, 0.05, 2, 0.961426}, {orderStatistics, 20, 0.05, 5, 0.958611},
		{orderStatistics, 50, 0.05, 17, 0.967161}, {orderStatistics, 10, 1e-9, 0, 0.998047},
	} {
		k, sure := c.of(c.n, c.outside)
		assert.Equal(t, c.k, k, "%d %g", c.n, c.outside)
		assert.InDelta(t, c.sure, sure, 1e-6, "%d %g", c.n, c.outside)
	}
}

func TestTheEstimateIsOfAllPairs(t *testing.T) {
	m := Measure{Name: "p99", A: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, B: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}}
	c, err := m.Compare(1)
	require.NoError(t, err)
	// Logarithms 0 to 9. Of 55 means the sixth from each end are 1.5 and 7.5 (98.05 %), of the
	// values the second 1 and 8 (97.85 %).
	assert.InDelta(t, math.Pow(2, 4.5), c.Ratio, 1e-9)
	assert.InDelta(t, math.Pow(2, 1.5), c.Low, 1e-9)
	assert.InDelta(t, math.Pow(2, 7.5), c.High, 1e-9)
	assert.InDelta(t, 24, c.B, 0)
	assert.InDelta(t, 0.9590, c.Confidence, 1e-3)
	// More than a third is worthless: the values themselves are not.
	wild := interval([]float64{0, 0.1, 0.2, 0, 0.1, 0.2, 0, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0, 9, 50, -80, 30, -60, 9, 70, -40}, 0.05)
	assert.GreaterOrEqual(t, wild.low, 0.0)
	assert.LessOrEqual(t, wild.high, 0.2)
	lopsided := interval([]float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 90, 91, 92, 93, 94, 95, 96, 97}, 0.05)
	assert.LessOrEqual(t, lopsided.low, lopsided.center)
	assert.LessOrEqual(t, lopsided.center, lopsided.high)
}

// noise is what a machine does to one run after the other: factors of what they measure.
type noise func(rng *rand.Rand) func() float64

var noises = map[string]noise{
	"quiet": func(rng *rand.Rand) func() float64 {
		return func() float64 { return 1 + 0.02*rng.NormFloat64() }
	},
	"each run by itself": func(rng *rand.Rand) func() float64 {
		return func() float64 { return math.Exp(0.15 * rng.NormFloat64()) }
	},
	// AR(1): what was slow goes on being slow.
	"drift": func(rng *rand.Rand) func() float64 {
		x := 0.0
		return func() float64 {
			x = 0.9*x + 0.1*rng.NormFloat64()
			return math.Exp(x)
		}
	},
	"drift one way": func(rng *rand.Rand) func() float64 {
		x := 0.0
		return func() float64 {
			x += 0.01
			return math.Exp(x + 0.05*rng.NormFloat64())
		}
	},
	// Others use the machine for some runs, and leave it alone for some more.
	"bursts": func(rng *rand.Rand) func() float64 {
		busy := false
		return func() float64 {
			if rng.Float64() < 0.25 {
				busy = rng.Float64() < 0.3
			}
			v := 1 + 0.05*rng.NormFloat64()
			if busy {
				v *= 1 + rng.ExpFloat64()
			}
			return v
		}
	},
	// One run in six is worthless.
	"outliers": func(rng *rand.Rand) func() float64 {
		return func() float64 {
			v := 1 + 0.05*rng.NormFloat64()
			if rng.Float64() < 1.0/6 {
				v *= 1 + 10*rng.Float64()
			}
			return v
		}
	},
}

// decided makes rounds as the command does, and returns what they say and how many it took.
func decided(t *testing.T, run func() float64, factor, limit float64) (d Decision, rounds int) {
	m := Measure{Name: "p50"}
	looks := Looks(10, 40)
	for i, upTo := range looks {
		for ; rounds < upTo; rounds++ {
			var v [2]float64
			for turn := range 2 {
				v[(rounds+turn)%2] = run()
			}
			m.A, m.B = append(m.A, v[0]), append(m.B, v[1]*factor)
		}
		c, err := m.Compare(len(looks))
		require.NoError(t, err)
		if d = m.Decide(c, limit, i == len(looks)-1); d != Open {
			break
		}
	}
	return d, rounds
}

func TestAFifthIsFoundAndNothingIsNotOnABusyMachine(t *testing.T) {
	times := 400
	if racedetector.On {
		times = 100
	}
	for name, n := range noises {
		rng := rand.New(rand.NewPCG(1, 2))
		count := func(factor float64) (counts map[Decision]int, rounds float64) {
			counts = make(map[Decision]int)
			for range times {
				d, n := decided(t, n(rng), factor, 0.05)
				counts[d]++
				rounds += float64(n) / float64(times)
			}
			return counts, rounds
		}
		same, sameRounds := count(1)
		slower, slowerRounds := count(1.2)
		t.Logf("%-20s same: %v after %.0f rounds; a fifth slower: %v after %.0f", name, same, sameRounds, slower, slowerRounds)
		assert.LessOrEqual(t, same[Over], times*2/100, name)
		assert.GreaterOrEqual(t, slower[Over], times*95/100, name)
		assert.LessOrEqual(t, slower[Within], times/100, name)
		if name == "quiet" {
			assert.Equal(t, times, same[Within], "and says so")
			assert.Less(t, sameRounds, 12.0, "soon")
		}
	}
}

// However often it is looked at, the truth is in the interval in 95 % of the cases.
func TestLookingOftenDoesNotMakeTheIntervalLie(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	times := 2000
	if racedetector.On {
		times = 500
	}
	missed := 0
	for range times {
		var m Measure
		looks := Looks(10, 40)
		for _, upTo := range looks {
			for len(m.A) < upTo {
				m.A, m.B = append(m.A, math.Exp(0.3*rng.NormFloat64())), append(m.B, 1.1*math.Exp(0.3*rng.NormFloat64()))
			}
			c, err := m.Compare(len(looks))
			require.NoError(t, err)
			if c.Low > 1.1 || c.High < 1.1 {
				missed++
				break
			}
		}
	}
	assert.LessOrEqual(t, missed, times*5/100)
	assert.GreaterOrEqual(t, missed, times*1/100, "and it is no wider than it need be")
}

func TestTheLooksDoubleAndEndWithTheMost(t *testing.T) {
	assert.Equal(t, []int{10}, Looks(10, 10))
	assert.Equal(t, []int{10, 20, 40}, Looks(10, 40))
	assert.Equal(t, []int{10, 15}, Looks(10, 15))
	assert.Equal(t, []int{10, 20, 25}, Looks(10, 25))
}

func TestALimitIsDecidedWhenItLiesOutsideTheInterval(t *testing.T) {
	less, more := Measure{}, Measure{MoreIsBetter: true}
	for _, c := range []struct {
		m     Measure
		c     Change
		last  bool
		limit float64
		want  Decision
	}{
		{less, Change{Ratio: 1.1, Low: 1.06, High: 1.2}, false, 0.05, Over},
		{less, Change{Ratio: 1.1, Low: 1.04, High: 1.2}, false, 0.05, Open},
		{less, Change{Ratio: 1.1, Low: 1.04, High: 1.2}, true, 0.05, Over},
		{less, Change{Ratio: 1.1, Low: 0.99, High: 1.2}, true, 0.05, Open},
		{less, Change{Ratio: 1.04, Low: 1.01, High: 1.2}, true, 0.05, Open},
		{less, Change{Ratio: 1.02, Low: 1.01, High: 1.04}, false, 0.05, Within},
		{less, Change{Ratio: 1, Low: 1, High: 1}, false, 0, Within},
		{less, Change{Ratio: 0.5, Low: 0.4, High: 0.6}, false, 0, Within},
		{more, Change{Ratio: 0.9, Low: 0.8, High: 0.94}, false, 0.05, Over},
		{more, Change{Ratio: 0.9, Low: 0.8, High: 0.96}, false, 0.05, Open},
		{more, Change{Ratio: 0.9, Low: 0.8, High: 0.96}, true, 0.05, Over},
		{more, Change{Ratio: 0.98, Low: 0.96, High: 0.99}, false, 0.05, Within},
		{more, Change{Ratio: 1.5, Low: 1.2, High: 2}, false, 0, Within},
	} {
		assert.Equal(t, c.want, c.m.Decide(c.c, c.limit, c.last), "%+v", c)
	}
	assert.InDelta(t, 0.2, less.AtMost(Change{High: 1.2}), 1e-9)
	assert.InDelta(t, 0.2, more.AtMost(Change{Low: 0.8}), 1e-9)
}

func TestWhatIsWorseDependsOnTheMeasure(t *testing.T) {
	less, more := Measure{}, Measure{MoreIsBetter: true}
	up, down, across := Change{Ratio: 1.1, Low: 1.05, High: 1.2}, Change{Ratio: 0.9, Low: 0.8, High: 0.95}, Change{Ratio: 1.5, Low: 0.99, High: 2}
	assert.Equal(t, Worse, less.Verdict(up))
	assert.Equal(t, Better, less.Verdict(down))
	assert.Equal(t, Better, more.Verdict(up))
	assert.Equal(t, Worse, more.Verdict(down))
	for _, m := range []Measure{less, more} {
		assert.Equal(t, Same, m.Verdict(across))
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	ten := []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	zero := []float64{0, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	for _, m := range []Measure{
		{A: ten[:9], B: ten[:9]}, {A: ten, B: ten[:9]}, {A: zero, B: ten}, {A: []float64{-1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, B: ten},
	} {
		_, err := m.Compare(1)
		assert.Error(t, err, "%v", m)
	}
	c, err := (&Measure{A: zero, B: zero}).Compare(1)
	require.NoError(t, err)
	assert.InDelta(t, 1, c.Ratio, 0)
}
