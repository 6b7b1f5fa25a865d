package prom

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/server"
)

// BrokerLatency returns a Collector of a broker's Latency: the histogram
// ringwire_client_request_duration_seconds. It is of the calls that were timed, one of
// engine.Config.LatencyEvery, which is to be set; so its count is a part of theirs. Calls pay
// nothing for it.
//
// It has Buckets and the buckets of a native histogram, each 1.09 times as wide as the one before
// it. It takes the place of NewDurations, and cannot be registered beside it.
func BrokerLatency(snapshot func() latency.Histogram) prometheus.Collector {
	must(snapshot != nil, "snapshot of BrokerLatency")
	return &histograms[latency.Histogram]{snapshot, []ofSnapshot[latency.Histogram]{
		{durationDesc(clientDuration, "Time from a call until its outcome, whatever it is, repetitions included."),
			func(h *latency.Histogram) *latency.Histogram { return h }},
	}}
}

// ServerLatency returns a Collector of a server's Latency: the histograms
// ringwire_server_request_duration_seconds, from a request's arrival, and
// ringwire_server_handler_duration_seconds, of the handler alone. What is said of BrokerLatency
// holds for them.
func ServerLatency(snapshot func() server.Latency) prometheus.Collector {
	must(snapshot != nil, "snapshot of ServerLatency")
	return &histograms[server.Latency]{snapshot, []ofSnapshot[server.Latency]{
		{durationDesc(serverDuration, "Time from a request's arrival until its handler returned, or it was answered."),
			func(l *server.Latency) *latency.Histogram { return &l.Response }},
		{durationDesc("ringwire_server_handler_duration_seconds", "Time that a request's handler took, or until it was answered."),
			func(l *server.Latency) *latency.Histogram { return &l.Service }},
	}}
}

// HTTPPoolLatency returns a Collector of an HTTP pool's Latency: the histogram
// ringwire_httppool_request_duration_seconds. It is of each request that got a response, until that
// one's header had come; its sum and count are those of ringwire_httppool_response_duration_seconds,
// which HTTPPool has. Of its buckets holds what is said of BrokerLatency.
func HTTPPoolLatency(snapshot func() latency.Histogram) prometheus.Collector {
	must(snapshot != nil, "snapshot of HTTPPoolLatency")
	return &histograms[latency.Histogram]{snapshot, []ofSnapshot[latency.Histogram]{
		{durationDesc("ringwire_httppool_request_duration_seconds", "Time from a request until its response's header had come, waiting and repetitions included."),
			func(h *latency.Histogram) *latency.Histogram { return h }},
	}}
}

func durationDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, nil)
}

// histograms is a prometheus.Collector of the histograms of a snapshot.
type histograms[S any] struct {
	snapshot func() S
	all      []ofSnapshot[S]
}

// ofSnapshot is one of them.
type ofSnapshot[S any] struct {
	desc *prometheus.Desc
	of   func(*S) *latency.Histogram
}

// Describe sends the descriptions of all.
func (c *histograms[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, h := range c.all {
		ch <- h.desc
	}
}

// Collect sends the histograms of a snapshot taken now.
func (c *histograms[S]) Collect(ch chan<- prometheus.Metric) {
	s := c.snapshot()
	for _, h := range c.all {
		ch <- &histogramMetric{h.desc, h.of(&s)}
	}
}

// histogramMetric is a histogram as Prometheus has it, both ways. The constructors of
// client_golang make one way only.
type histogramMetric struct {
	desc *prometheus.Desc
	h    *latency.Histogram
}

// Desc returns the description.
func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write writes the histogram.
func (m *histogramMetric) Write(to *dto.Metric) error {
	count, sum := m.h.Count(), m.h.Sum().Seconds()
	schema, least := int32(latency.Schema), float64(latency.LeastSeconds)
	p := &dto.Histogram{SampleCount: &count, SampleSum: &sum, Schema: &schema, ZeroThreshold: &least}
	for _, s := range latency.Steps() {
		bound, n := s.Seconds(), m.h.AtMost(s)
		p.Bucket = append(p.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &n})
	}
	writeNative(p, m.h)
	to.Histogram = p
	return nil
}

// writeNative writes the exponential buckets: spans of buckets without a gap, each count as the
// difference to the one before it. What took no longer than the first bound is in the zero bucket.
func writeNative(p *dto.Histogram, h *latency.Histogram) {
	zeros, next, before := uint64(0), 0, int64(0)
	for i, n := range h.Exponential() {
		if i == latency.Lowest {
			zeros = n
			continue
		}
		if last := len(p.PositiveSpan) - 1; last >= 0 && i == next {
			*p.PositiveSpan[last].Length++
		} else {
			offset, length := int32(i-next), uint32(1)
			p.PositiveSpan = append(p.PositiveSpan, &dto.BucketSpan{Offset: &offset, Length: &length})
		}
		p.PositiveDelta = append(p.PositiveDelta, int64(n)-before)
		next, before = i+1, int64(n)
	}
	p.ZeroCount = &zeros
}
