package prom_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/memnet"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

// ants, which the server links, has started goroutines by now.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// fill gives each number in a struct a value of its own, from *next on, and returns their names. It
// descends into structs, and leaves out what skip has.
func fill(v reflect.Value, path string, next *int64, skip map[string]bool) map[float64]string {
	names := make(map[float64]string)
	for i := range v.NumField() {
		field, name := v.Field(i), path+v.Type().Field(i).Name
		if skip[name] {
			continue
		}
		*next++
		switch {
		case field.Type() == reflect.TypeFor[time.Duration]():
			field.SetInt(*next * int64(time.Second))
		case field.Type() == reflect.TypeFor[time.Time]():
			field.Set(reflect.ValueOf(time.Unix(*next, 0)))
		case field.CanInt():
			field.SetInt(*next)
		case field.CanUint():
			field.SetUint(uint64(*next))
		case field.CanFloat():
			field.SetFloat(float64(*next))
		case field.Kind() == reflect.Array:
			for j := range field.Len() {
				*next++
				field.Index(j).SetUint(uint64(*next))
				names[float64(*next)] = name
			}
			continue
		case field.Kind() == reflect.Struct:
			for value, inner := range fill(field, name+".", next, skip) {
				names[value] = inner
			}
			continue
		default:
			continue // no number
		}
		names[float64(*next)] = name
	}
	return names
}

// gathered returns all values that a registry has now, those of summaries too.
func gathered(t *testing.T, c prometheus.Collector) map[float64]bool {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(c))
	families, err := reg.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	values := make(map[float64]bool)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[m.GetCounter().GetValue()] = true
			values[m.GetGauge().GetValue()] = true
			values[m.GetSummary().GetSampleSum()] = true
			values[float64(m.GetSummary().GetSampleCount())] = true
		}
	}
	return values
}

// shown says that all numbers of a snapshot are metrics.
func shown(t *testing.T, c prometheus.Collector, names map[float64]string) {
	t.Helper()
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	assert.Empty(t, problems)
	values := gathered(t, c)
	for value, name := range names {
		if !values[value] {
			t.Errorf("%s is in no metric", name)
		}
	}
}

// snapshot returns a function for a snapshot of which each number is different, and their names.
func snapshot[S any](t *testing.T, skip ...string) (func() S, map[float64]string) {
	t.Helper()
	left := make(map[string]bool)
	for _, s := range skip {
		left[s] = true
	}
	s := new(S)
	next := int64(1000)
	names := fill(reflect.ValueOf(s).Elem(), "", &next, left)
	require.NotEmpty(t, names)
	return func() S { return *s }, names
}

func TestEveryNumberOfAServerIsShown(t *testing.T) {
	stats, names := snapshot[server.Stats](t)
	shown(t, prom.Server(stats), names)
}

func TestEveryNumberOfABrokerIsShown(t *testing.T) {
	stats, names := snapshot[engine.Stats](t, "Accepted") // it may seem to decrease; the codes sum up to it
	shown(t, prom.Broker(stats, nil), names)
}

func TestEveryNumberOfAPoolIsShown(t *testing.T) {
	stats, names := snapshot[pool.Stats](t)
	shown(t, prom.Pool(stats), names)
	pairs, names := snapshot[paired.Stats](t, "Active") // idle and in use
	shown(t, prom.PairedPool(pairs), names)
}

func TestEveryNumberOfAnHTTPPoolIsShown(t *testing.T) {
	metrics, names := snapshot[httppool.HTTPPoolMetrics](t,
		"AverageResponseTime", "AverageWaitTime", "RequestsPerSecond", // sums, counts and rate() say them
		"TotalConnections",           // active and idle
		"MemoryUsage", "LastUpdated") // the process's, and the scrape's time
	shown(t, prom.HTTPPool(func() *httppool.HTTPPoolMetrics { m := metrics(); return &m }, nil), names)
}

