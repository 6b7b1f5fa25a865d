package backends

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/engine"
)

// Failing says how the scenario of servers that all fail runs.
type Failing struct {
	Binary string
	Rate   int           // calls a second, all of them idempotent
	Pause  time.Duration // how long a state lasts; that of failing lasts half as long again
}

// amplificationMost is how many times the calls the requests may be that servers get.
const amplificationMost = 1.2

// failingTimeout is the ReadTimeout in that scenario.
const failingTimeout = 500 * time.Millisecond

// Run has three servers asked that all stop answering, though they take everything, and answer
// again.
func (c Failing) Run(ctx context.Context) (*Result, error) {
	f := &fleet{binary: c.Binary}
	defer f.end()
	for range 3 {
		if _, err := f.add(ctx); err != nil {
			return nil, err
		}
	}
	b, err := readyBroker(ctx, engine.Config{Addrs: f.addrs(), ReadTimeout: failingTimeout, RequestTimeout: 4 * failingTimeout})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	r := newTraffic(ctx)
	defer r.end()
	var made atomic.Int64
	r.drive(c.Rate, func(n int, due time.Time) {
		made.Add(1)
		brokerCalls(b, f, r.record)(2*n, due)
	})
	s := newSampler(b, &made)
	r.wg.Go(func() { s.run(r.ctx, r.began) })
	sleep(ctx, c.Pause)
	from := r.mark("all are replaced by servers that answer nothing")
	before := s.now()
	err = c.swap(ctx, f, "--fault", "drop=100%")
	sleep(ctx, c.Pause*3/2)
	failing := s.now()
	back := r.mark("all answer again")
	if err == nil {
		err = c.swap(ctx, f)
	}
	sleep(ctx, c.Pause)
	r.end()
	if err != nil || ctx.Err() != nil {
		return nil, fmt.Errorf("replace the servers: %w (%w)", err, ctx.Err())
	}
	res := c.result(r.record, s, failing.less(before), from, back)
	res.stalled(r.worst)
	return res, nil
}

func (c Failing) result(r *record, s *sampler, failing sample, from, back time.Duration) *Result {
	res := &Result{Name: "failing"}
	amplification := failing.frames / failing.calls
	res.hold(amplification <= amplificationMost,
		"while all servers failed, %.0f calls became %.0f requests on the wire: %.2f times, at most %.1f is wanted",
		failing.calls, failing.frames, amplification, amplificationMost)
	res.hold(failing.denied > 0,
		"%.0f calls were repeated, %.0f repetitions were denied by the budget", failing.retries, failing.denied)
	res.fact("the budget is a fifth of what was answered, and saved up: while it lasted, %.2f times in the worst second", s.worst())
	after, ok := r.even(back, 0, 1, 2)
	res.evenness(after, ok, "after they answered again")
	panels := r.panels([]string{"A", "B", "C"}, []string{safeFailed})
	wire := r.timeline("calls and requests on the wire a second, repetitions made and denied", countText)
	wire.Marks = bare(r.marks)
	for i, one := range []struct {
		name string
		of   func(sample) float64
	}{
		{"calls", func(s sample) float64 { return s.calls }},
		{"requests", func(s sample) float64 { return s.frames }},
		{"repeated", func(s sample) float64 { return s.retries }},
		{"denied", func(s sample) float64 { return s.denied }},
	} {
		wire.Series = append(wire.Series, chart.Series{Name: one.name, Class: 3 + i, Values: s.rates(one.of)})
	}
	res.Figure = chart.Figure{
		Title: "All servers fail: what the retry budget denies", Stacked: true,
		Subtitle: fmt.Sprintf("%d idempotent calls a second, three servers, ReadTimeout %v; from %v to %v nothing is answered; over 100 ms each",
			c.Rate, failingTimeout, from.Round(Step), back.Round(Step)),
		Label:  "Calls, requests on the wire and denied repetitions over time while all servers fail",
		Panels: []chart.Panel{panels[0], panels[1], wire},
	}
	return res
}

// swap replaces all servers, at their addresses. Without a fault they are as before.
func (c Failing) swap(ctx context.Context, f *fleet, fault ...string) error {
	for n, b := range f.all {
		if err := b.kill(); err != nil {
			return err
		}
		b.command = []string{c.Binary, "serve", "--stdin"}
		if len(fault) == 0 {
			b.command = append(b.command, "--reply-size", fmt.Sprint(requestSize-1-n))
		}
		if err := b.run(ctx, fault...); err != nil {
			return err
		}
	}
	return nil
}

// sample is what a broker has counted.
type sample struct{ calls, frames, retries, denied float64 }

func (s sample) less(before sample) sample {
	return sample{s.calls - before.calls, s.frames - before.frames, s.retries - before.retries, s.denied - before.denied}
}

// sampler reads a broker's counts with each step.
type sampler struct {
	b    *engine.Broker
	made *atomic.Int64
	each []sample
}

func newSampler(b *engine.Broker, made *atomic.Int64) *sampler { return &sampler{b: b, made: made} }

func (s *sampler) now() sample {
	stats := s.b.Stats()
	return sample{float64(s.made.Load()), float64(stats.FramesOut), float64(stats.Retries), float64(stats.RetriesDenied)}
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context, began time.Time) {
	for ctx.Err() == nil {
		s.each = append(s.each, s.now())
		sleep(ctx, time.Until(began.Add(time.Duration(len(s.each))*Step)))
	}
}

// worst returns the largest amplification within a second.
func (s *sampler) worst() (most float64) {
	for i := windowSteps; i < len(s.each); i++ {
		if d := s.each[i].less(s.each[i-windowSteps]); d.calls > 0 {
			most = max(most, (d.calls+d.retries)/d.calls)
		}
	}
	return most
}

// rates returns what was counted in each step, a second.
func (s *sampler) rates(of func(sample) float64) []float64 {
	return values(max(len(s.each)-1, 0), func(i int) float64 { return of(s.each[i+1].less(s.each[i])) * perSecond })
}
