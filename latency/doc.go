// Package latency holds how long things took: a [Histogram], and a [Recorder] that many goroutines
// fill at once.
//
// A histogram counts durations in cells, the same ones everywhere, so histograms of several
// brokers, processes or machines add up exactly. A cell is a twelfth of its upper bound wide at
// most, from 0.12 µs to more than two hours. The bounds are those of Prometheus's native histograms
// with schema 3, which are those of OpenTelemetry's exponential ones with scale 3, and besides 1,
// 2.5 and 5 times each power of ten from 10 µs to 10 s: so it turns into any of these three without
// a guess.
//
// [github.com/ringwire/ringwire/engine.Broker.Latency],
// [github.com/ringwire/ringwire/server.Server.Latency] and
// [github.com/ringwire/ringwire/httppool.HTTPConnectionPool.Latency] return histograms.
package latency
