package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/spf13/pflag"
)

// loadProfile is how the rate goes over time.
type loadProfile struct {
	rate     string
	stages   []stageFlag // stages and steps, in the order in which they were given
	arrivals string
	seed     uint64
	duration time.Duration
	fallback time.Duration // how long to send when nothing says so
}

// stageFlag is one --stage or --step.
type stageFlag struct {
	length time.Duration
	rate   float64
	isStep bool // rate is added to the last one, at once
}

func (p *loadProfile) register(flags *pflag.FlagSet) {
	flags.StringVarP(&p.rate, "rate", "r", "", "requests a second, all connections together, such as 500 or 20k (default: the loop is closed)")
	flags.Var(&stageValue{p, false}, "stage", "FOR:RATE: go to this rate along a line in this time, from the last one or --rate, or 0; repeatable")
	flags.Var(&stageValue{p, true}, "step", "FOR:+RATE: raise the rate by so much, or lower it, and hold it for this time; repeatable")
	flags.StringVar(&p.arrivals, "arrivals", "even", "even or poisson: independent of each other, as those of many users are")
	flags.Uint64Var(&p.seed, "seed", 1, "of everything random, so that a run can be repeated")
	flags.DurationVarP(&p.duration, "duration", "d", 0, fmt.Sprintf("how long to send (default %v, unless --requests, --stage or --step says when to end)", p.fallback))
	flags.DurationVarP(&p.duration, "z", "z", 0, "the same as --duration")
	_ = flags.MarkHidden("z") // it exists
}

// stageValue adds a stage to a profile.
type stageValue struct {
	profile *loadProfile
	isStep  bool
}

func (v *stageValue) String() string { return "" }
func (v *stageValue) Type() string   { return "string" }

func (v *stageValue) Set(text string) error {
	length, rate, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("must look like %s", map[bool]string{false: "30s:20k", true: "10s:+5k"}[v.isStep])
	}
	s := stageFlag{isStep: v.isStep}
	var err error
	if s.length, err = time.ParseDuration(length); err != nil || s.length <= 0 {
		return fmt.Errorf("%q: must be a time above 0, such as 30s", length)
	}
	sign := 1.0
	if v.isStep {
		switch {
		case strings.HasPrefix(rate, "+"):
		case strings.HasPrefix(rate, "-"):
			sign = -1
		default:
			return fmt.Errorf("%q: must begin with + or -", rate)
		}
		rate = rate[1:]
	}
	if s.rate, err = parseNumber(rate); err != nil {
		return err
	}
	s.rate *= sign
	v.profile.stages = append(v.profile.stages, s)
	return nil
}

// parseNumber reads a number that may end in k or m.
func parseNumber(text string) (float64, error) {
	digits, scale := strings.ToLower(text), 1.0
	for suffix, by := range map[string]float64{"k": 1e3, "m": 1e6} {
		if rest, ok := strings.CutSuffix(digits, suffix); ok {
			digits, scale = rest, by
			break
		}
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(v >= 0 && v*scale <= schedule.RateMax) {
		return 0, fmt.Errorf("%q: must be a number of 0 to %.0f, such as 500 or 20k", text, schedule.RateMax)
	}
	return v * scale, nil
}

// parseRate reads a rate, which is above 0.
func parseRate(text string) (float64, error) {
	v, err := parseNumber(text)
	if err == nil && v == 0 {
		err = fmt.Errorf("%s: must be above 0 and at most %.0f a second", text, schedule.RateMax)
	}
	return v, err
}

// apply puts the schedule, or the closed loop's end, into a configuration.
func (p *loadProfile) apply(cfg *load.Config, count int64, given func(string) bool) error {
	timed := given("duration") || given("z")
	if timed && p.duration <= 0 {
		return fmt.Errorf("--duration %v: must be above 0", p.duration)
	}
	if p.arrivals != "even" && p.arrivals != "poisson" {
		return fmt.Errorf("--arrivals %q: must be even or poisson", p.arrivals)
	}
	length := p.duration
	if !timed && count == 0 && cfg.Mix.Count() == 0 {
		length = p.fallback
	}
	if p.rate == "" && len(p.stages) == 0 {
		if given("arrivals") || given("backlog") {
			return fmt.Errorf("--arrivals and --backlog belong to the open loop: give a --rate, too")
		}
		cfg.Requests, cfg.Duration = count, length
		return nil
	}
	s := &schedule.Config{Poisson: p.arrivals == "poisson", Seed: p.seed, N: count}
	cfg.Schedule = s
	rate := 0.0
	if p.rate != "" {
		var err error
		if rate, err = parseRate(p.rate); err != nil {
			return fmt.Errorf("--rate %w", err)
		}
	}
	if len(p.stages) == 0 {
		if length == 0 {
			length = schedule.ForMax
		}
		s.Stages = []schedule.Stage{{For: length, From: rate, To: rate}}
		return nil
	}
	if timed {
		return fmt.Errorf("--duration: --stage and --step say how long they last")
	}
	for _, st := range p.stages {
		from, to := rate, st.rate
		if st.isStep {
			from, to = rate+st.rate, rate+st.rate
		}
		s.Stages = append(s.Stages, schedule.Stage{For: st.length, From: from, To: to})
		rate = to
	}
	return nil
}
