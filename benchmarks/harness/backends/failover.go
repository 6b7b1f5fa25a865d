package backends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/engine"
)

// healWithin is by when the traffic has to be even after a fault has ended.
const healWithin = 10 * time.Second

// Failover says how the first scenario runs.
type Failover struct {
	Binary string        // ringwire
	Rate   int           // calls a second
	Silent time.Duration // ReadTimeout of the broker; 0 is its default
	// Pause is how long a state lasts, twice as long while a server is frozen. Whether the traffic
	// becomes even is looked at if there is time for it, 10 s.
	Pause time.Duration
}

// Run has three servers asked, of which one is killed and one frozen; both come back; a fourth
// is added, and one removed.
func (c Failover) Run(ctx context.Context) (*Result, error) {
	f := &fleet{binary: c.Binary}
	defer f.end()
	for range 3 {
		if _, err := f.add(ctx); err != nil {
			return nil, err
		}
	}
	b, err := readyBroker(ctx, engine.Config{Addrs: f.addrs(), ReadTimeout: c.Silent})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	fourth, err := f.add(ctx)
	if err != nil {
		return nil, err
	}
	r := newTraffic(ctx)
	defer r.end()
	r.drive(c.Rate, brokerCalls(b, f, r.record))
	healed, err := c.disturb(ctx, r.record, b, f, fourth)
	r.end()
	if err != nil {
		return nil, err
	}
	res := &Result{Name: "failover"}
	res.hold(r.total(wrongReply, 0, time.Hour) == 0, "%d calls, none of them with a wrong reply", r.made)
	failed := r.total(safeFailed, 0, time.Hour)
	res.hold(failed == 0, "%d calls failed that were safe to repeat", failed)
	for _, text := range r.unexpected() {
		res.fact("%s", text)
	}
	res.fact("%d calls failed that were written and not idempotent, %d repetitions, %d denied by the budget",
		r.total(writtenFailed, 0, time.Hour), b.Stats().Retries, b.Stats().RetriesDenied)
	for _, h := range healed {
		if c.Pause < healWithin {
			break
		}
		after, ok := r.even(h.at, h.servers...)
		res.evenness(after, ok, "after %q", h.what)
	}
	res.stalled(r.worst)
	res.Figure = chart.Figure{
		Title: "Servers that die, hang, come and go", Stacked: true,
		Subtitle: fmt.Sprintf("%d calls a second of one broker to three processes of ringwire serve, every second one idempotent; over 100 ms each", c.Rate),
		Label:    "Replies by server, failed calls and response times over time while servers fail",
		Panels:   r.panels([]string{"A", "B", "C", "D"}, []string{safeFailed, writtenFailed}),
	}
	return res, nil
}

// healing is when something was done after which the traffic is to become even among these servers.
type healing struct {
	what    string
	at      time.Duration
	servers []int
}

// disturb does it all, one after another.
func (c Failover) disturb(ctx context.Context, r *record, b *engine.Broker, f *fleet, fourth *backend) (healed []healing, err error) {
	first, second, third := f.all[0], f.all[1], f.all[2]
	for _, s := range []struct {
		what    string
		do      func() error
		servers []int
	}{
		{"kill -9 A", first.kill, []int{1, 2}},
		{"start A", func() error { return first.run(ctx) }, []int{0, 1, 2}},
		{"SIGSTOP B", second.freeze, nil},
		{"", func() error { return nil }, nil},
		{"SIGCONT B", second.thaw, []int{0, 1, 2}},
		{"add D", func() error { return b.AddServer(fourth.addr, 1) }, []int{0, 1, 2, 3}},
		{"remove C", func() error { return b.RemoveServer(third.addr) }, []int{0, 1, 3}},
	} {
		sleep(ctx, c.Pause)
		at := time.Since(r.began)
		if s.what != "" {
			r.mark(s.what)
		}
		if err := errors.Join(s.do(), ctx.Err()); err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
		if s.servers != nil {
			healed = append(healed, healing{s.what, at, s.servers})
		}
	}
	sleep(ctx, c.Pause)
	return healed, ctx.Err()
}
