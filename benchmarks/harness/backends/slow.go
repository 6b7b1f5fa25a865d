package backends

import (
	"context"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/engine"
)

// Slow says how the second scenario runs.
type Slow struct {
	Binary string
	Rate   int           // calls a second
	Pause  time.Duration // how long a state lasts
}

// slowFactor is how much slower one server is, and slowBase how long the others take.
const (
	slowFactor = 20
	slowBase   = 2 * time.Millisecond
	// restFactor is how much longer the others' 99th percentile may be than undisturbed.
	restFactor = 3
)

// Run has three servers asked, of which one is replaced by one that is 20 times slower.
func (c Slow) Run(ctx context.Context) (*Result, error) {
	f := &fleet{binary: c.Binary}
	defer f.end()
	for n := range 4 {
		latency := slowBase
		if n == 3 {
			latency *= slowFactor
		}
		if _, err := f.add(ctx, "--latency", latency.String()); err != nil {
			return nil, err
		}
	}
	b, err := readyBroker(ctx, engine.Config{Addrs: f.addrs()[:3], Balance: balance.LeastConn})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	r := newTraffic(ctx)
	defer r.end()
	r.drive(c.Rate, brokerCalls(b, f, r.record))
	sleep(ctx, c.Pause)
	changed := r.mark("D, 20 times slower, takes C's place")
	if err = b.AddServer(f.all[3].addr, 1); err == nil {
		err = b.RemoveServer(f.all[2].addr)
	}
	sleep(ctx, c.Pause)
	ended := time.Since(r.began)
	r.end()
	if err != nil || ctx.Err() != nil {
		return nil, fmt.Errorf("change the servers: %w (%w)", err, ctx.Err())
	}
	const settle = time.Second // warm-up, and what was under way
	res := &Result{Name: "slow"}
	failed := r.total("", 0, time.Hour)
	res.hold(failed == 0, "%d calls failed", failed)
	got := r.answered(changed+settle, ended)
	fair := float64(got[0]+got[1]+got[3]) / 3
	res.hold(float64(got[3]) < fair/2,
		"the slow server has %.1f %% of its fair share, and has to have less than half", 100*float64(got[3])/fair)
	fast := func(s int) bool { return s < 3 }
	before, after := r.perSecond(settle, changed, fast), r.perSecond(changed+settle, ended, fast)
	res.hold(after <= restFactor*before,
		"p99 of the others is %s beside one that is slow, %s undisturbed (medians of each second's): %.2f times, at most 3 is wanted",
		timeText(after), timeText(before), after/before)
	res.stalled(r.worst)
	panels := r.panels([]string{"A", "B", "C", "D, slow"}, []string{safeFailed, writtenFailed})
	if latency, ok := panels[len(panels)-1].(*chart.Timeline); ok {
		latency.Series = append(latency.Series, chart.Series{Name: "p99 of A, B, C", Class: 1, Values: values(int(ended/Step), func(i int) float64 {
			return r.quantile(0.99, time.Duration(i)*Step, time.Duration(i+1)*Step, fast)
		})})
	}
	res.Figure = chart.Figure{
		Title: "One server is 20 times slower: least connections", Stacked: true,
		Subtitle: fmt.Sprintf("%d calls a second, three servers that take %v each, then one of them %v; over 100 ms each", c.Rate, slowBase, slowFactor*slowBase),
		Label:    "Replies by server and response times over time when a server is slow",
		Panels:   panels,
	}
	return res, nil
}

// perSecond returns the median of the 99th percentiles of whole seconds, of calls to servers for
// which of holds: a second in which the machine stood still does not count for more than another.
func (r *record) perSecond(from, to time.Duration, of func(server int) bool) float64 {
	var all []float64
	for at := from; at+time.Second <= to; at += time.Second {
		all = append(all, r.quantile(0.99, at, at+time.Second, of))
	}
	return quantile(all, 0.5)
}
