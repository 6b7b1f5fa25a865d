package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/proc"
)

// Label is the key of the profiler label by which profiles split: package engine
// and package server set it on their goroutines, and a Driver on its callers.
const Label = "ringwire"

// CallerRole is the Label's value on the goroutines that send.
const CallerRole = "caller"

// Driver puts one case's load on its target, as often as it is told to, through
// one client. Where Run measures, a Driver only drives: for a caller that observes the
// processes meanwhile. It is not safe for concurrent use.
type Driver struct {
	c      Case
	client Client
	load   *load
}

// Driven is what one run of a Driver did.
type Driven struct {
	Requests uint64 // answered, every reply as it should be
	Errors   uint64 // requests that failed
	Elapsed  time.Duration
	// Processor time that the process used; 0 where the system does not tell.
	ClientCPU, ServerCPU time.Duration
}

// NewDriver connects the client of a case. A target that measures itself cannot
// be driven. The caller owns the Driver and must Close it.
func NewDriver(ctx context.Context, c Case) (*Driver, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Target.Dial == nil {
		return nil, fmt.Errorf("bench: %s: it measures itself and cannot be driven", &c)
	}
	client, err := c.Target.Dial(ctx, c.Callers)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: connect: %w", &c, err)
	}
	return &Driver{c: c, client: client, load: c.load(client)}, nil
}

// untimed asks for the latency of next to no request: clocks are no part of what
// is observed.
const untimed = 1 << 30

// Run sends for d, waits for what is in flight, and returns what was done. The
// goroutines that send carry the Label with the value CallerRole; they have ended
// when Run returns. A wrong, lost or doubled reply is an error, and so are a run
// without a successful request and the end of ctx; the Driver is of no further
// use then.
func (d *Driver) Run(ctx context.Context, duration time.Duration) (Driven, error) {
	client, server := processorTime(0), d.serverTime()
	var m *measurement
	var err error
	pprof.Do(ctx, pprof.Labels(Label, CallerRole), func(ctx context.Context) {
		m, err = d.load.run(ctx, duration, untimed)
	})
	if err == nil && m.requests == 0 {
		err = errors.Join(fmt.Errorf("no request succeeded, %d failed", m.errors), m.firstErr)
	}
	if err != nil {
		return Driven{}, fmt.Errorf("bench: %s: %w", &d.c, err)
	}
	driven := Driven{Requests: m.requests, Errors: m.errors, Elapsed: m.elapsed}
	if client > 0 {
		driven.ClientCPU = processorTime(0) - client
	}
	if server > 0 {
		driven.ServerCPU = d.serverTime() - server
	}
	return driven, nil
}

// Close closes the client.
func (d *Driver) Close() error { return d.client.Close() }

// serverTime is the processor time of the target's server; 0 when it has none.
func (d *Driver) serverTime() time.Duration {
	if d.c.Target.PID == 0 {
		return 0
	}
	return processorTime(d.c.Target.PID)
}

// processorTime is what a process has used, 0 being this one; 0 when that cannot
// be known.
func processorTime(pid int) time.Duration {
	used, err := proc.CPUTime(pid)
	if err != nil {
		return 0
	}
	return used
}
