// Command metricscost measures what metrics cost: callers of a broker and a server in another
// process, without metrics, with one call in 256 timed, read once a second at both ends, with
// every call and request timed, and without metrics once more. They run interleaved, and are
// compared round by round. It exits with 1 if the default costs more than is allowed, and with 4 if
// the machine is so noisy that nothing can be said: the last one differs from the first, which is
// the same, by as much.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/engine"
)

// readEvery is how often metrics are read: fifteen times as often as Prometheus does by default.
// A reading takes some 2 ms of processor time, so what it costs depends on this.
const readEvery = time.Second

// kinds are what is compared, the first of which is what the others are compared with.
var kinds = []struct {
	name  string
	every int // LatencyEvery of both ends
	read  bool
}{
	{"without", 0, false},
	{"one in 256", 256, true},
	{"each timed", 1, true},
	{"without", 0, false}, // again: what it seems to cost is the machine's noise
}

func main() {
	program := flag.String("ringwire", "bin/ringwire", "the command, which is the server")
	rounds := flag.Int("rounds", 20, "how often each runs")
	slice := flag.Duration("slice", readEvery, "measured time of each in a round")
	callers := flag.Int("callers", 256, "requests in flight")
	most := flag.Float64("most", 3, "what one in 256 may cost, in percent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cost, noise, err := run(ctx, os.Stdout, *program, bench.Plan{Rounds: *rounds, Slice: *slice}, *callers)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "metricscost:", err)
		os.Exit(1)
	case noise > *most:
		fmt.Fprintf(os.Stderr, "metricscost: inconclusive: the same twice differs by %.1f %%; take a quiet machine or more rounds\n", noise)
		os.Exit(4)
	case cost > *most:
		fmt.Fprintf(os.Stderr, "metricscost: one in 256 costs %.1f %%; at most %g %% are allowed\n", cost, *most)
		os.Exit(1)
	}
}

// run measures and prints, and returns what one in 256 costs blocking callers in percent, and by how
// much the same twice differs, the worst of both ways to call.
func run(ctx context.Context, out io.Writer, program string, plan bench.Plan, callers int) (cost, noise float64, err error) {
	dir, err := os.MkdirTemp("", "metricscost")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	targets := make([]bench.Target, len(kinds))
	for i, k := range kinds {
		socket := filepath.Join(dir, strconv.Itoa(i))
		child, err := proc.Start(ctx, program, "serve", "--addr", "127.0.0.1:0", "--stdin",
			"--latency-every", strconv.Itoa(k.every), "--debug-addr", "unix:"+socket)
		if err != nil {
			return 0, 0, err
		}
		defer child.Stop()
		targets[i] = bench.NewRingwireVariant(k.name, child.Addr, child.PID(), func(c *engine.Config) { c.LatencyEvery = k.every })
		targets[i].Dial = readDuring(targets[i].Dial, socket, k.read)
	}
	apis := []bench.API{bench.Blocking, bench.Callback}
	for _, api := range apis {
		for i := range targets {
			plan.Cases = append(plan.Cases, bench.Case{Target: &targets[i], API: api, Callers: callers, PayloadBytes: 64, Conns: 1})
		}
	}
	result, err := bench.RunPlan(ctx, plan, nil)
	if err != nil {
		return 0, 0, err
	}
	for i := 0; i < len(result.Rows); i += len(kinds) {
		without := &result.Rows[i]
		_, _ = fmt.Fprintf(out, "%s, %d callers: %.0f req/s without\n", without.API, callers, without.ReqPerSec)
		for j, row := range result.Rows[i+1 : i+len(kinds)] {
			low, mid, high := costs(without.ReqPerSecRounds, row.ReqPerSecRounds)
			_, _ = fmt.Fprintf(out, "  %-11s costs %.1f %% (half of the rounds: %.1f to %.1f), %.3f allocations a request\n",
				row.System, mid, low, high, row.AllocsPerReq)
			switch j + 1 {
			case 1:
				if without.API == bench.Blocking { // what is promised, of callers
					cost = mid
				}
			case len(kinds) - 1:
				noise = max(noise, math.Abs(mid))
			}
		}
	}
	return cost, noise, nil
}

// costs returns the quartiles of what is lost, in percent, round by round.
func costs(without, with []float64) (low, mid, high float64) {
	var all []float64
	for i := range min(len(without), len(with)) {
		all = append(all, 100*(1-with[i]/without[i]))
	}
	slices.Sort(all)
	at := func(part float64) float64 { return all[int(part*float64(len(all)-1)+0.5)] }
	return at(0.25), at(0.5), at(0.75)
}

// reading is a client whose metrics, and whose server's, may be read while it is there.
type reading struct {
	bench.Client
	stop context.CancelFunc
	over chan struct{}
}

func (r *reading) Close() error {
	r.stop()
	<-r.over
	return r.Client.Close()
}

func (r *reading) Go(req []byte, fn func(reply []byte, err error)) error {
	return r.Client.(interface {
		Go(req []byte, fn func(reply []byte, err error)) error
	}).Go(req, fn)
}

// readDuring has the metrics of the clients that dial makes read, and the page of their server. If
// they are not to be read the clients are the same, with the same timer: a timer alone costs a
// process of many goroutines some 5 %, for which Go then looks at the clock each time that it
// changes from one to another, and every service has one.
func readDuring(dial func(context.Context, int) (bench.Client, error), socket string,
	read bool) func(context.Context, int) (bench.Client, error) {
	pages := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	return func(ctx context.Context, callers int) (bench.Client, error) {
		c, err := dial(ctx, callers)
		if err != nil {
			return nil, err
		}
		broker, ok := c.(interface{ Broker() *engine.Broker })
		if !ok {
			return nil, errors.Join(fmt.Errorf("a %T has no broker", c), c.Close())
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := &reading{c, stop, make(chan struct{})}
		go func() {
			defer close(r.over)
			next := time.NewTimer(rand.N(readEvery))
			defer next.Stop()
			for {
				select {
				case <-next.C:
					next.Reset(readEvery)
					if !read {
						continue
					}
					_, _, _ = broker.Broker().Stats(), broker.Broker().AddrStats(), broker.Broker().Latency()
					readPage(ctx, pages)
				case <-ctx.Done():
					return
				}
			}
		}()
		return r, nil
	}
}

// readPage gets the server's metrics. That it fails at the end does not matter.
func readPage(ctx context.Context, pages *http.Client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/metrics", nil)
	if err != nil {
		return
	}
	resp, err := pages.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
