package otel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/internal/buckets"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/metrics/otel"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

// ants, which the server links, has started goroutines by now.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func newProvider(t *testing.T, opts ...sdk.Option) (*sdk.MeterProvider, *sdk.ManualReader) {
	t.Helper()
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(append(opts, sdk.WithReader(reader))...)
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	return provider, reader
}

func read(t *testing.T, reader *sdk.ManualReader) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	byName := make(map[string]metricdata.Metrics)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// values returns the numbers of a metric by their attributes' values.
func values(t *testing.T, m metricdata.Metrics) map[string]float64 {
	t.Helper()
	var points []metricdata.DataPoint[float64]
	switch data := m.Data.(type) {
	case metricdata.Sum[float64]:
		assert.True(t, data.IsMonotonic)
		assert.Equal(t, metricdata.CumulativeTemporality, data.Temporality)
		points = data.DataPoints
	case metricdata.Gauge[float64]:
		points = data.DataPoints
	default:
		t.Fatalf("%s is a %T", m.Name, m.Data)
	}
	all := make(map[string]float64)
	for _, p := range points {
		key := ""
		for _, a := range p.Attributes.ToSlice() { // in the order of their keys
			key += a.Value.AsString() + " "
		}
		all[key] = p.Value
	}
	return all
}

// removedAndBack is a server that is there twice.
func removedAndBack() []engine.AddrStats {
	return []engine.AddrStats{
		{Addr: "a:1", State: engine.AddrLeaving, Weight: 1, Stats: engine.Stats{Conns: 2}},
		{Addr: "a:1", State: engine.AddrDown, Weight: 3, Share: 40, Stats: engine.Stats{Conns: 1}},
	}
}

func TestWhatIsCountedIsObserved(t *testing.T) {
	provider, reader := newProvider(t)
	meter := provider.Meter("test")
	register := func(registered interface{ Unregister() error }, err error) {
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, registered.Unregister()) })
	}
	register(otel.Server(meter, func() server.Stats { return server.Stats{Conns: 3, Replies: 5, BytesIn: 7, HeldBytes: 9} }, attribute.String("port", "9000")))
	register(otel.Broker(meter, func() engine.Stats { return engine.Stats{Timeouts: 2} }, removedAndBack))
	register(otel.Pool(meter, func() pool.Stats { return pool.Stats{Idle: 4, Interval: 1500 * time.Millisecond} }))
	register(otel.PairedPool(meter, func() paired.Stats { return paired.Stats{Died: 6} }))
	register(otel.HTTPPool(meter, func() *httppool.HTTPPoolMetrics {
		return &httppool.HTTPPoolMetrics{TotalResponses: 4, TotalResponseTime: 2 * time.Second}
	}, func() []*httppool.ServerTarget {
		return []*httppool.ServerTarget{{URL: &url.URL{Scheme: "http", Host: "b"}, State: health.Up, IsHealthy: true}}
	}))
	got := read(t, reader)

	for name, want := range map[string]map[string]float64{
		"ringwire.server.connections":               {"9000 ": 3},
		"ringwire.server.requests":                  {"replied 9000 ": 5, "no_reply 9000 ": 0, "unanswered 9000 ": 0, "dropped 9000 ": 0},
		"ringwire.server.bytes":                     {"in 9000 ": 7, "out 9000 ": 0},
		"ringwire.client.requests":                  {"replied ": 0, "timeout ": 2, "cancelled ": 0, "connection_lost ": 0},
		"ringwire.client.server_state":              {"a:1 up ": 0, "a:1 trial ": 0, "a:1 ejected ": 0, "a:1 silent ": 0, "a:1 down ": 1, "a:1 resting ": 0, "a:1 leaving ": 0},
		"ringwire.client.server_connections":        {"a:1 ": 3},
		"ringwire.client.server_weight":             {"a:1 ": 3},
		"ringwire.client.server_share":              {"a:1 ": 0.4},
		"ringwire.pool.connections":                 {"idle ": 4, "in_use ": 0, "opening ": 0, "closing ": 0},
		"ringwire.pool.interval":                    {"": 1.5},
		"ringwire.paired.connections_discarded":     {"died ": 6, "idle ": 0, "unread_bytes ": 0, "broken ": 0, "full ": 0, "cleaned ": 0},
		"ringwire.httppool.response_duration":       {"": 2},
		"ringwire.httppool.response_duration_count": {"": 4},
		"ringwire.httppool.server_healthy":          {"http://b ": 1},
		"ringwire.httppool.utilization":             {"": 0},
	} {
		require.Contains(t, got, name)
		assert.Equal(t, want, values(t, got[name]), name)
	}
	for name, unit := range map[string]string{
		"ringwire.server.held_bytes": "By", "ringwire.server.bytes": "By", "ringwire.pool.interval": "s", "ringwire.client.requests": "1",
	} {
		assert.Equal(t, unit, got[name].Unit, name)
	}
	families := make(map[*measure.Family]bool)
	countFamilies(families, measure.Server())
	countFamilies(families, measure.Broker())
	countFamilies(families, measure.Pool())
	countFamilies(families, measure.PairedPool())
	countFamilies(families, measure.HTTPPool())
	n := len(families) + len(measure.BrokerServers().Families) + len(measure.HTTPPoolServers().Families) + 2*len(measure.HTTPPoolDurations())
	assert.Len(t, got, n, "each family has an instrument of its own name")
	for _, f := range slices.Concat(measure.BrokerServers().Families, measure.HTTPPoolServers().Families) {
		families[f] = true
	}
	want, sums := 2*len(measure.HTTPPoolDurations()), 0
	for f := range families {
		if f.Counter {
			want++
		}
	}
	for _, m := range got {
		if _, is := m.Data.(metricdata.Sum[float64]); is {
			sums++
		}
	}
	assert.Equal(t, want, sums, "counters are sums, all others gauges")
}

