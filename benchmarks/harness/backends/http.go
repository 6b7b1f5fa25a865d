package backends

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/httppool"
)

// HTTP says how the scenario of the HTTP pool runs.
type HTTP struct {
	// Command runs a server that takes --addr and --name, and answers with its name.
	Command []string
	Rate    int           // GETs a second
	Pause   time.Duration // how long a state lasts
}

// failedBefore is how many GETs may fail before a server that died is ejected.
const failedBefore = 3

// getFailed is the class of a GET that failed.
const getFailed = "GET"

// Run has three servers asked through a pool, of which one is killed and started again.
func (c HTTP) Run(ctx context.Context) (*Result, error) {
	var all []*backend
	defer func() {
		for _, b := range all {
			b.end()
		}
	}()
	pool, err := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{HealthCheckPath: "/"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = pool.Shutdown(context.WithoutCancel(ctx)) }()
	for _, name := range []string{"A", "B", "C"} {
		b, err := start(ctx, name, append(c.Command[:len(c.Command):len(c.Command)], "--name", name)...)
		all = append(all, b)
		if err != nil {
			return nil, err
		}
		if err := pool.AddServer("http://"+b.addr, 1); err != nil {
			return nil, err
		}
	}
	client := &http.Client{Transport: pool}
	r := newTraffic(ctx)
	defer r.end()
	r.drive(c.Rate, func(_ int, due time.Time) { r.note(get(client, due)) })
	sleep(ctx, c.Pause)
	killed := r.mark("kill -9 A")
	err = all[0].kill()
	out := c.awaitHealthy(ctx, pool, 2)
	ejected := r.mark("A is out")
	sleep(ctx, c.Pause)
	back := r.mark("start A")
	if err == nil {
		err = all[0].run(ctx)
	}
	in := c.awaitHealthy(ctx, pool, 3)
	r.mark("A is in")
	sleep(ctx, c.Pause)
	r.end()
	if err != nil || ctx.Err() != nil {
		return nil, fmt.Errorf("kill and start A: %w (%w)", err, ctx.Err())
	}
	res := &Result{Name: "http"}
	res.hold(out && in, "the pool found A out %v after the kill, and in again", (ejected - killed).Round(time.Millisecond))
	before, after := r.total(getFailed, 0, ejected), r.total(getFailed, ejected+Step, time.Hour)
	res.hold(before <= failedBefore, "of %d GETs %d failed before A was out, at most %d may", r.made, before, failedBefore)
	res.hold(after == 0, "%d GETs failed after A was out", after)
	evenOut, ok := r.even(ejected, 1, 2)
	res.evenness(evenOut, ok, "after A was out")
	evenIn, ok := r.even(back, 0, 1, 2)
	res.evenness(evenIn, ok, "after A was started")
	res.fact("%d requests were repeated", pool.GetMetrics().RetriedRequests)
	res.stalled(r.worst)
	res.Figure = chart.Figure{
		Title: "HTTP pool: a server dies and comes back", Stacked: true,
		Subtitle: fmt.Sprintf("%d GETs a second through http.Client{Transport: pool}, three net/http servers, processes of their own; over 100 ms each", c.Rate),
		Label:    "Responses by server, failed GETs and response times over time while a server is killed",
		Panels:   r.panels([]string{"A", "B", "C"}, []string{getFailed}),
	}
	return res, nil
}

// awaitHealthy waits for as many servers, 30 s at most.
func (c HTTP) awaitHealthy(ctx context.Context, pool *httppool.HTTPConnectionPool, n int) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		if int(pool.GetMetrics().HealthyServers) == n {
			return true
		}
		sleep(ctx, time.Millisecond)
	}
	return false
}

// get makes one GET.
func get(client *http.Client, due time.Time) outcome {
	o := outcome{due: due, class: getFailed}
	resp, err := client.Get("http://pool/x")
	if err != nil {
		return o
	}
	defer func() { _ = resp.Body.Close() }()
	name, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	if err == nil && resp.StatusCode == http.StatusOK && len(name) == 1 {
		o.server, o.class = strings.Index("ABC", string(name)), ""
	}
	return o
}
