package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/search"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// findDuration is how long a probe lasts when nothing says so, and warmupShare which
	// part of it is its warm-up.
	findDuration = 5 * time.Second
	warmupShare  = 5
	// settlePause is between what tells that a backend is idle again and the next probe.
	settlePause = 100 * time.Millisecond
)

// findFlags are those of a search for the highest rate.
type findFlags struct {
	conditions string
	rates      string
	within     string
}

func (f *findFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.conditions, "find-max", "", "find the highest rate at which conditions hold, a list such as 'p99<5ms,error_rate<0.1%'; --duration is that of a probe then (default 5s)")
	flags.StringVar(&f.rates, "find-range", "100:1m", "LOW:HIGH, the rates that --find-max looks at")
	flags.StringVar(&f.within, "find-within", "2%", "how close --find-max comes")
}

// notOfFind are flags that make no sense in a search.
var notOfFind = []string{
	"rate", "stage", "step", "requests", "threshold", "hlog", "html",
	"dump-failures", "metrics-addr", "metrics-linger", "listen", "start-at", "fail-fast", "check",
}

// prepare sets the flags that a search gives other values, before they are read: so they
// win over those of a scenario.
func (f *findFlags) prepare(l *loadFlags, flags *pflag.FlagSet) (c search.Config, err error) {
	for _, name := range notOfFind {
		if flags.Changed(name) {
			return c, fmt.Errorf("--%s: does not go with --find-max", name)
		}
	}
	low, high, ok := strings.Cut(f.rates, ":")
	if !ok {
		return c, fmt.Errorf("--find-range %q: must look like 100:50k", f.rates)
	}
	if c.From, err = parseRate(low); err == nil {
		c.To, err = parseRate(high)
	}
	if err == nil {
		c.Within, err = parsePercent(f.within)
	}
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return c, fmt.Errorf("--find-range %s, --find-within %s: %w", f.rates, f.within, err)
	}
	l.profile.fallback = findDuration
	for _, text := range strings.Split(f.conditions, ",") {
		if err := flags.Set("threshold", text); err != nil {
			return c, err
		}
	}
	return c, flags.Set("rate", low)
}

// finder makes the probes of a search.
type finder struct {
	ctx     context.Context
	cfg     load.Config
	options report.Options
	out     io.Writer
	outErr  error
	probes  []findProbe
	met     bool // some rate was
	crowded bool // the backend may have more to do than it had before
}

// findProbe is what one gave.
type findProbe struct {
	Rate    float64          `json:"rate"`
	Verdict search.Verdict   `json:"verdict"`
	Early   bool             `json:"stopped_early"`
	Values  []report.Outcome `json:"conditions"`
	Summary *report.Summary  `json:"summary"`
	result  *load.Result
}

func runFind(ctx context.Context, cmd *cobra.Command, f *loadFlags, c search.Config, cfg load.Config, o report.Options) error {
	o.AllowLost = true       // what is lost is an error, and the conditions say how many may be
	if cfg.Listener != nil { // of a scenario
		_ = cfg.Listener.Close()
		return usageError("--find-max: makes many runs, and --listen is for one")
	}
	cfg.FailFast, cfg.StartAt = false, time.Time{}
	if n := cfg.Mix.Count(); n > 0 {
		return usageError("--find-max: the requests end after %d: --order unique does not go with it", n)
	}
	length := cfg.Schedule.Duration()
	if cfg.Warmup == 0 && !cmd.Flags().Changed("warmup") {
		cfg.Warmup = length / warmupShare
	}
	files, err := createLoadOutputs(f.json, "", "", "")
	if err != nil {
		return err
	}
	defer files.close()
	if f.progress {
		cfg.Observe = progressLine(cmd.ErrOrStderr())
	}
	out := cmd.OutOrStdout()
	_, err = fmt.Fprintf(out, "%s   highest rate of %s to %s/s with %s   probes of %v, the first %v of each its warm-up\n\n",
		targetList(cfg.Targets), rateText(c.From), rateText(c.To), conditionList(o.Thresholds), length, cfg.Warmup)
	if err != nil {
		return err
	}
	find := &finder{ctx: ctx, cfg: cfg, options: o, out: out}
	result, err := search.Max(c, find.probe)
	d := newFound(result, find, c, err)
	err = errors.Join(find.outErr, d.text(out))
	if files.json != nil {
		err = errors.Join(err, writeJSON(files.json, d), files.json.Close())
	}
	if d.ExitCode != exitOK {
		return &exitError{d.ExitCode, errors.Join(errors.New(d.Verdict), err)}
	}
	return err
}