// refusing is a Meter that makes no gauges, and counts what it is asked for.
type refusing struct {
	metric.Meter
	gauges, counters map[string]int
}

var errNoGauge = errors.New("no gauges")

func (r refusing) Float64ObservableGauge(name string, _ ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	r.gauges[name]++
	return nil, errNoGauge
}

func (r refusing) Float64ObservableCounter(name string, opts ...metric.Float64ObservableCounterOption) (metric.Float64ObservableCounter, error) {
	r.counters[name]++
	return r.Meter.Float64ObservableCounter(name, opts...)
}

func (r refusing) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	panic("it was told that there are no gauges")
}

func TestWhatAMeterRefusesIsTold(t *testing.T) {
	provider, reader := newProvider(t)
	meter := refusing{provider.Meter("test"), make(map[string]int), make(map[string]int)}
	_, err := otel.PairedPool(meter, func() paired.Stats { return paired.Stats{} })
	require.ErrorIs(t, err, errNoGauge)
	assert.Contains(t, meter.gauges, "ringwire.paired.waiting")
	assert.Contains(t, meter.counters, "ringwire.paired.failures")
	for name, n := range meter.counters {
		assert.Equal(t, 1, n, "%s has several values and is one", name)
	}
	assert.Empty(t, read(t, reader))
}

// Several Readers may read at once: what the caller has handed over is not written to.
func TestTheCallersAttributesAreLeftAlone(t *testing.T) {
	provider, reader := newProvider(t)
	both := []attribute.KeyValue{attribute.String("port", "9000"), attribute.String("mine", "x")}
	r, err := otel.Server(provider.Meter("test"), func() server.Stats { return server.Stats{} }, both[:1]...)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Unregister()) }()
	require.NotEmpty(t, read(t, reader))
	assert.Equal(t, attribute.String("mine", "x"), both[1])
}

func countFamilies[S any](families map[*measure.Family]bool, values []measure.Value[S]) {
	for _, v := range values {
		families[v.Family] = true
	}
}

func TestUnregisteringEndsTheObserving(t *testing.T) {
	provider, reader := newProvider(t)
	asked := 0
	r, err := otel.Server(provider.Meter("test"), func() server.Stats { asked++; return server.Stats{} })
	require.NoError(t, err)
	require.NotEmpty(t, read(t, reader))
	require.Equal(t, 1, asked)
	require.NoError(t, r.Unregister())
	require.Empty(t, read(t, reader))
	require.Equal(t, 1, asked)
}

func TestWhatIsMissingIsAnError(t *testing.T) {
	provider, _ := newProvider(t)
	meter := provider.Meter("test")
	_, err := otel.Server(meter, nil)
	assert.EqualError(t, err, "otel: stats of Server is nil")
	_, err = otel.Broker(meter, nil, nil)
	assert.EqualError(t, err, "otel: stats of Broker is nil")
	_, err = otel.Pool(meter, nil)
	assert.EqualError(t, err, "otel: stats of Pool is nil")
	_, err = otel.PairedPool(meter, nil)
	assert.EqualError(t, err, "otel: stats of PairedPool is nil")
	_, err = otel.HTTPPool(meter, nil, nil)
	assert.EqualError(t, err, "otel: metrics of HTTPPool is nil")
	_, err = otel.Server(nil, func() server.Stats { return server.Stats{} })
	assert.EqualError(t, err, "otel: meter is nil")
	_, err = otel.Timed(nil, meter)
	assert.EqualError(t, err, "otel: Client of Timed is nil")
	_, err = otel.Timed(failing{}, nil)
	assert.EqualError(t, err, "otel: meter is nil")
	_, err = otel.Sampled(failing{}, meter, 1<<20+1)
	assert.EqualError(t, err, "otel: every of Sampled is 1048577; it must lie in 1 to 1048576")
	_, err = otel.Sampled(failing{}, meter, 0)
	assert.EqualError(t, err, "otel: every of Sampled is 0; it must lie in 1 to 1048576")
	_, err = otel.TimedHandler(nil, meter)
	assert.EqualError(t, err, "otel: Handler of TimedHandler is nil")
}

// failing is a Client whose calls fail with an error.
type failing struct {
	engine.Client
	err error
}

func (f failing) Send(context.Context, []byte, ...engine.Call) ([]byte, error) { return nil, f.err }