func TestServersOfABrokerHaveStatesAndNumbers(t *testing.T) {
	servers := func() []engine.AddrStats {
		return []engine.AddrStats{
			{Addr: "a:1", State: engine.AddrUp, Weight: 3, Share: 10, Stats: engine.Stats{Conns: 2, Replies: 7, Timeouts: 1}},
			{Addr: "b:1", State: engine.AddrLeaving, Weight: 2, Failures: 3, Stats: engine.Stats{Dials: 4, DialErrors: 3, ConnsLost: 1}},
			{Addr: "b:1", State: engine.AddrUp, Weight: 1, Share: 100, Stats: engine.Stats{Dials: 1}}, // removed, and back
			{Addr: "c:1", State: "new"},
		}
	}
	c := prom.Broker(func() engine.Stats { return engine.Stats{} }, servers)
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	assert.Empty(t, problems)
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP ringwire_client_server_dials_total Attempts to connect to the server.
# TYPE ringwire_client_server_dials_total counter
ringwire_client_server_dials_total{server="a:1"} 0
ringwire_client_server_dials_total{server="b:1"} 5
ringwire_client_server_dials_total{server="c:1"} 0
# HELP ringwire_client_server_requests_total Requests on its connections that are over, by what became of them.
# TYPE ringwire_client_server_requests_total counter
ringwire_client_server_requests_total{code="cancelled",server="a:1"} 0
ringwire_client_server_requests_total{code="cancelled",server="b:1"} 0
ringwire_client_server_requests_total{code="cancelled",server="c:1"} 0
ringwire_client_server_requests_total{code="connection_lost",server="a:1"} 0
ringwire_client_server_requests_total{code="connection_lost",server="b:1"} 0
ringwire_client_server_requests_total{code="connection_lost",server="c:1"} 0
ringwire_client_server_requests_total{code="replied",server="a:1"} 7
ringwire_client_server_requests_total{code="replied",server="b:1"} 0
ringwire_client_server_requests_total{code="replied",server="c:1"} 0
ringwire_client_server_requests_total{code="timeout",server="a:1"} 1
ringwire_client_server_requests_total{code="timeout",server="b:1"} 0
ringwire_client_server_requests_total{code="timeout",server="c:1"} 0
# HELP ringwire_client_server_share_ratio Part of its weight that the server takes, 0 to 1: less than 1 when it is back, see SlowStart.
# TYPE ringwire_client_server_share_ratio gauge
ringwire_client_server_share_ratio{server="a:1"} 0.1
ringwire_client_server_share_ratio{server="b:1"} 1
ringwire_client_server_share_ratio{server="c:1"} 0
# HELP ringwire_client_server_state 1 for the state that the server is in, 0 for the others.
# TYPE ringwire_client_server_state gauge
ringwire_client_server_state{server="a:1",state="down"} 0
ringwire_client_server_state{server="a:1",state="ejected"} 0
ringwire_client_server_state{server="a:1",state="leaving"} 0
ringwire_client_server_state{server="a:1",state="resting"} 0
ringwire_client_server_state{server="a:1",state="silent"} 0
ringwire_client_server_state{server="a:1",state="trial"} 0
ringwire_client_server_state{server="a:1",state="up"} 1
ringwire_client_server_state{server="b:1",state="down"} 0
ringwire_client_server_state{server="b:1",state="ejected"} 0
ringwire_client_server_state{server="b:1",state="leaving"} 0
ringwire_client_server_state{server="b:1",state="resting"} 0
ringwire_client_server_state{server="b:1",state="silent"} 0
ringwire_client_server_state{server="b:1",state="trial"} 0
ringwire_client_server_state{server="b:1",state="up"} 1
ringwire_client_server_state{server="c:1",state="down"} 0
ringwire_client_server_state{server="c:1",state="ejected"} 0
ringwire_client_server_state{server="c:1",state="leaving"} 0
ringwire_client_server_state{server="c:1",state="new"} 1
ringwire_client_server_state{server="c:1",state="resting"} 0
ringwire_client_server_state{server="c:1",state="silent"} 0
ringwire_client_server_state{server="c:1",state="trial"} 0
ringwire_client_server_state{server="c:1",state="up"} 0
# HELP ringwire_client_server_weight The server's weight.
# TYPE ringwire_client_server_weight gauge
ringwire_client_server_weight{server="a:1"} 3
ringwire_client_server_weight{server="b:1"} 1
ringwire_client_server_weight{server="c:1"} 0
`), "ringwire_client_server_dials_total", "ringwire_client_server_requests_total", "ringwire_client_server_share_ratio",
		"ringwire_client_server_state", "ringwire_client_server_weight"))
}

func TestServersOfAnHTTPPoolHaveStatesAndNumbers(t *testing.T) {
	target := &httppool.ServerTarget{
		URL: &url.URL{Scheme: "http", Host: "a:1"}, Weight: 3, CurrentConnections: 4, State: health.Ejected, FailureCount: 5,
		LastHealthCheck: time.Unix(1000, 0), TotalRequests: 9, SuccessfulRequests: 6, ResponseTime: 1500 * time.Millisecond,
	}
	c := prom.HTTPPool(func() *httppool.HTTPPoolMetrics { return &httppool.HTTPPoolMetrics{} },
		func() []*httppool.ServerTarget { return []*httppool.ServerTarget{target} })
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	assert.Empty(t, problems)
	names := map[float64]string{3: "weight", 4: "connections", 5: "failures", 1000: "last check", 9: "requests", 6: "successful", 1.5: "response"}
	shown(t, c, names)
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP ringwire_httppool_server_healthy 1 if the server takes requests in turn, else 0.
# TYPE ringwire_httppool_server_healthy gauge
ringwire_httppool_server_healthy{server="http://a:1"} 0
# HELP ringwire_httppool_server_state 1 for the state that the server is in, 0 for the others.
# TYPE ringwire_httppool_server_state gauge
ringwire_httppool_server_state{server="http://a:1",state="down"} 0
ringwire_httppool_server_state{server="http://a:1",state="ejected"} 1
ringwire_httppool_server_state{server="http://a:1",state="rising"} 0
ringwire_httppool_server_state{server="http://a:1",state="trial"} 0
ringwire_httppool_server_state{server="http://a:1",state="up"} 0
`), "ringwire_httppool_server_healthy", "ringwire_httppool_server_state"))
}

