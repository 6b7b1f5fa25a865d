package bench

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Case is one thing to measure: a system under a load.
type Case struct {
	Target       *Target
	API          API
	Callers      int // requests in flight; with a Rate, the most there can be
	PayloadBytes int // of a request and of its reply
	Conns        int // connections of the client, which Target.Dial makes; for the row only
	// Rate is how many requests per second are begun, whether or not earlier ones
	// were answered; 0 begins the next when the last was answered. Only Blocking
	// has one.
	Rate float64

	// Handler is how long the server's handler waits before it answers; for the row only.
	Handler time.Duration

	// Condition is what makes the case one of everyday use; "" is none, the best case.
	Condition string
	// Beside is the condition of the baselines' cases that it is compared with.
	Beside string
	// CPU tells that processor time per second is compared. A Rate is kept by a timer
	// then, late by a millisecond: the pacer's naps would use more than the system.
	CPU   bool
	Slice time.Duration // 0: the plan's
}

func (c *Case) String() string {
	text := fmt.Sprintf("%s %s with %s", c.Target.Name, c.API, count(c.Callers, "caller"))
	if c.Handler > 0 {
		text += fmt.Sprintf(", %v handlers", c.Handler)
	}
	if c.Condition != "" {
		text += " (" + c.Condition + ")"
	}
	return text
}

// RateMax is the highest Rate: no machine hands out so many requests one by one.
const RateMax = 1e7

// validate names what makes no sense.
func (c *Case) validate() error {
	switch {
	case c.Target == nil:
		return errors.New("bench: a case without a target")
	case !c.Target.has(c.API):
		return fmt.Errorf("bench: %s: the target has only %v", c, c.Target.APIs)
	case (c.API == Native) != (c.Target.Measure != nil):
		return fmt.Errorf("bench: %s: Measure belongs to the api %s", c, Native)
	case !c.Target.takes(c.Callers):
		return fmt.Errorf("bench: %s: at most %d", c, c.Target.CallersMax)
	case c.Target.Reply != nil && c.API == Native:
		return fmt.Errorf("bench: %s: a target with a reply of its own has no api %s, which checks none", c, Native)
	case c.Rate < 0 || c.Rate > RateMax:
		return fmt.Errorf("bench: %s: rate %v: must be 0 to %v", c, c.Rate, RateMax)
	case c.Slice != 0 && (c.Slice < SliceMin || c.Slice > SliceMax):
		return fmt.Errorf("bench: %s: slice %v: must be %v to %v", c, c.Slice, SliceMin, SliceMax)
	case c.Rate > 0 && c.API != Blocking:
		return fmt.Errorf("bench: %s: a rate needs the api %s", c, Blocking)
	}
	return checkRanges(
		field{"callers", c.Callers, 1, CallersMax},
		field{"payload", c.PayloadBytes, PayloadBytesMin, PayloadBytesMax},
		field{"conns", c.Conns, 1, ConnsMax})
}

// Plan is a set of cases that are measured interleaved: in each round every one
// of them runs once. Those that are compared should be neighbours.
type Plan struct {
	Cases  []Case
	Rounds int           // 1 to RoundsMax
	Slice  time.Duration // measured time per case and round, SliceMin to SliceMax
	// KeepGoing drops a case that fails from the rounds that follow, and its row
	// says why; without it the first failure ends the run.
	KeepGoing bool
}

// Validate returns an error that names the first field that makes no sense, its
// value and its range.
func (p *Plan) Validate() error {
	if len(p.Cases) == 0 {
		return errors.New("bench: no system has any of the apis asked for")
	}
	for i := range p.Cases {
		if err := p.Cases[i].validate(); err != nil {
			return err
		}
	}
	if err := checkRanges(field{"rounds", p.Rounds, 1, RoundsMax}); err != nil {
		return err
	}
	if p.Slice < SliceMin || p.Slice > SliceMax {
		return fmt.Errorf("bench: slice %v: must be %v to %v", p.Slice, SliceMin, SliceMax)
	}
	return nil
}

// Plan lists the config's cases so that those to be compared, of the same number
// of callers and the same API, are neighbours. A target without the API, or that
// cannot have so many callers, has no case there.
func (c *Config) Plan(targets []Target) Plan {
	p := Plan{Rounds: c.Rounds, Slice: c.Slice}
	for _, callers := range c.Callers {
		for _, api := range c.APIs {
			for i := range targets {
				if targets[i].has(api) && targets[i].takes(callers) {
					p.Cases = append(p.Cases, Case{Target: &targets[i], API: api, Callers: callers,
						PayloadBytes: c.PayloadBytes, Conns: c.Conns})
				}
			}
		}
	}
	return p
}

// field is a setting with its range.
type field struct {
	name            string
	value, min, max int
}

func checkRanges(fields ...field) error {
	i := slices.IndexFunc(fields, func(f field) bool { return f.value < f.min || f.value > f.max })
	if i < 0 {
		return nil
	}
	f := fields[i]
	return fmt.Errorf("bench: %s %d: must be %d to %d", f.name, f.value, f.min, f.max)
}
