package bench

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	latencyMax  = int64(time.Minute) // higher ones count as this
	significant = 3                  // decimal digits that a latency keeps
	// warmUpPart of a slice is spent, uncounted, on each new client.
	warmUpPart = 4
	warmUpMin  = 5 * time.Millisecond
)

// cell is one combination of system, API and number of callers, and what its
// slices gave.
type cell struct {
	target  *Target
	api     API
	callers int

	rounds    []*measurement // by round; nil when it did not run
	latencies *hdrhistogram.Histogram
}

func (c *cell) String() string {
	return fmt.Sprintf("%s %s with %s", c.target.Name, c.api, count(c.callers, "caller"))
}

// Status is what the progress display shows after a slice.
type Status struct {
	Done, Total   int // slices
	Round, Rounds int // the round counts from 1
	System        string
	API           API
	Callers       int
	ReqPerSec     float64
	Elapsed       time.Duration
}

// Run measures every target. It calls progress, when it is not nil, between
// slices. When it fails, or ctx ends, the result holds what was measured until
// then and is marked partial; the error says why. A wrong, lost or doubled reply
// is an error, and so is a slice in which no request succeeded.
func Run(ctx context.Context, cfg Config, targets []Target, progress func(Status)) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cells := makeCells(cfg, targets)
	if len(cells) == 0 {
		return nil, errors.New("bench: no system has any of the apis asked for")
	}
	start := time.Now()
	status := Status{Total: len(cells) * cfg.Rounds, Rounds: cfg.Rounds}
	for round := range cfg.Rounds {
		for _, c := range order(cells, round) {
			m, err := c.measure(ctx, cfg)
			if err != nil {
				return summarize(cfg, cells, true), fmt.Errorf("bench: %s: %w", c, err)
			}
			c.add(round, m)
			status.Done++
			status.Round = round + 1
			status.System, status.API, status.Callers = c.target.Name, c.api, c.callers
			status.ReqPerSec, status.Elapsed = m.perSecond(), time.Since(start)
			if progress != nil {
				progress(status)
			}
		}
	}
	return summarize(cfg, cells, false), nil
}

// makeCells lists the cells so that those to be compared, of the same number of
// callers and the same API, are neighbours.
func makeCells(cfg Config, targets []Target) []*cell {
	var cells []*cell
	for _, callers := range cfg.Callers {
		for _, api := range cfg.APIs {
			for i := range targets {
				if !targets[i].has(api) {
					continue
				}
				cells = append(cells, &cell{
					target: &targets[i], api: api, callers: callers,
					rounds:    make([]*measurement, cfg.Rounds),
					latencies: hdrhistogram.New(1, latencyMax, significant),
				})
			}
		}
	}
	return cells
}

func (t *Target) has(api API) bool {
	for _, a := range t.APIs {
		if a == api {
			return true
		}
	}
	return false
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
func (c *cell) measure(ctx context.Context, cfg Config) (*measurement, error) {
	// What the previous cell left behind is not collected at this one's cost.
	runtime.GC()
	client, err := c.target.Dial(ctx, c.callers)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = client.Close() }()
	l := newLoad(client, c.api, c.callers, cfg.PayloadBytes, c.target.PID)
	warmUp := max(cfg.Slice/warmUpPart, warmUpMin)
	m, err := l.run(ctx, warmUp, 1)
	if err != nil {
		return nil, err
	}
	expected := float64(m.requests) * cfg.Slice.Seconds() / m.elapsed.Seconds()
	m, err = l.run(ctx, cfg.Slice, sampling(expected))
	if err != nil {
		return nil, err
	}
	if m.requests == 0 {
		return nil, errors.Join(fmt.Errorf("no request succeeded, %d failed", m.errors), m.firstErr)
	}
	return m, nil
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
	for _, ns := range m.latencies {
		_ = c.latencies.RecordValue(min(max(ns, 1), latencyMax))
	}
	m.latencies = nil
	c.rounds[round] = m
}
