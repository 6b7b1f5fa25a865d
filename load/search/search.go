// Package search finds the highest rate at which conditions hold. It measures nothing
// itself: it says which rate to probe next, and what the answers mean.
package search

import (
	"errors"
	"fmt"
	"slices"
)

// Verdict is what a probe of a rate found.
type Verdict string

const (
	Met     Verdict = "met"     // all conditions held
	Missed  Verdict = "missed"  // one did not, and it was the backend
	Limited Verdict = "limited" // one did not, or may not have, because of the generator
)

// Outcome is how a search ends.
type Outcome string

const (
	Found        Outcome = "found"             // Rate is met; Above, a little higher, is missed
	RangeEnd     Outcome = "range end"         // the highest rate of the range is met
	LowestMisses Outcome = "lowest misses"     // the lowest rate of the range is missed
	Generator    Outcome = "generator-limited" // the generator limits the rate: there is no figure
)

// Config is what is searched.
type Config struct {
	From, To float64 // the range, requests a second
	Within   float64 // how close the answer is, as a part of it
}

// Limits of a search.
const (
	WithinMin, WithinMax = 0.001, 0.5
	// probesMax ends a search that noise does not let come to an end.
	probesMax = 150
	// How many probes make a verdict of a rate.
	metNeeded, missedNeeded = 2, 3
	// How many say that there is none, and how many once limitedMany of all have said nothing.
	limitedMost, limitedFew, limitedMany = 6, 3, 20
	// limitedRates, without one that is missed, end the search.
	limitedRates = 3
)

// Validate returns an error that names what makes no sense, its value and the range.
func (c *Config) Validate() error {
	switch {
	case !(c.From > 0 && c.To > c.From):
		return fmt.Errorf("range %g to %g: must begin above 0 and end above its begin", c.From, c.To)
	case !(c.Within >= WithinMin && c.Within <= WithinMax):
		return fmt.Errorf("precision %g: must be %g to %g of the rate", c.Within, WithinMin, WithinMax)
	}
	return nil
}

// Probe makes a load of that rate and judges it. An error ends the search.
type Probe func(rate float64) (Verdict, error)

// Result is what a search found.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Rate    float64 `json:"rate"`   // the highest that is met; 0: none, or no figure
	Above   float64 `json:"above"`  // the lowest that is not; 0: none
	Probes  int     `json:"probes"` // that it took
}

// ErrUnsteady is of a backend, or a machine, whose answers do not agree.
var ErrUnsteady = errors.New("the same rate is met and missed by turns, so no rate can be confirmed: longer probes make steadier answers")

// Max searches. It doubles the rate from From until one is not met, then bisects, and then
// asks both ends again: what they said may have been chance, or a time in which others used
// the machine, and by now that may be over. If it was, it goes on from there.
//
// What disturbs a machine makes latencies longer and never shorter. So two probes that meet
// a rate are enough, of however many, and three that miss it are needed. A probe in which the
// generator was the limit says nothing, and is repeated: up to six times, up to three once
// there were twenty in all. A rate that stays without a verdict ends the way up, too, but only
// if a rate right above the answer, twice Within at most, is missed by the backend is there a
// figure. Three such rates and none that is missed end the search.
func Max(c Config, probe Probe) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	s := &search{config: c, probe: probe, mets: make(map[float64]int)}
	err := s.up(c.From)
	for sure := false; err == nil && !sure && len(s.met) > 0; {
		if err = s.narrow(); err == nil {
			sure, err = s.confirm()
		}
	}
	return s.result(), err
}

type search struct {
	config  Config
	probe   Probe
	probes  int
	limited int             // of those
	mets    map[float64]int // how often each rate was met
	// met is rising: rates that were met once at least, of which the last is not yet confirmed.
	met []float64
	// above is falling: rates that are not met, of which the last is not yet confirmed.
	above []edge
}

// edge is a rate that is not met.
type edge struct {
	rate float64
	why  Verdict
}