func TestInflightIsNeverNegative(t *testing.T) {
	c := prom.Server(func() server.Stats { return server.Stats{Requests: 5, Replies: 6} })
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP ringwire_server_inflight Requests received that are not over.
# TYPE ringwire_server_inflight gauge
ringwire_server_inflight 0
`), "ringwire_server_inflight"))
}

func TestTwoOfAKindNeedALabelEach(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := func() prometheus.Collector { return prom.Server(func() server.Stats { return server.Stats{} }) }
	require.NoError(t, reg.Register(c()))
	require.Error(t, reg.Register(c()))
	require.NoError(t, prometheus.WrapRegistererWith(prometheus.Labels{"port": "9001"}, prometheus.NewRegistry()).Register(c()))
}

func TestAMissingSnapshotPanicsAtOnce(t *testing.T) {
	assert.PanicsWithValue(t, "prom: stats of Server is nil", func() { prom.Server(nil) })
	assert.PanicsWithValue(t, "prom: stats of Broker is nil", func() { prom.Broker(nil, nil) })
	assert.PanicsWithValue(t, "prom: stats of Pool is nil", func() { prom.Pool(nil) })
	assert.PanicsWithValue(t, "prom: stats of PairedPool is nil", func() { prom.PairedPool(nil) })
	assert.PanicsWithValue(t, "prom: metrics of HTTPPool is nil", func() { prom.HTTPPool(nil, nil) })
	durations, handler := prom.NewDurations(), server.HandlerFunc(nil)
	assert.PanicsWithValue(t, "prom: Client of Timed is nil", func() { prom.Timed(nil, durations) })
	assert.PanicsWithValue(t, "prom: durations of Timed is nil", func() { prom.Timed(none{}, nil) })
	assert.PanicsWithValue(t, "prom: Handler of TimedHandler is nil", func() { prom.TimedHandler(nil, durations) })
	assert.PanicsWithValue(t, "prom: durations of TimedHandler is nil", func() { prom.TimedHandler(handler, nil) })
}

// echoPair returns a server, whose handler is timed if handled is not nil and panics at an empty request,
// and its broker.
func echoPair(t *testing.T, handled prometheus.Observer) (*server.Server, *engine.Broker) {
	t.Helper()
	var handler server.Handler = server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		if len(req) == 0 {
			panic("empty")
		}
		return append(dst, req...), nil
	})
	if handled != nil {
		handler = prom.TimedHandler(handler, handled)
	}
	srv, err := server.New(server.Config{
		Addr: "127.0.0.1:0", Loops: 1, Logger: slog.New(slog.DiscardHandler), Handler: handler, LatencyEvery: 64,
		ErrorReply: func(_ *server.Conn, dst, _ []byte, _ error) []byte { return append(dst, "failed"...) },
	})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	b, err := engine.New(engine.Config{Addrs: []string{srv.Addr().String()}, LatencyEvery: 64})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return srv, b
}

// Real traffic: what is counted at both ends, and how long it took.
func TestAServerAndABrokerAreShownAtWork(t *testing.T) {
	handled, called := prom.NewHandlerDurations(), prom.NewDurations()
	srv, b := echoPair(t, handled)
	client := prom.Timed(b, called)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(prom.Server(srv.Stats), prom.Broker(b.Stats, b.AddrStats), called, handled)

	ctx := t.Context()
	reply, err := client.Send(ctx, []byte("one"))
	require.NoError(t, err)
	require.Equal(t, "one", string(reply))
	reply, err = client.SendInto(ctx, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "failed", string(reply))
	done := make(chan string, 1)
	require.NoError(t, client.Go(ctx, []byte("two"), func(reply []byte, err error) { done <- string(reply) }))
	require.Equal(t, "two", <-done)
	require.NoError(t, client.SendBatch(ctx, [][]byte{[]byte("x"), []byte("y")}, func(int, []byte, error) {}))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	err = client.Go(gone, []byte("x"), func([]byte, error) {})
	require.True(t, errors.Is(err, context.Canceled), "%v", err)

	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	assert.Empty(t, problems)
	families, err := reg.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() != "server" {
					key += " " + l.GetValue()
				}
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if h := m.GetHistogram(); h != nil {
				assert.Len(t, h.GetBucket(), len(prom.Buckets()))
				assert.NotNil(t, h.Schema, "a native histogram, too")
			}
		}
	}
	for name, want := range map[string]float64{
		"ringwire_server_connections": 1, "ringwire_server_requests_received_total": 5,
		"ringwire_server_requests_total replied": 5, "ringwire_server_handler_failures_total panic": 1,
		"ringwire_server_request_duration_seconds": 5, "ringwire_server_inflight": 0,
		"ringwire_client_requests_total replied": 5, "ringwire_client_server_requests_total replied": 5,
		"ringwire_client_request_duration_seconds": 5, "ringwire_client_server_state up": 1,
		"ringwire_client_connections": 1,
	} {
		assert.InDelta(t, want, got[name], 0, name)
	}
	assert.NotZero(t, got["ringwire_client_bytes_total in"])
	assert.InDelta(t, got["ringwire_client_bytes_total in"], got["ringwire_server_bytes_total out"], 0)
}

func TestSampledObservesAPartOfTheCalls(t *testing.T) {
	durations := prom.NewDurations()
	client := prom.Sampled(none{}, durations, 10)
	const calls = 20_000
	for range calls {
		_, _ = client.SendInto(t.Context(), nil, nil)
	}
	var m dto.Metric
	require.NoError(t, durations.Write(&m))
	assert.InDelta(t, calls/10, m.GetHistogram().GetSampleCount(), 300, "seven standard deviations")
	assert.PanicsWithValue(t, "prom: every of Sampled is 0; it must lie in 1 to 1048576", func() { prom.Sampled(none{}, durations, 0) })
	assert.Panics(t, func() { prom.Sampled(none{}, durations, 1<<20+1) })
	prom.Sampled(none{}, durations, 1<<20)
}

// slow is a Client and a Handler: each call takes 1.5 s.
type slow struct{ engine.Client }

func (slow) Send(context.Context, []byte, ...engine.Call) ([]byte, error) {
	time.Sleep(1500 * time.Millisecond)
	return nil, nil
}

func (slow) Handle(*server.Request, []byte) ([]byte, error) {
	return slow{}.Send(context.Background(), nil)
}

func TestDurationsAreSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called, handled := prom.NewDurations(), prom.NewHandlerDurations()
		s, err := server.New(server.Config{Handler: prom.TimedHandler(slow{}, handled), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ln := memnet.Listen()
		require.NoError(t, s.Serve(ln))
		b, err := engine.New(engine.Config{Addrs: []string{"memory:1"}, DialContext: ln.DialContext})
		require.NoError(t, err)
		_, err = prom.Timed(slow{}, called).Send(t.Context(), nil)
		require.NoError(t, err)
		_, err = b.Send(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, b.Close())
		require.NoError(t, s.Close())
		for _, h := range []prometheus.Histogram{called, handled} {
			var m dto.Metric
			require.NoError(t, h.Write(&m))
			assert.EqualValues(t, 1, m.GetHistogram().GetSampleCount())
			assert.InDelta(t, 1.5, m.GetHistogram().GetSampleSum(), 0)
		}
	})
}

// A native histogram of durations of all sizes stays small.
func TestNativeHistogramsHaveABound(t *testing.T) {
	durations := prom.NewDurations()
	for d := 1e-9; d < 1e9; d *= 1.05 {
		durations.Observe(d)
	}
	var m dto.Metric
	require.NoError(t, durations.Write(&m))
	buckets := 0
	for _, s := range m.GetHistogram().GetPositiveSpan() {
		buckets += int(s.GetLength())
	}
	assert.Greater(t, buckets, 40)
	assert.LessOrEqual(t, buckets, 160)
}

func TestBucketsRiseFromTenMicrosecondsToTenSeconds(t *testing.T) {
	b := prom.Buckets()
	assert.InDelta(t, 10e-6, b[0], 1e-12)
	assert.InDelta(t, 10, b[len(b)-1], 1e-12)
	for i := 1; i < len(b); i++ {
		step := b[i] / b[i-1]
		assert.True(t, step > 1.99 && step < 2.51, "%v", b[i])
	}
}
