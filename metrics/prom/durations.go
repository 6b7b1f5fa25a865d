package prom

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/buckets"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/server"
)

// Buckets returns bounds of histogram buckets for durations in seconds, from 10 µs to 10 s in steps
// of 1, 2.5 and 5. Prometheus's own begin at 5 ms, where everything fast is one.
func Buckets() []float64 { return buckets.Seconds() }

// NewDurations returns the histogram ringwire_client_request_duration_seconds for [Timed], to be
// registered. It has Buckets, and for a Prometheus that asks for them the buckets of a native
// histogram, each 1.1 times as wide as the one before it, 160 at most.
func NewDurations() prometheus.Histogram {
	return histogram(clientDuration, "Time from a call until its outcome, whatever it is, repetitions included.")
}

// NewHandlerDurations returns the histogram ringwire_server_request_duration_seconds for
// [TimedHandler], with the buckets of NewDurations.
func NewHandlerDurations() prometheus.Histogram {
	return histogram(serverDuration, "Time from a request's arrival until its handler returned.")
}

const (
	clientDuration = "ringwire_client_request_duration_seconds"
	serverDuration = "ringwire_server_request_duration_seconds"
)

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: Buckets(),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	})
}

// TimedHandler returns a Handler that is h and whose requests are observed, in seconds: how long
// they waited and how long h took. For one that is answered by Later that is not the whole time.
func TimedHandler(h server.Handler, durations prometheus.Observer) server.Handler {
	must(h != nil, "Handler of TimedHandler")
	must(durations != nil, "durations of TimedHandler")
	return measure.TimedHandler(h, func(d time.Duration, _ error) { durations.Observe(d.Seconds()) })
}

// Timed returns a Client whose calls are those of c and are observed, in seconds. It costs a call
// two looks at the clock and the observation: 0.2 µs, and twice that where processors observe at
// once (BenchmarkTimed), which is much for a broker that makes a million calls a second; see
// [Sampled]. Go and SendBatch also allocate a function. What was not accepted by Go is not
// observed, nor is SendOneWay.
func Timed(c engine.Client, durations prometheus.Observer) engine.Client {
	return Sampled(c, durations, 1)
}

// Sampled is Timed of one call of so many, chosen at random: quantiles stay right, and the
// histogram's count is a part of the calls. every must lie in 1 to 1,048,576; with 16 a call costs
// some 40 ns more on average.
func Sampled(c engine.Client, durations prometheus.Observer, every int) engine.Client {
	must(c != nil, "Client of Timed")
	must(durations != nil, "durations of Timed")
	if every < 1 || every > measure.EveryMost {
		panic(fmt.Sprintf("prom: every of Sampled is %d; it must lie in 1 to %d", every, measure.EveryMost))
	}
	return measure.Timed(c, every, func(_ context.Context, d time.Duration, _ error) { durations.Observe(d.Seconds()) })
}
