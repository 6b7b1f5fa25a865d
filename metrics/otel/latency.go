package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/server"
)

// scope names what the producers' metrics come from.
const scope = "github.com/ringwire/ringwire/metrics/otel"

// BrokerLatency returns a Producer of a broker's Latency as rpc.client.call.duration: an
// exponential histogram of scale 3, each of whose buckets is 1.09 times as wide as the one before
// it. It is of the calls that were timed, one of engine.Config.LatencyEvery, which is to be set; so
// its count is a part of theirs; it knows no error.type. Calls pay nothing for it, and [Timed] need
// not be used. The program that makes the Reader gives it the Producer:
//
//	sdk.NewPeriodicReader(exporter, sdk.WithProducer(otel.BrokerLatency(broker.Latency)))
//
// attrs are added, such as rpc.method or server.address.
func BrokerLatency(snapshot func() latency.Histogram, attrs ...attribute.KeyValue) sdk.Producer {
	if snapshot == nil {
		panic("otel: snapshot of BrokerLatency is nil")
	}
	return newProducer(attrs, func(p *producer) []metricdata.Metrics {
		h := snapshot()
		return []metricdata.Metrics{p.metric("rpc.client.call.duration", "Time from a call until its outcome, repetitions included.", &h)}
	})
}

// ServerLatency returns a Producer of a server's Latency: rpc.server.call.duration, from a
// request's arrival, and ringwire.server.handler_duration, of the handler alone. What is said of
// BrokerLatency holds for it.
func ServerLatency(snapshot func() server.Latency, attrs ...attribute.KeyValue) sdk.Producer {
	if snapshot == nil {
		panic("otel: snapshot of ServerLatency is nil")
	}
	return newProducer(attrs, func(p *producer) []metricdata.Metrics {
		l := snapshot()
		return []metricdata.Metrics{
			p.metric("rpc.server.call.duration", "Time from a request's arrival until its handler returned, or it was answered.", &l.Response),
			p.metric("ringwire.server.handler_duration", "Time that a request's handler took, or until it was answered.", &l.Service),
		}
	})
}

// HTTPPoolLatency returns a Producer of an HTTP pool's Latency as ringwire.httppool.request_duration:
// an exponential histogram like that of BrokerLatency, of each request that got a response, until
// that one's header had come. It is not named http.client.request.duration, as the semantic
// conventions ask for the method and the server with that, and the histogram is of all. attrs are
// added.
func HTTPPoolLatency(snapshot func() latency.Histogram, attrs ...attribute.KeyValue) sdk.Producer {
	if snapshot == nil {
		panic("otel: snapshot of HTTPPoolLatency is nil")
	}
	return &producer{attribute.NewSet(attrs...), time.Now(), func(p *producer) []metricdata.Metrics {
		h := snapshot()
		return []metricdata.Metrics{
			p.metric("ringwire.httppool.request_duration", "Time from a request until its response's header had come, waiting and repetitions included.", &h),
		}
	}}
}

// producer is an sdk.Producer of histograms.
type producer struct {
	attrs attribute.Set
	start time.Time
	take  func(*producer) []metricdata.Metrics
}

func newProducer(attrs []attribute.KeyValue, take func(*producer) []metricdata.Metrics) *producer {
	all := append([]attribute.KeyValue{attribute.String("rpc.system.name", "ringwire")}, attrs...)
	return &producer{attribute.NewSet(all...), time.Now(), take}
}

// Produce returns what was counted.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: p.take(p)}}, nil
}

func (p *producer) metric(name, description string, h *latency.Histogram) metricdata.Metrics {
	point := metricdata.ExponentialHistogramDataPoint[float64]{
		Attributes: p.attrs, StartTime: p.start, Time: time.Now(),
		Count: h.Count(), Sum: h.Sum().Seconds(),
		Scale: latency.Schema, ZeroThreshold: latency.LeastSeconds,
	}
	positive := &point.PositiveBucket
	for i, n := range h.Exponential() {
		if i == latency.Lowest {
			point.ZeroCount = n
			continue
		}
		at := int32(i - 1) // a bucket is named by its lower bound here
		if len(positive.Counts) == 0 {
			positive.Offset = at
		}
		for int(at-positive.Offset) >= len(positive.Counts) {
			positive.Counts = append(positive.Counts, 0)
		}
		positive.Counts[at-positive.Offset] = n
	}
	return metricdata.Metrics{
		Name: name, Description: description, Unit: "s",
		Data: metricdata.ExponentialHistogram[float64]{
			DataPoints:  []metricdata.ExponentialHistogramDataPoint[float64]{point},
			Temporality: metricdata.CumulativeTemporality,
		},
	}
}
