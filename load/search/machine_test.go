package search

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/racedetector"
)

// machine is a licence of 2,000 a second on a machine that others use, in virtual time: now
// and then it holds up generator, backend, or both. Times are in seconds.
type machine struct {
	rng *rand.Rand
	// In busy times there are so many stalls a second, of that length on average; busy times
	// and quiet ones last so long on average.
	perSecond, length float64
	busyFor, quietFor float64
	backendAlone      bool // is held up

	now, next float64 // the time, and when it becomes busy or quiet
	busy      bool
}

const (
	capacity = 2000.0
	probeFor = 5.0
	warmFor  = 1.0
	bound    = 0.05 // of p99
)

// stall is a time in which somebody stands still, since the probe's begin.
type stall struct{ from, to float64 }

// stalls are those of a probe, of generator and backend.
func (m *machine) stalls() (of [2][]stall) {
	for t, end := m.now, m.now+probeFor; t < end && m.perSecond > 0; {
		if t >= m.next {
			m.busy = !m.busy
			mean := m.quietFor
			if m.busy {
				mean = m.busyFor
			}
			m.next = t + mean*m.rng.ExpFloat64()
		}
		if !m.busy {
			t = min(m.next, end)
			continue
		}
		t += m.rng.ExpFloat64() / m.perSecond
		if t >= min(m.next, end) {
			continue
		}
		who := m.rng.IntN(3)
		if m.backendAlone {
			who = 1
		}
		st := stall{t - m.now, t - m.now + m.length*m.rng.ExpFloat64()}
		for side := range of {
			if who == side || who == 2 {
				of[side] = append(of[side], st)
			}
		}
	}
	return of
}

// awake is the first time from t on that lies in no stall.
func awake(stalls []stall, t float64) float64 {
	for _, s := range stalls {
		if t >= s.from && t < s.to {
			t = s.to
		}
	}
	return t
}

// probe is a Probe: the requests of one run, one after the other. It stops early as a run does.
func (m *machine) probe(rate float64) (Verdict, error) {
	stalls := m.stalls()
	var responses, lags []float64
	free, took, over := 0.0, probeFor, 0.0
	allowed := 0.01 * rate * (probeFor - warmFor)
	for i := range int(rate * probeFor) {
		intended := float64(i) / rate
		if intended > took {
			break
		}
		sent := awake(stalls[0], intended)
		begin := max(awake(stalls[1], sent), free)
		free = begin + 1/capacity
		received := awake(stalls[0], awake(stalls[1], begin))
		if intended < warmFor {
			continue
		}
		responses, lags = append(responses, received-intended), append(lags, sent-intended)
		if received-intended > bound {
			if over++; over > allowed {
				took = min(took, math.Ceil(received)) // at the end of the second
			}
		}
	}
	m.now += took + 0.2
	if over <= allowed {
		return Met, nil
	}
	p99 := func(v []float64) float64 { slices.Sort(v); return v[len(v)*99/100] }
	if p99(lags) > p99(responses)/10 {
		return Limited, nil
	}
	return Missed, nil
}

// searched is what many searches find, and how long they take.
type searched struct {
	Within, Above, Low, None int
	Seconds, Longest         float64
}

func searchMany(t *testing.T, times int, m machine) (s searched) {
	m.rng = rand.New(rand.NewPCG(5, 6))
	for range times {
		m.now, m.next, m.busy = 0, 0, m.rng.IntN(2) > 0
		got, err := Max(Config{100, 1e6, 0.02}, m.probe)
		require.NoError(t, err)
		s.Seconds += m.now / float64(times)
		s.Longest = max(s.Longest, m.now)
		switch {
		case got.Outcome != Found:
			s.None++
		case got.Rate > 1.05*capacity:
			s.Above++
		case got.Rate < 0.95*capacity:
			s.Low++
		default:
			s.Within++
		}
	}
	return s
}

func TestTheRateIsFoundOnABusyMachine(t *testing.T) {
	times := 30
	if racedetector.On {
		times = 2 // of one goroutine
	}
	for name, c := range map[string]struct {
		machine machine
		least   int // of thirty searches find it
	}{
		"quiet":               {machine{}, 30},
		"short stalls":        {machine{perSecond: 5, length: 0.01, busyFor: 20, quietFor: 20}, 27},
		"stalls now and then": {machine{perSecond: 0.3, length: 0.05, busyFor: 1000, quietFor: 1}, 28},
		"backend held up":     {machine{perSecond: 1, length: 0.05, busyFor: 15, quietFor: 30, backendAlone: true}, 16},
		"busy for a probe":    {machine{perSecond: 3, length: 0.05, busyFor: 5, quietFor: 10}, 20},
		"busy for long":       {machine{perSecond: 3, length: 0.03, busyFor: 30, quietFor: 30}, 12},
	} {
		s := searchMany(t, times, c.machine)
		t.Logf("%-20s %+v", name, s)
		assert.Zero(t, s.Above, name)
		if times == 30 {
			assert.GreaterOrEqual(t, s.Within, c.least, name)
			assert.Less(t, s.Seconds, 180.0, name)
		}
	}
}
