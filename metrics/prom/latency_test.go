package prom_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/server"
)

// collected returns what a collector has, by name.
func collected(t *testing.T, c prometheus.Collector) map[string]*dto.Histogram {
	t.Helper()
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	require.NoError(t, err)
	all := make(map[string]*dto.Histogram)
	for _, f := range families {
		require.Len(t, f.GetMetric(), 1)
		all[f.GetName()] = f.GetMetric()[0].GetHistogram()
	}
	return all
}

// What client_golang's own histogram makes of the same durations is the same.
func TestLatencyIsWhatPrometheusWouldHaveCounted(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 3, 10_000} {
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "x", Help: "x", Buckets: prom.Buckets(),
			NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: latency.LeastSeconds,
		})
		var h latency.Histogram
		for range n {
			d := time.Duration(math.Exp(random.Float64() * math.Log(8e12)))
			h.Record(d)
			theirs.Observe(d.Seconds())
		}
		var want dto.Metric
		require.NoError(t, theirs.Write(&want))
		got := collected(t, prom.BrokerLatency(func() latency.Histogram { return h }))["ringwire_client_request_duration_seconds"]
		assert.InDelta(t, want.GetHistogram().GetSampleSum(), got.GetSampleSum(), 1e-3)
		want.Histogram.SampleSum, want.Histogram.CreatedTimestamp = got.SampleSum, nil
		assert.Equal(t, want.GetHistogram().String(), got.String(), n)
	}
}

func TestLatencyOfServerAndBrokerIsShown(t *testing.T) {
	var l server.Latency
	l.Response.Record(3 * time.Second)
	l.Service.Record(2 * time.Second)
	got := collected(t, prom.ServerLatency(func() server.Latency { return l }))
	require.Len(t, got, 2)
	assert.InDelta(t, 3, got["ringwire_server_request_duration_seconds"].GetSampleSum(), 0)
	assert.InDelta(t, 2, got["ringwire_server_handler_duration_seconds"].GetSampleSum(), 0)
	assert.PanicsWithValue(t, "prom: snapshot of BrokerLatency is nil", func() { prom.BrokerLatency(nil) })
	assert.PanicsWithValue(t, "prom: snapshot of ServerLatency is nil", func() { prom.ServerLatency(nil) })

	assert.PanicsWithValue(t, "prom: snapshot of HTTPPoolLatency is nil", func() { prom.HTTPPoolLatency(nil) })

	// Beside NewDurations it would count the same twice.
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(prom.NewDurations()))
	require.Error(t, reg.Register(prom.BrokerLatency(func() (h latency.Histogram) { return h })))

	srv, b := echoPair(t, nil)
	for range 2000 {
		_, err := b.Send(t.Context(), []byte("x"))
		require.NoError(t, err)
	}
	var calls, requests *dto.Histogram
	calls = collected(t, prom.BrokerLatency(b.Latency))["ringwire_client_request_duration_seconds"]
	requests = collected(t, prom.ServerLatency(srv.Latency))["ringwire_server_request_duration_seconds"]
	for _, h := range []*dto.Histogram{calls, requests} {
		assert.InDelta(t, 2000/64, h.GetSampleCount(), 31, "one of 64; 5.5 standard deviations")
		assert.Len(t, h.GetBucket(), len(prom.Buckets()))
	}
}

func TestLatencyOfAnHTTPPoolIsShown(t *testing.T) {
	var h latency.Histogram
	h.Record(3 * time.Second)
	h.Record(time.Millisecond)
	latencies := prom.HTTPPoolLatency(func() latency.Histogram { return h })
	got := collected(t, latencies)["ringwire_httppool_request_duration_seconds"]
	assert.InDelta(t, 3.001, got.GetSampleSum(), 1e-9)
	assert.EqualValues(t, 2, got.GetSampleCount())
	assert.Len(t, got.GetBucket(), len(prom.Buckets()))

	reg := prometheus.NewPedanticRegistry() // beside the sum and count that HTTPPool has
	reg.MustRegister(latencies, prom.HTTPPool(func() *httppool.HTTPPoolMetrics { return new(httppool.HTTPPoolMetrics) }, nil))
	_, err := reg.Gather()
	require.NoError(t, err)
}
