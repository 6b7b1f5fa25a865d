package httppool

import "github.com/ringwire/ringwire/latency"

// Latency returns how long requests that got a response have taken since NewHTTPConnectionPool,
// whatever its status: from the call of RoundTrip, or of Do and the like of an HTTPConnection,
// until the response's header had come, with all waiting, dialling and repetitions. Each one is
// timed, and each redirect that is followed is a request of its own. Left out are those without a
// response, and health checks. They are the ones of HTTPPoolMetrics.TotalResponses and
// TotalResponseTime. The difference of two snapshots is what lies between them
// (latency.Histogram.Since).
func (p *HTTPConnectionPool) Latency() latency.Histogram { return p.counts.latency.Histogram() }
