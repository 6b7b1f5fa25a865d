package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	latencyMax  = int64(time.Minute) // higher ones count as this
	significant = 3                  // decimal digits that a latency keeps
	// warmUpPart of a slice is spent, uncounted, on each new client; of an idle one a
	// whole slice, since what connecting began goes on for a quarter of a second.
	warmUpPart = 4
	warmUpMin  = 5 * time.Millisecond
)

// cell is a case, and what its slices gave.
type cell struct {
	Case

	rounds    []*measurement // by round; nil when it did not run
	latencies *hdrhistogram.Histogram
	lags      *hdrhistogram.Histogram // of the pacer
	failure   error                   // why it runs no more; nil while it does
}

// Status is what the progress display shows after a slice.
type Status struct {
	Done, Total   int // slices
	Round, Rounds int // the round counts from 1
	System        string
	API           API
	Callers       int
	Condition     string
	ReqPerSec     float64
	Elapsed       time.Duration
}

// Run measures every target as RunPlan does.
func Run(ctx context.Context, cfg Config, targets []Target, progress func(Status)) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return RunPlan(ctx, cfg.Plan(targets), progress)
}

// RunPlan measures every case. It calls progress, when it is not nil, between
// slices. When it fails, or ctx ends, the result holds what was measured until
// then and is marked partial; the error says why. A wrong, lost or doubled reply
// is an error, and so is a slice in which no request succeeded. With KeepGoing
// such an error ends only its case, and the run's error joins all of them.
func RunPlan(ctx context.Context, plan Plan, progress func(Status)) (*Result, error) {
	if err := plan.Validate(); err != nil {
		return nil, err
	}
	cells := makeCells(plan)
	start := time.Now()
	status := Status{Total: len(cells) * plan.Rounds, Rounds: plan.Rounds}
	var failures error
	for round := range plan.Rounds {
		for _, c := range order(cells, round) {
			status.Done++
			if c.failure != nil {
				continue
			}
			m, err := c.measure(ctx, cmp.Or(c.Slice, plan.Slice))
			if err != nil {
				failures = errors.Join(failures, fmt.Errorf("bench: %s: %w", c, err))
				if ctx.Err() != nil || !plan.KeepGoing {
					return summarize(cells, true), failures
				}
				c.failure = err
				continue
			}
			c.add(round, m)
			status.Round = round + 1
			status.System, status.API, status.Callers = c.Target.Name, c.API, c.Callers
			status.Condition = c.Condition
			status.ReqPerSec, status.Elapsed = m.perSecond(), time.Since(start)
			if progress != nil {
				progress(status)
			}
		}
	}
	return summarize(cells, failures != nil), failures
}

func makeCells(plan Plan) []*cell {
	cells := make([]*cell, len(plan.Cases))
	for i, c := range plan.Cases {
		cells[i] = &cell{Case: c, rounds: make([]*measurement, plan.Rounds),
			latencies: newHistogram(), lags: newHistogram()}
	}
	return cells
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax, significant)
}

// record adds durations in nanoseconds.
func record(h *hdrhistogram.Histogram, values []int64) {
	for _, ns := range values {
		_ = h.RecordValue(min(max(ns, 1), latencyMax))
	}
}

// order is the sequence of cells in a round. It starts elsewhere each time, and
// every other round runs backwards, so that no cell always follows the same one
// or always comes first in its pair.
func order(cells []*cell, round int) []*cell {
	n := len(cells)
	begin := round * stride(n) % n
	sequence := make([]*cell, n)
	for i := range sequence {
		at := (begin + i) % n
		if round%2 == 1 {
			at = (begin - i + n) % n
		}
		sequence[i] = cells[at]
	}
	return sequence
}

// stride is the first number from the golden section of n upwards that has no
// divisor in common with n: n steps of it visit every start once, and few steps
// already lie far apart.
func stride(n int) int {
	for s := n * 5 / 8; s < n; s++ {
		if gcd(s, n) == 1 {
			return s
		}
	}
	return 1
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// measure runs one slice with a client of its own.
func (c *cell) measure(ctx context.Context, slice time.Duration) (*measurement, error) {
	// What the previous cell left behind is not collected at this one's cost.
	runtime.GC()
	if c.Target.Measure != nil {
		return c.measureNative(ctx, slice)
	}
	client, err := c.Target.Dial(ctx, c.Callers)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = client.Close() }()
	l := c.load(client)
	warmUp := max(slice/warmUpPart, warmUpMin)
	if c.API == Idle {
		warmUp = slice
	}
	m, err := l.run(ctx, warmUp, 1)
	if err != nil {
		return nil, err
	}
	expected := float64(m.requests) * slice.Seconds() / m.elapsed.Seconds()
	m, err = l.run(ctx, slice, sampling(expected))
	if err != nil {
		return nil, err
	}
	if m.requests == 0 && c.API != Idle {
		return nil, errors.Join(fmt.Errorf("no request succeeded, %d failed", m.errors), m.firstErr)
	}
	return m, nil
}

// load is the case's on a client of it.
func (c *Case) load(client Client) *load {
	pids := append([]int{c.Target.PID}, c.Target.MorePIDs...)
	l := newLoad(client, c.API, c.Callers, c.PayloadBytes, pids...)
	l.rate, l.reply = c.Rate, c.Target.Reply
	if c.CPU {
		l.rate, l.ticks = 0, c.Rate
	}
	return l
}

// measureNative lets the target measure itself.
func (c *cell) measureNative(ctx context.Context, slice time.Duration) (*measurement, error) {
	stolen, start := watchStolen(), time.Now()
	sample, err := c.Target.Measure(ctx, c.Case, slice)
	if err != nil {
		return nil, err
	}
	if sample.Requests == 0 || sample.Elapsed <= 0 {
		return nil, errors.New("it answered no request")
	}
	return &measurement{requests: sample.Requests, elapsed: sample.Elapsed,
		cpu: sample.CPU, stolen: stolen(time.Since(start)), latencies: sample.Latencies}, nil
}

// sampling is how many of the expected requests share one latency measurement:
// the lowest power of two that keeps within samplesPerSlice.
func sampling(expected float64) uint32 {
	if expected <= samplesPerSlice {
		return 1
	}
	return 1 << min(bits.Len64(uint64(expected)/samplesPerSlice), 30)
}

func (c *cell) add(round int, m *measurement) {
	record(c.latencies, m.latencies)
	record(c.lags, m.lags)
	slices.Sort(m.latencies)
	m.p50, m.p99 = percentile(m.latencies, 0.50), percentile(m.latencies, 0.99)
	m.latencies, m.lags = nil, nil
	c.rounds[round] = m
}

// percentile of sorted values; 0 when there is none.
func percentile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
