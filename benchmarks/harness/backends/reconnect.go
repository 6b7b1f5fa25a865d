package backends

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/engine"
)

// Reconnect says how the scenario of many clients runs.
type Reconnect struct {
	Binary  string
	Clients int
	Away    time.Duration // how long the server is away
}

// bucketMost is the largest part of all clients that may come back within a step.
const bucketMost = 0.2

// arrivals are when connections were made and lost.
type arrivals struct {
	mu       sync.Mutex
	began    time.Time
	up, lost []time.Duration
}

// reconnectAttempts is how often it is tried: clients that all run late come back at once.
const reconnectAttempts = 3

// Run has a server killed to which many clients are connected, and started again. It does so again
// if the machine had other things to do and it does not hold.
func (c Reconnect) Run(ctx context.Context) (res *Result, err error) {
	for range reconnectAttempts {
		busy := watchStalls(ctx)
		res, err = c.once(ctx)
		worst := busy.stop()
		if err != nil {
			return nil, err
		}
		res.stalled(worst)
		if len(res.Faults) == 0 || worst <= Step {
			break
		}
	}
	return res, nil
}

func (c Reconnect) once(ctx context.Context) (*Result, error) {
	f := &fleet{binary: c.Binary}
	defer f.end()
	server, err := f.add(ctx)
	if err != nil {
		return nil, err
	}
	a := &arrivals{began: time.Now()}
	clients, err := c.connect(ctx, server.addr, a)
	defer func() {
		var wg sync.WaitGroup
		for _, b := range clients {
			wg.Go(func() { _ = b.Close() })
		}
		wg.Wait()
	}()
	if err != nil {
		return nil, err
	}
	killed := a.since()
	if err := server.kill(); err != nil {
		return nil, err
	}
	sleep(ctx, c.Away)
	started := a.since()
	if err := server.run(ctx); err != nil {
		return nil, err
	}
	for a.count(killed) < c.Clients && a.since() < started+time.Minute && ctx.Err() == nil {
		sleep(ctx, 10*time.Millisecond)
	}
	return c.result(a, killed, started), ctx.Err()
}

// connect makes the clients, and waits for their connections.
func (c Reconnect) connect(ctx context.Context, addr string, a *arrivals) (clients []*engine.Broker, err error) {
	for range c.Clients {
		b, err := engine.New(engine.Config{
			Addrs: []string{addr}, BusyPoll: -1,
			OnConnect:    func(string, error) { a.note(&a.up) },
			OnDisconnect: func(string, error) { a.note(&a.lost) },
		})
		if err != nil {
			return clients, err
		}
		clients = append(clients, b)
	}
	for _, b := range clients {
		if err := b.WaitReady(ctx); err != nil {
			return clients, err
		}
	}
	for a.count(0) < c.Clients && ctx.Err() == nil {
		sleep(ctx, time.Millisecond)
	}
	return clients, ctx.Err()
}

func (a *arrivals) since() time.Duration { return time.Since(a.began) }

func (a *arrivals) note(list *[]time.Duration) {
	at := a.since()
	a.mu.Lock()
	defer a.mu.Unlock()
	*list = append(*list, at)
}

// count returns how many have connected after a time.
func (a *arrivals) count(after time.Duration) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.up {
		if at > after {
			n++
		}
	}
	return n
}

// after returns how many of a list there are in each step after a time.
func (a *arrivals) after(list []time.Duration, from time.Duration) []float64 {
	var steps []float64
	for _, at := range list {
		if at <= from {
			continue
		}
		step := int((at - from) / Step)
		for len(steps) <= step {
			steps = append(steps, 0)
		}
		steps[step]++
	}
	return steps
}

func (c Reconnect) result(a *arrivals, killed, started time.Duration) *Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	lost, up := a.after(a.lost, killed), a.after(a.up, killed)
	// Buckets begin when the server is back, too: the first one is not to be cut in two.
	worst := max(slices.Max(append(up, 0)), slices.Max(append(a.after(a.up, started), 0)))
	res := &Result{Name: "reconnect"}
	res.hold(int(sum(up)) >= c.Clients, "%d clients, %.0f connections lost, %.0f made again, the last one %.1f s after the server was started",
		c.Clients, sum(lost), sum(up), float64(len(up))*Step.Seconds()-(started-killed).Seconds())
	res.hold(worst <= bucketMost*float64(c.Clients), "%.1f %% of them came back within the fullest 100 ms, at most %.0f %% may",
		100*worst/float64(c.Clients), 100*bucketMost)
	steps := max(len(up), len(lost)) + 5
	values := func(counts []float64) []float64 { return append(counts, make([]float64, steps-len(counts))...) }
	res.Figure = chart.Figure{
		Title: "1,000 clients come back after a kill", Stacked: true,
		Subtitle: fmt.Sprintf("%d brokers with one connection each, the server is away for %v; over 100 ms each", c.Clients, c.Away),
		Label:    "Connections lost and made over time after a server was killed",
		Panels: []chart.Panel{&chart.Timeline{
			Title: "clients in 100 ms", Step: Step.Seconds(), Format: countText,
			Marks:  []chart.Mark{{At: 0, Text: "kill -9"}, {At: (started - killed).Seconds(), Text: "start"}},
			Series: []chart.Series{{Name: "lost", Class: 8, Values: values(lost)}, {Name: "back", Class: 1, Values: values(up)}},
		}},
	}
	return res
}