func TestFailedCallsHaveTheirType(t *testing.T) {
	for err, want := range map[error]string{
		engine.ErrTimeout: "timeout", context.Canceled: "cancelled", engine.ErrRefused: "refused", engine.ErrQueueFull: "queue_full",
		engine.ErrNoPoolsAvailable: "no_server", engine.ErrConnLost: "connection_lost", engine.ErrQuit: "closed", engine.ErrClosingBroker: "closed",
		server.ErrOverloaded: "overloaded", errors.New("something else"): "_OTHER", nil: "",
	} {
		provider, reader := newProvider(t)
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		client, failed := otel.Timed(failing{err: err}, provider.Meter("test"), attribute.String("rpc.method", "echo"))
		require.NoError(t, failed)
		_, got := client.Send(t.Context(), nil)
		require.Equal(t, err, got)
		data, ok := read(t, reader)["rpc.client.call.duration"].Data.(metricdata.Histogram[float64])
		require.True(t, ok)
		require.Len(t, data.DataPoints, 1)
		attrs := data.DataPoints[0].Attributes
		kind, there := attrs.Value("error.type")
		assert.Equal(t, want, kind.AsString())
		assert.Equal(t, want != "", there)
		method, _ := attrs.Value("rpc.method")
		assert.Equal(t, "echo", method.AsString())
		system, _ := attrs.Value("rpc.system.name")
		assert.Equal(t, "ringwire", system.AsString())
	}
}

// slow is a Client whose calls take 1.5 s.
type slow struct{ engine.Client }

func (slow) Send(context.Context, []byte, ...engine.Call) ([]byte, error) {
	time.Sleep(1500 * time.Millisecond)
	return nil, nil
}

func TestDurationsAreSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider, reader := newProvider(t)
		client, err := otel.Timed(slow{}, provider.Meter("test"))
		require.NoError(t, err)
		_, err = client.Send(t.Context(), nil)
		require.NoError(t, err)
		data, ok := read(t, reader)["rpc.client.call.duration"].Data.(metricdata.Histogram[float64])
		require.True(t, ok)
		assert.InDelta(t, 1.5, data.DataPoints[0].Sum, 0)
	})
}

// One of a million calls is recorded: of one it is none, but once in a million runs.
func TestSampledRecordsAPartOfTheCalls(t *testing.T) {
	provider, reader := newProvider(t)
	client, err := otel.Sampled(failing{}, provider.Meter("test"), 1<<20)
	require.NoError(t, err)
	_, err = client.Send(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, read(t, reader))
}

// call makes two good calls, one that the handler fails and one without a reply, and returns what was recorded.
func call(t *testing.T, opts ...sdk.Option) map[string]metricdata.Metrics {
	t.Helper()
	provider, reader := newProvider(t, opts...)
	meter := provider.Meter("test")
	handler, err := otel.TimedHandler(server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		switch string(req) {
		case "":
			return nil, errors.New("empty")
		case "silence":
			return nil, fmt.Errorf("wrapped: %w", server.ErrNoReply)
		}
		return append(dst, req...), nil
	}), meter)
	require.NoError(t, err)
	srv, err := server.New(server.Config{
		Addr: "127.0.0.1:0", Loops: 1, Logger: slog.New(slog.DiscardHandler), Handler: handler,
		ErrorReply: func(_ *server.Conn, dst, _ []byte, _ error) []byte { return append(dst, "failed"...) },
	})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	defer func() { require.NoError(t, srv.Close()) }()
	b, err := engine.New(engine.Config{Addrs: []string{srv.Addr().String()}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	client, err := otel.Timed(b, meter)
	require.NoError(t, err)
	require.NoError(t, client.SendOneWay(t.Context(), []byte("silence")))
	for _, req := range []string{"a", "b", ""} { // on the same connection, behind it
		_, err := client.Send(t.Context(), []byte(req))
		require.NoError(t, err)
	}
	return read(t, reader)
}

func TestCallsAreRecordedAtBothEnds(t *testing.T) {
	got := call(t)
	for name, want := range map[string]map[string]uint64{
		"rpc.client.call.duration": {"": 3},
		"rpc.server.call.duration": {"": 3, "_OTHER": 1},
	} {
		assert.Equal(t, "s", got[name].Unit)
		data, ok := got[name].Data.(metricdata.Histogram[float64])
		require.True(t, ok, name)
		counts := make(map[string]uint64)
		for _, p := range data.DataPoints {
			kind, _ := p.Attributes.Value("error.type")
			counts[kind.AsString()] = p.Count
			assert.Equal(t, buckets.Seconds(), p.Bounds)
			assert.Less(t, p.Sum, 10.0)
		}
		assert.Equal(t, want, counts, name)
	}
}

func TestTheDocumentedViewGivesExponentialBuckets(t *testing.T) {
	got := call(t, sdk.WithView(sdk.NewView(
		sdk.Instrument{Name: "rpc.*.call.duration"},
		sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}},
	)))
	for _, name := range []string{"rpc.client.call.duration", "rpc.server.call.duration"} {
		data, ok := got[name].Data.(metricdata.ExponentialHistogram[float64])
		require.True(t, ok, name)
		assert.NotEmpty(t, data.DataPoints)
	}
}
