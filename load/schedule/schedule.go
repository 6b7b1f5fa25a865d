// Package schedule says when each request of a run is due, from numbers alone: a rate that
// is constant, ramps or steps, with even or Poisson arrivals. It reads no clock.
package schedule

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	// RateMax is the highest rate: no machine hands out so many requests one by one.
	RateMax = 1e7
	// ForMax is the longest stage.
	ForMax = 1000 * time.Hour
)

// Stage is a part of a run. Its rate, in requests a second, goes from From to To along a
// line; equal, it is constant.
type Stage struct {
	For      time.Duration
	From, To float64
}

// requests is how many fall due in the stage.
func (s Stage) requests() float64 { return (s.From + s.To) / 2 * s.For.Seconds() }

// when is the time in the stage at which the number of requests due has risen to n, which
// is at most that of the stage: the root of From·t + (To−From)/2/For·t² = n.
func (s Stage) when(n float64) time.Duration {
	slope := (s.To - s.From) / s.For.Seconds()
	root := s.From + math.Sqrt(max(0, s.From*s.From+2*slope*n))
	if root == 0 {
		return 0
	}
	return min(s.For, time.Duration(2*n/root*float64(time.Second)))
}

// Config describes a schedule.
type Config struct {
	Stages []Stage
	// Poisson draws the times between requests from the exponential distribution, so that
	// arrivals are independent, as those of many users are. Even arrivals otherwise: at a
	// constant rate R request i is due at i/R.
	Poisson bool
	Seed    uint64 // of Poisson; the same seed gives the same times
	N       int64  // requests at most; 0: as many as fall due
}

// Validate returns an error that names what makes no sense, its value and the range.
func (c *Config) Validate() error {
	if len(c.Stages) == 0 {
		return errors.New("schedule: no stage")
	}
	for i, s := range c.Stages {
		for _, rate := range []float64{s.From, s.To} {
			if !(rate >= 0 && rate <= RateMax) {
				return fmt.Errorf("stage %d: rate %v: must be 0 to %.0f requests a second", i+1, rate, RateMax)
			}
		}
		if s.From == 0 && s.To == 0 {
			return fmt.Errorf("stage %d: rate 0: must be above 0 at one of its ends", i+1)
		}
		if s.For <= 0 || s.For > ForMax {
			return fmt.Errorf("stage %d: lasts %v: must be above 0 and at most %v", i+1, s.For, ForMax)
		}
	}
	if c.N < 0 {
		return fmt.Errorf("requests %d: must be 0, for as many as fall due, or more", c.N)
	}
	return nil
}

// Rate is how many requests a second fall due at a time, without Poisson's chance; none do
// behind the last stage.
func (c *Config) Rate(at time.Duration) float64 {
	for _, s := range c.Stages {
		if at < s.For {
			return s.From + (s.To-s.From)*float64(at)/float64(s.For)
		}
		at -= s.For
	}
	return 0
}

// Duration is how long all stages last.
func (c *Config) Duration() (d time.Duration) {
	for _, s := range c.Stages {
		d += s.For
	}
	return d
}

// Schedule hands out the times of a Config, one after the other. It has the form that
// package pace wants, and is not safe for concurrent use.
type Schedule struct {
	config Config
	rng    *rand.Rand // nil: even arrivals
	next   int64
	due    float64 // of the next request: how many are due before it, or a Poisson draw of that

	stage  int
	began  time.Duration // when the stage did
	before float64       // requests of the stages before it
}

// New returns the schedule of a valid Config.
func New(c Config) *Schedule {
	s := &Schedule{config: c}
	if c.Poisson {
		s.rng = rand.New(rand.NewPCG(c.Seed, c.Seed^0x9e3779b97f4a7c15))
		s.due = s.rng.ExpFloat64()
	}
	return s
}

// Next returns when the next request is due, since the start, or false when there are no
// more. A request that would be due at the very end of the last stage is none.
func (s *Schedule) Next() (at time.Duration, more bool) {
	if s.config.N > 0 && s.next == s.config.N {
		return 0, false
	}
	for ; s.stage < len(s.config.Stages); s.stage++ {
		stage := s.config.Stages[s.stage]
		n := stage.requests()
		if s.due-s.before < n {
			at = s.began + stage.when(s.due-s.before)
			s.advance()
			return at, true
		}
		s.began += stage.For
		s.before += n
	}
	return 0, false
}

func (s *Schedule) advance() {
	s.next++
	if s.rng == nil {
		s.due = float64(s.next)
	} else {
		s.due += s.rng.ExpFloat64()
	}
}

// Phases tells which stage a time belongs to, for times that do not decrease.
type Phases struct {
	stages []Stage
	stage  int
	end    time.Duration // of the stage
}

// NewPhases returns the phases of a valid Config.
func NewPhases(c Config) *Phases { return &Phases{stages: c.Stages, end: c.Stages[0].For} }

// Of returns the index of the stage that a time belongs to.
func (p *Phases) Of(at time.Duration) int {
	for at >= p.end && p.stage < len(p.stages)-1 {
		p.stage++
		p.end += p.stages[p.stage].For
	}
	return p.stage
}
