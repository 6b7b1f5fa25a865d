package otel_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/metrics/otel"
	"github.com/ringwire/ringwire/server"
)

// point returns the one data point of an exponential histogram.
func point(t *testing.T, m metricdata.Metrics) metricdata.ExponentialHistogramDataPoint[float64] {
	t.Helper()
	require.Equal(t, "s", m.Unit)
	require.NotEmpty(t, m.Description)
	data, ok := m.Data.(metricdata.ExponentialHistogram[float64])
	require.True(t, ok, "%T", m.Data)
	require.Equal(t, metricdata.CumulativeTemporality, data.Temporality)
	require.Len(t, data.DataPoints, 1)
	return data.DataPoints[0]
}

// What the SDK's own histogram of scale 3 makes of the same durations is the same.
func TestLatencyIsWhatTheSDKWouldHaveCounted(t *testing.T) {
	var h latency.Histogram
	reader := sdk.NewManualReader(sdk.WithProducer(otel.BrokerLatency(func() latency.Histogram { return h }, attribute.String("rpc.method", "echo"))))
	provider := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithView(sdk.NewView(sdk.Instrument{Name: "theirs"},
		sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 400, MaxScale: latency.Schema}})))
	defer func() { require.NoError(t, provider.Shutdown(context.Background())) }()
	theirs, err := provider.Meter("test").Float64Histogram("theirs")
	require.NoError(t, err)
	made := time.Now()
	random := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		d := time.Duration(200 * math.Exp(random.Float64()*math.Log(1e10)))
		h.Record(d)
		theirs.Record(t.Context(), d.Seconds())
	}
	all := read(t, reader)
	got := point(t, all["rpc.client.call.duration"])
	data, ok := all["theirs"].Data.(metricdata.ExponentialHistogram[float64])
	require.True(t, ok)
	want := data.DataPoints[0]
	assert.Equal(t, want.Scale, got.Scale)
	assert.Equal(t, want.Count, got.Count)
	assert.InDelta(t, want.Sum, got.Sum, 1e-3)
	assert.Equal(t, want.PositiveBucket, got.PositiveBucket)
	assert.Zero(t, got.ZeroCount)
	assert.InDelta(t, latency.LeastSeconds, got.ZeroThreshold, 0)
	assert.False(t, got.StartTime.IsZero() || got.StartTime.After(made), "%v", got.StartTime)
	assert.True(t, got.Time.After(made) && !got.Time.After(time.Now()), "%v", got.Time)
	method, _ := got.Attributes.Value("rpc.method")
	system, _ := got.Attributes.Value("rpc.system.name")
	assert.Equal(t, "echo ringwire", method.AsString()+" "+system.AsString())
}

func TestProducersHaveAScope(t *testing.T) {
	produced, err := otel.BrokerLatency(func() (h latency.Histogram) { return h }).Produce(t.Context())
	require.NoError(t, err)
	require.Len(t, produced, 1)
	assert.Equal(t, "github.com/ringwire/ringwire/metrics/otel", produced[0].Scope.Name)
}

func TestLatencyOfAServerIsProduced(t *testing.T) {
	var l server.Latency
	l.Response.Record(3 * time.Second)
	l.Service.Record(50 * time.Nanosecond)
	got := read(t, sdkReader(t, otel.ServerLatency(func() server.Latency { return l })))
	require.Len(t, got, 2)
	assert.InDelta(t, 3, point(t, got["rpc.server.call.duration"]).Sum, 0)
	service := point(t, got["ringwire.server.handler_duration"])
	assert.EqualValues(t, 1, service.ZeroCount)
	assert.Empty(t, service.PositiveBucket.Counts)
	assert.PanicsWithValue(t, "otel: snapshot of BrokerLatency is nil", func() { otel.BrokerLatency(nil) })
	assert.PanicsWithValue(t, "otel: snapshot of ServerLatency is nil", func() { otel.ServerLatency(nil) })
}

func TestLatencyOfAnHTTPPoolIsProduced(t *testing.T) {
	var h latency.Histogram
	h.Record(3 * time.Second)
	h.Record(50 * time.Nanosecond)
	produce := otel.HTTPPoolLatency(func() latency.Histogram { return h }, attribute.String("pool", "users"))
	got := point(t, read(t, sdkReader(t, produce))["ringwire.httppool.request_duration"])
	assert.InDelta(t, 3, got.Sum, 1e-6)
	assert.EqualValues(t, 2, got.Count)
	assert.EqualValues(t, 1, got.ZeroCount)
	assert.Equal(t, attribute.NewSet(attribute.String("pool", "users")), got.Attributes, "it is no RPC")
	assert.PanicsWithValue(t, "otel: snapshot of HTTPPoolLatency is nil", func() { otel.HTTPPoolLatency(nil) })
}

func sdkReader(t *testing.T, p sdk.Producer) *sdk.ManualReader {
	t.Helper()
	reader := sdk.NewManualReader(sdk.WithProducer(p))
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	return reader
}
