package httppool

import (
	"errors"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/latency"
)

// HTTPPoolMetrics is what a pool has done, and what it has now.
type HTTPPoolMetrics struct {
	// TotalConnections are open now, ActiveConnections of them lent out, IdleConnections not.
	TotalConnections, ActiveConnections, IdleConnections int64
	// ConnectionsCreated and ConnectionsDestroyed count sockets that were opened and closed,
	// ConnectionsReused how often an idle one was lent out.
	ConnectionsCreated, ConnectionsDestroyed, ConnectionsReused int64

	// TotalRequests counts requests, a repeated one once. SuccessfulRequests have a response with
	// a status below 500, FailedRequests another one or none; the rest is under way.
	// RetriedRequests counts repetitions. RetriesDenied were not made, because a fifth of the requests had
	// been repeated that servers may have had: MaxRetries says more.
	TotalRequests, SuccessfulRequests, FailedRequests, RetriedRequests, RetriesDenied int64
	// AverageResponseTime is the mean time until a response's header had come: TotalResponseTime
	// by TotalResponses. The differences of both tell the mean of a span of time.
	AverageResponseTime, TotalResponseTime time.Duration
	TotalResponses                         int64
	// RequestsPerSecond is of the last MetricsInterval that has passed.
	RequestsPerSecond float64
	// RequestsPerServer has what was made to each server, by URL.
	RequestsPerServer map[string]int64

	// HealthyServers take requests in turn, UnhealthyServers do not.
	HealthyServers, UnhealthyServers int
	// HealthChecksSuccess and HealthChecksFailed count checks.
	HealthChecksSuccess, HealthChecksFailed int64

	// PoolUtilization is ActiveConnections by MaxTotalConnections, 0 to 1.
	PoolUtilization float64
	// AverageWaitTime and MaxWaitTime are how long it took to get a connection, dialling
	// included. AverageWaitTime is TotalWaitTime by TotalWaits, how many got one.
	AverageWaitTime, MaxWaitTime, TotalWaitTime time.Duration
	TotalWaits                                  int64
	// Waiting is how many wait for a connection now.
	Waiting int

	// ConnectionErrors counts dials that failed, TimeoutErrors requests and gets that ended with
	// a deadline.
	ConnectionErrors, TimeoutErrors int64
	// MemoryUsage is the whole process's heap in use, in bytes.
	MemoryUsage uint64

	StartTime, LastUpdated time.Time
}

// counts are the counters of a pool.
type counts struct {
	created, destroyed, reused   atomic.Int64
	requests, successful, failed atomic.Int64
	retries, denied              atomic.Int64
	responses, responseTime      atomic.Int64
	latency                      *latency.Recorder // of the same
	leases, waitTime, longest    atomic.Int64
	checksPassed, checksFailed   atomic.Int64
	connectErrors, timeouts      atomic.Int64
	measured                     int64 // requests, at the last measuring; the manager's
	milliPerSecond               atomic.Int64
}

func (c *counts) answered(status int, took time.Duration) {
	if status < 500 {
		c.successful.Add(1)
	} else {
		c.failed.Add(1)
	}
	c.responses.Add(1)
	c.responseTime.Add(int64(took))
	c.latency.Record(took)
}

func (c *counts) waited(d time.Duration) {
	c.leases.Add(1)
	c.waitTime.Add(int64(d))
	for {
		longest := c.longest.Load()
		if int64(d) <= longest || c.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// noteTimeout counts err if it is a timeout.
func (c *counts) noteTimeout(err error) {
	var t interface{ Timeout() bool }
	if errors.As(err, &t) && t.Timeout() {
		c.timeouts.Add(1)
	}
}

// measure takes the throughput since the last call.
func (c *counts) measure(interval time.Duration) {
	n := c.requests.Load()
	c.milliPerSecond.Store(int64(float64(n-c.measured) * 1000 / interval.Seconds()))
	c.measured = n
}

// mean returns sum by n, 0 for none.
func mean(sum time.Duration, n int64) time.Duration {
	if n == 0 {
		return 0
	}
	return sum / time.Duration(n)
}

// GetMetrics returns what is true now.
func (p *HTTPConnectionPool) GetMetrics() *HTTPPoolMetrics {
	c := &p.counts
	m := &HTTPPoolMetrics{
		ConnectionsReused:  c.reused.Load(),
		SuccessfulRequests: c.successful.Load(), FailedRequests: c.failed.Load(), RetriedRequests: c.retries.Load(),
		RetriesDenied:  c.denied.Load(),
		TotalResponses: c.responses.Load(), TotalResponseTime: time.Duration(c.responseTime.Load()),
		RequestsPerSecond:   float64(c.milliPerSecond.Load()) / 1000,
		RequestsPerServer:   make(map[string]int64),
		HealthChecksSuccess: c.checksPassed.Load(), HealthChecksFailed: c.checksFailed.Load(),
		TotalWaits: c.leases.Load(), TotalWaitTime: time.Duration(c.waitTime.Load()), MaxWaitTime: time.Duration(c.longest.Load()),
		ConnectionErrors: c.connectErrors.Load(), TimeoutErrors: c.timeouts.Load(),
		StartTime: p.started, LastUpdated: time.Now(),
	}
	m.AverageResponseTime = mean(m.TotalResponseTime, m.TotalResponses)
	m.AverageWaitTime = mean(m.TotalWaitTime, m.TotalWaits)
	m.TotalRequests = c.requests.Load() // last: none of the others exceeds it
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	m.MemoryUsage = heap[0].Value.Uint64()

	p.mu.Lock()
	defer p.mu.Unlock()
	m.ConnectionsDestroyed = c.destroyed.Load()
	m.ConnectionsCreated = c.created.Load()
	m.TotalConnections = m.ConnectionsCreated - m.ConnectionsDestroyed
	m.IdleConnections = min(int64(p.idle.Len()), m.TotalConnections)
	m.ActiveConnections = m.TotalConnections - m.IdleConnections
	m.PoolUtilization = float64(m.ActiveConnections) / float64(p.cfg.MaxTotalConnections)
	m.Waiting = p.waiting.len()
	for _, s := range p.servers {
		m.Waiting += s.waiting.len()
		m.RequestsPerServer[s.url.String()] = int64(s.requests.Load())
		if s.judge.Share() > 0 {
			m.HealthyServers++
		} else {
			m.UnhealthyServers++
		}
	}
	return m
}
