package e2e

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/internal/racedetector"
	"github.com/ringwire/ringwire/server"
)

var (
	full         = flag.Bool("chaos.full", false, "run the fault-injection tests at release size")
	requestsFlag = flag.Int64("chaos.requests", 0, "requests of the reset test; 0: 200,000, or 10,000,000 with -chaos.full")
	resetsFlag   = flag.Int64("chaos.resets", 0, "resets the reset test makes at least; 0: 500, or 10,000 with -chaos.full")
	seedFlag     = flag.Uint64("chaos.seed", 0, "seed of all decisions; 0: a new one, printed")
)

// The products' own timeouts. Tests allow three times as much and a second.
const (
	productTimeout = time.Second
	testBound      = 3*productTimeout + time.Second
)

// sized picks a test's size.
func sized[T any](ci, release T) T {
	if *full {
		return release
	}
	return ci
}

// small is true when a test has time for little: under -short, and under the race detector,
// which needs ten times as long, but for a full run.
func small() bool { return testing.Short() || racedetector.On && !*full }

// seed returns the seed for a test and prints it.
func seed(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -run '^%s$' -chaos.seed %d", t.Name(), s)
	return s
}

// checkLeaks demands, when the test has ended and everything it registered later
// is closed, that no goroutine, no descriptor and no pooled buffer is left. Buffers
// are counted under the build tag invariant only.
func checkLeaks(t testing.TB) {
	t.Helper()
	// The runtime opens its poller's descriptors with the first socket, for good.
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
	current := goleak.IgnoreCurrent()
	before := descriptors(t)
	staged := bytepool.Outstanding()
	t.Cleanup(func() {
		assert.NoError(t, goleak.Find(current)) // first: a goroutine that ends may give a buffer back
		if !assert.Eventually(t, func() bool { return bytepool.Outstanding() == staged }, testBound, time.Millisecond) {
			t.Logf("pooled buffers out: %d, %d before", bytepool.Outstanding(), staged)
		}
		assert.Eventually(t, func() bool { return descriptors(t) <= before }, testBound, time.Millisecond,
			"descriptors: %d before", before)
	})
}

func descriptors(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("cannot count descriptors: %v", err)
	}
	return len(entries)
}

// A rig is a broker and servers with a proxy in front of each and a harness around.
type rig struct {
	t       testing.TB
	h       *chaos.Harness
	servers []*server.Server
	proxies []*faultnet.Proxy
	proxy   *faultnet.Proxy // the first
	broker  *engine.Broker
	extra   int64 // replies to calls that are not the harness's
}

// newRig starts everything, with a server and a proxy. It sets the addresses that wire
// the parts to each other; a server without a handler answers at once.
func newRig(t testing.TB, h *chaos.Harness, sc server.Config, pc faultnet.Config, bc engine.Config) *rig {
	t.Helper()
	return newFleet(t, h, sc, []faultnet.Config{pc}, bc)
}

// newFleet is newRig with a server behind each of several proxies.
func newFleet(
	t testing.TB, h *chaos.Harness, sc server.Config, pcs []faultnet.Config, bc engine.Config,
) *rig {
	t.Helper()
	checkLeaks(t)
	r := &rig{t: t, h: h}
	if sc.Handler == nil {
		sc.Handler = server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			return h.Answer(dst, req)
		})
	}
	sc.Addr = "127.0.0.1:0"
	for _, pc := range pcs {
		s, err := server.New(sc)
		require.NoError(t, err)
		require.NoError(t, s.Start())
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
		r.servers = append(r.servers, s)

		pc.Target = s.Addr().String()
		p, err := faultnet.New(pc)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, p.Close()) })
		r.proxies = append(r.proxies, p)
		bc.Addrs = append(bc.Addrs, p.Addr())
	}
	r.proxy = r.proxies[0]
	r.broker = newBroker(t, bc)
	return r
}

// faults is what the proxies did together.
func (r *rig) faults() (sum faultnet.Stats) {
	for _, p := range r.proxies {
		s := p.Stats()
		sum.Hangs += s.Hangs
		sum.Resets += s.Resets
	}
	return sum
}

func newHarness(t testing.TB, cfg chaos.Config) *chaos.Harness {
	t.Helper()
	cfg.Unwritten = unwritten
	h, err := chaos.New(cfg)
	require.NoError(t, err)
	return h
}

// unwritten is what an error says about the request. SafeToRetry must not
// promise more.
func unwritten(err error) bool {
	var op *engine.OpError
	return engine.SafeToRetry(err) || errors.As(err, &op) && !op.Written
}

// newBroker returns a broker with test timeouts that is closed with the test.
func newBroker(t testing.TB, cfg engine.Config) *engine.Broker {
	t.Helper()
	for _, d := range []*time.Duration{
		&cfg.RequestTimeout, &cfg.ReadTimeout, &cfg.WriteTimeout, &cfg.DialTimeout, &cfg.ShutdownTimeout,
	} {
		if *d == 0 {
			*d = productTimeout
		}
	}
	if cfg.BackoffBase == 0 {
		cfg.BackoffBase = 5 * time.Millisecond
		cfg.BackoffMax = 50 * time.Millisecond
	}
	b, err := engine.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

// finish closes both ends and demands what every run must keep: no violation,
// closed accounts, nothing in flight. It returns the report for what is the
// test's own.
func (r *rig) finish() (chaos.Report, engine.Stats) {
	t := r.t
	t.Helper()
	assert.Eventually(t, func() bool { return r.broker.Stats().InFlight == 0 }, testBound, time.Millisecond, "in flight")
	require.NoError(t, r.broker.Close())
	for i := range r.proxies {
		require.NoError(t, r.proxies[i].Close())
		require.NoError(t, r.servers[i].Close())
	}
	report, stats := r.h.Report(), r.broker.Stats()
	t.Logf("%v", report)
	for _, p := range r.proxies {
		t.Logf("proxy %+v", p.Stats())
	}
	t.Logf("broker %+v", stats)
	for _, line := range report.CauseLines() {
		t.Log(line)
	}
	require.NoError(t, report.Err())
	checkAccounts(t, report, stats, r.extra)
	return report, stats
}

// checkAccounts compares what the callers saw with what the broker counted.
func checkAccounts(t testing.TB, report chaos.Report, s engine.Stats, extra int64) {
	t.Helper()
	assert.Equal(t, report.Requests, report.OK+report.Failed+report.Timeouts+report.Cancelled, "calls")
	assert.Equal(t, s.Accepted, s.Replies+s.Failed+s.Timeouts+s.Cancelled, "Accepted")
	assert.EqualValues(t, report.OK+extra, s.Replies, "Replies")
	assert.Zero(t, s.InFlight, "InFlight")
	assert.Zero(t, s.Queued, "Queued")
	assert.Zero(t, s.Conns, "Conns")
}

// alive demands that the broker still gets a reply, faults or not.
func (r *rig) alive() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testBound)
	defer cancel()
	for ctx.Err() == nil {
		if reply, err := r.broker.Send(ctx, nil); err == nil {
			assert.Empty(r.t, reply)
			r.extra++
			return
		}
		// A pause, so that a broker without connections can get one.
		retry, stop := context.WithTimeout(ctx, 10*time.Millisecond)
		_ = r.broker.WaitReady(retry)
		stop()
	}
	r.t.Error("the broker is not usable any more")
}