// verdict probes a rate until there is one, nine times at most. If the first answer is the one
// to believe, that is it.
func (s *search) verdict(rate float64, believe Verdict) (Verdict, error) {
	count := make(map[Verdict]int)
	for asked := 1; s.mets[rate] < metNeeded; asked++ {
		if s.probes == probesMax {
			return "", ErrUnsteady
		}
		s.probes++
		v, err := s.probe(rate)
		if err != nil {
			return "", err
		}
		count[v]++
		switch v {
		case Met:
			s.mets[rate]++
		case Limited:
			s.limited++
		}
		if v == believe && asked == 1 || count[Missed] == missedNeeded {
			return v, nil
		}
		if n := count[Limited]; n == limitedMost || n >= limitedFew && s.limited >= limitedMany {
			return Limited, nil
		}
	}
	return Met, nil
}

// try probes a rate and keeps what it is. One that is met at once is confirmed later, if it is
// the answer.
func (s *search) try(rate float64) (met bool, err error) {
	v, err := s.verdict(rate, Met)
	switch {
	case err != nil:
	case v == Met:
		s.met = append(s.met, rate)
	default:
		s.above = append(s.above, edge{rate, v})
	}
	return v == Met, err
}

// up doubles the rate until one is not met, or the range ends.
func (s *search) up(rate float64) error {
	for ; ; rate = min(2*rate, s.config.To) {
		met, err := s.try(rate)
		if err != nil || !met || rate == s.config.To {
			return err
		}
	}
}

// narrow bisects between the highest rate that is met and the lowest that is not.
func (s *search) narrow() error {
	for len(s.above) > 0 {
		low, high := s.met[len(s.met)-1], s.above[len(s.above)-1].rate
		if high-low <= s.config.Within*low || s.hopeless() {
			return nil
		}
		if _, err := s.try((low + high) / 2); err != nil {
			return err
		}
	}
	return nil
}

// hopeless reports whether nothing but the generator has been the limit at any rate: it is not
// the backend that is looked at.
func (s *search) hopeless() bool {
	return len(s.above) >= limitedRates && !slices.ContainsFunc(s.above, func(e edge) bool { return e.why == Missed })
}

// confirm reports whether the highest rate that is met is so again, and the lowest that is
// not. If one is not, it counts as what it is now. What was met twice stays met, so this ends.
func (s *search) confirm() (sure bool, err error) {
	low := s.met[len(s.met)-1]
	v, err := s.verdict(low, "")
	if err != nil {
		return false, err
	}
	if v != Met {
		s.met = s.met[:len(s.met)-1]
		s.above = append(s.above, edge{low, v})
		return false, nil
	}
	if len(s.above) == 0 {
		return true, nil
	}
	high := s.above[len(s.above)-1]
	if v, err = s.verdict(high.rate, Missed); err != nil {
		return false, err
	}
	s.above = s.above[:len(s.above)-1]
	if v != Met {
		s.above = append(s.above, edge{high.rate, v})
		return true, nil
	}
	s.met = append(s.met, high.rate)
	if len(s.above) == 0 && high.rate < s.config.To {
		err = s.up(min(2*high.rate, s.config.To))
	}
	return false, err
}

func (s *search) result() Result {
	r := Result{Outcome: RangeEnd, Probes: s.probes}
	if len(s.met) > 0 {
		r.Rate = s.met[len(s.met)-1]
	}
	if len(s.above) == 0 {
		return r
	}
	high := s.above[len(s.above)-1]
	r.Above = high.rate
	if high.why == Limited {
		// A rate that says nothing right below one that the backend missed takes little away.
		i := len(s.above) - 1
		for ; i > 0 && s.above[i].why == Limited; i-- {
		}
		missed := s.above[i]
		if missed.why == Limited || missed.rate > r.Rate*(1+2*s.config.Within) {
			r.Outcome, r.Rate = Generator, 0
			return r
		}
		r.Above = missed.rate
	}
	r.Outcome = Found
	if r.Rate == 0 {
		r.Outcome = LowestMisses
	}
	return r
}
