// Package capture profiles a client and its server under a load. What is recorded
// at the same time is limited to what does not disturb each other: the processor
// is sampled in a phase of its own, because recording allocations and contention
// costs time.
package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
)

const (
	// DurationMin is the shortest CPU phase; at 100 samples a second it already
	// says little.
	DurationMin = 100 * time.Millisecond
	// DurationMax leaves a recording room within its span.
	DurationMax = time.Minute
	// otherPhaseMax is how long allocations and contention are recorded at most:
	// they are counted, not sampled, and more of the same tells nothing new.
	otherPhaseMax = 2 * time.Second
	// traceSpan is short because a busy scheduler writes a megabyte in some ten
	// milliseconds.
	traceSpan = 100 * time.Millisecond
	// slicesOfCPU is how many runs the CPU phase has, so that the noise between them is
	// known.
	slicesOfCPU = 5
)

// Recorder records in one process: record.Local or record.Remote.
type Recorder interface {
	Start(ctx context.Context, kind record.Kind) error
	Stop(ctx context.Context, kind record.Kind) ([]byte, error)
}

// Config says what to profile. All fields must be set.
type Config struct {
	Suite    profile.Suite
	Target   *bench.Target
	Conns    int           // of the client; for the case only, Target.Dial makes them
	Duration time.Duration // of the CPU phase, DurationMin to DurationMax
	// Client is this process, in which the load runs; Server is the target's.
	Client, Server Recorder
}

// Captured is what one suite gave.
type Captured struct {
	Phases []profile.Phase
	// Recordings by process and kind.
	Recordings map[string]map[record.Kind][]byte
}

// Phase returns the phase in which the kind was recorded.
func (c *Captured) Phase(kind record.Kind) *profile.Phase {
	for _, plan := range plans(DurationMin) {
		for _, k := range plan.kinds {
			if k == kind {
				return c.phase(plan.name)
			}
		}
	}
	return nil
}

func (c *Captured) phase(name string) *profile.Phase {
	for i := range c.Phases {
		if c.Phases[i].Name == name {
			return &c.Phases[i]
		}
	}
	return nil
}

// plan is a phase to come.
type plan struct {
	name   string
	kinds  []record.Kind
	run    time.Duration // of each slice
	slices int
	midway bool // stop recording while the load still runs
}

func plans(duration time.Duration) []plan {
	other := min(duration, otherPhaseMax)
	return []plan{
		{name: "warm-up", run: duration / slicesOfCPU, slices: 1},
		{name: "cpu", kinds: []record.Kind{record.CPU}, run: duration / slicesOfCPU, slices: slicesOfCPU},
		{name: "allocs", kinds: []record.Kind{record.Allocs}, run: other, slices: 1},
		{name: "contention", kinds: []record.Kind{record.Mutex, record.Block}, run: other, slices: 1},
		{name: "goroutines", kinds: []record.Kind{record.Goroutine}, run: other / 4, slices: 1, midway: true},
		{name: "trace", kinds: []record.Kind{record.Trace}, run: min(other, traceSpan), slices: 1},
	}
}

// Run profiles one suite. It calls progress, when it is not nil, before each
// phase. A wrong, lost or doubled reply is an error.
func Run(ctx context.Context, cfg Config, progress func(phase string)) (*Captured, error) {
	if cfg.Duration < DurationMin || cfg.Duration > DurationMax {
		return nil, fmt.Errorf("capture: duration %v: must be %v to %v", cfg.Duration, DurationMin, DurationMax)
	}
	driver, err := bench.NewDriver(ctx, bench.Case{Target: cfg.Target, API: cfg.Suite.API,
		Callers: cfg.Suite.Callers, PayloadBytes: cfg.Suite.Payload, Conns: cfg.Conns})
	if err != nil {
		return nil, err
	}
	defer func() { _ = driver.Close() }()
	c := &Captured{Recordings: map[string]map[record.Kind][]byte{
		profile.Client: {}, profile.Server: {}}}
	for _, p := range plans(cfg.Duration) {
		if progress != nil {
			progress(p.name)
		}
		phase, err := c.record(ctx, cfg, driver, p)
		if err != nil {
			return nil, fmt.Errorf("capture: %s of %s: %w", p.name, cfg.Suite.Name, err)
		}
		c.Phases = append(c.Phases, phase)
	}
	return c, nil
}

// record runs one phase. The load begins after the recorders have, and, unless
// midway, ends before they do: every request of the phase is covered.
func (c *Captured) record(ctx context.Context, cfg Config, driver *bench.Driver, p plan) (profile.Phase, error) {
	for _, kind := range p.kinds {
		if err := errors.Join(cfg.Server.Start(ctx, kind), cfg.Client.Start(ctx, kind)); err != nil {
			return profile.Phase{}, err
		}
	}
	var phase profile.Phase
	var err error
	if p.midway {
		phase, err = c.stopMidway(ctx, cfg, driver, p)
	} else {
		phase, err = drive(ctx, driver, p)
		err = errors.Join(err, c.stop(ctx, cfg, p.kinds))
	}
	return phase, err
}

// stopMidway ends the recordings when half of the load is done.
func (c *Captured) stopMidway(ctx context.Context, cfg Config, driver *bench.Driver, p plan) (profile.Phase, error) {
	type outcome struct {
		phase profile.Phase
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		phase, err := drive(ctx, driver, p)
		done <- outcome{phase, err}
	}()
	select {
	case <-time.After(p.run / 2):
	case <-ctx.Done():
	}
	err := c.stop(ctx, cfg, p.kinds)
	driven := <-done
	return driven.phase, errors.Join(driven.err, err)
}

// drive puts the phase's load on the target.
func drive(ctx context.Context, driver *bench.Driver, p plan) (profile.Phase, error) {
	phase := profile.Phase{Name: p.name}
	for range p.slices {
		d, err := driver.Run(ctx, p.run)
		if err != nil {
			return phase, err
		}
		phase.Requests += d.Requests
		phase.Errors += d.Errors
		phase.Elapsed += d.Elapsed
		phase.Slices = append(phase.Slices, profile.Slice{Requests: d.Requests, Elapsed: d.Elapsed,
			ClientCPU: d.ClientCPU, ServerCPU: d.ServerCPU})
	}
	return phase, nil
}

// stop ends the recordings of both processes and keeps them. All are ended even
// when one fails.
func (c *Captured) stop(ctx context.Context, cfg Config, kinds []record.Kind) error {
	var errs []error
	for _, kind := range kinds {
		for process, r := range map[string]Recorder{profile.Client: cfg.Client, profile.Server: cfg.Server} {
			data, err := r.Stop(ctx, kind)
			errs = append(errs, err)
			c.Recordings[process][kind] = data
		}
	}
	return errors.Join(errs...)
}