// probe is a search.Probe.
func (f *finder) probe(rate float64) (search.Verdict, error) {
	if f.crowded {
		f.settle()
	}
	cfg := f.cfg
	s := *cfg.Schedule
	s.Stages = []schedule.Stage{{For: s.Duration(), From: rate, To: rate}}
	cfg.Schedule = &s
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	early := report.NewEarly(f.options.Thresholds, rate*(s.Duration()-cfg.Warmup).Seconds())
	stopped := false
	cfg.Log = func(in *load.Interval) {
		if !stopped && in.To < s.Duration() && early.Add(in) {
			stopped = true
			cancel()
		}
	}
	res, err := load.Run(ctx, cfg)
	if err != nil {
		return "", &exitError{exitUsage, err}
	}
	p := findProbe{Rate: rate, Early: stopped, Summary: report.Summarize(res, f.options), result: res}
	for _, t := range f.options.Thresholds {
		p.Values = append(p.Values, t.Outcome(res, p.Summary))
	}
	if p.Verdict, err = f.judge(&p); err != nil {
		return "", err
	}
	f.met = f.met || p.Verdict == search.Met
	f.crowded = p.Verdict != search.Met
	f.probes = append(f.probes, p)
	f.show(&p)
	return p.Verdict, nil
}

// judge says what a probe found. Its error ends the search.
func (f *finder) judge(p *findProbe) (search.Verdict, error) {
	s := p.Summary
	silent := p.result.Conns.Opened == 0 || p.result.Violations.Replied == 0
	switch {
	case s.ExitCode == report.ExitViolated:
		return "", &exitError{s.ExitCode, fmt.Errorf("at %s/s: %s", rateText(p.Rate), s.Verdict)}
	case f.ctx.Err() != nil:
		return "", &exitError{exitInterrupted, errors.New("interrupted: no rate is found")}
	case silent && !f.met: // at the lowest rate
		return "", &exitError{exitFailed, fmt.Errorf("at %s/s: %s", rateText(p.Rate), s.Verdict)}
	case s.ExitCode == report.ExitOK:
		return search.Met, nil
	// ExitThreshold says that it is the backend all the same.
	case s.GeneratorLimited && s.ExitCode != report.ExitThreshold:
		return search.Limited, nil
	}
	return search.Missed, nil
}

// settle waits until the backend has done what the last probe has left to it: a request
// on each connection is answered after that.
func (f *finder) settle() {
	cfg := f.cfg
	cfg.Schedule, cfg.Observe, cfg.Warmup, cfg.Backlog = nil, nil, 0, 0
	cfg.InFlight, cfg.Requests = 1, int64(cfg.Conns)
	_, _ = load.Run(f.ctx, cfg) // the next probe tells whether the backend is well
	timer := time.NewTimer(settlePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.ctx.Done():
	}
}

// show prints a probe's line.
func (f *finder) show(p *findProbe) {
	line := fmt.Sprintf("%10s/s  %-9s", rateText(p.Rate), p.Verdict)
	for i, t := range f.options.Thresholds {
		line += fmt.Sprintf("  %s: %s", t, p.Values[i].Shown)
	}
	if p.Early {
		line += "  stopped early"
	}
	if p.Verdict == search.Limited {
		line += "  generator: " + p.Summary.GeneratorWhy
	} else if p.Verdict == search.Missed && slices.IndexFunc(p.Values, func(o report.Outcome) bool { return !o.Met }) < 0 {
		line += "  " + p.Summary.Verdict
	}
	_, err := fmt.Fprintln(f.out, line)
	f.outErr = errors.Join(f.outErr, err)
}
