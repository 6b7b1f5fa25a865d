package measure

import (
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
)

type poolMetrics = httppool.HTTPPoolMetrics

// HTTPPool returns what an HTTP pool counts.
func HTTPPool() []Value[httppool.HTTPPoolMetrics] {
	conns := gauge("ringwire_httppool_connections", "Open connections, by state.", "state")
	requests := counter("ringwire_httppool_requests_total", "Requests that are over: with a status below 500, or with another one or none.", "code")
	servers := gauge("ringwire_httppool_servers", "Servers that take requests in turn, and that do not.", "state")
	checks := counter("ringwire_httppool_health_checks_total", "Health checks, by result.", "result")
	return []Value[poolMetrics]{
		of(conns, func(m *poolMetrics) int64 { return m.ActiveConnections }, "active"),
		of(conns, func(m *poolMetrics) int64 { return m.IdleConnections }, "idle"),
		of(counter("ringwire_httppool_connections_created_total", "Connections opened."), func(m *poolMetrics) int64 { return m.ConnectionsCreated }),
		of(counter("ringwire_httppool_connections_destroyed_total", "Connections closed."), func(m *poolMetrics) int64 { return m.ConnectionsDestroyed }),
		of(counter("ringwire_httppool_connections_reused_total", "How often an idle connection was lent out."), func(m *poolMetrics) int64 { return m.ConnectionsReused }),
		of(counter("ringwire_httppool_requests_started_total", "Requests begun; a repeated one counts once."), func(m *poolMetrics) int64 { return m.TotalRequests }),
		of(requests, func(m *poolMetrics) int64 { return m.SuccessfulRequests }, "success"),
		of(requests, func(m *poolMetrics) int64 { return m.FailedRequests }, "failure"),
		of(counter("ringwire_httppool_retries_total", "Repetitions of requests."), func(m *poolMetrics) int64 { return m.RetriedRequests }),
		of(counter("ringwire_httppool_retries_denied_total", "Repetitions that the budget refused."), func(m *poolMetrics) int64 { return m.RetriesDenied }),
		of(servers, func(m *poolMetrics) int { return m.HealthyServers }, "healthy"),
		of(servers, func(m *poolMetrics) int { return m.UnhealthyServers }, "unhealthy"),
		of(checks, func(m *poolMetrics) int64 { return m.HealthChecksSuccess }, "success"),
		of(checks, func(m *poolMetrics) int64 { return m.HealthChecksFailed }, "failure"),
		of(gauge("ringwire_httppool_utilization_ratio", "Active connections by MaxTotalConnections, 0 to 1."), func(m *poolMetrics) float64 { return m.PoolUtilization }),
		of(gauge("ringwire_httppool_longest_wait_seconds", "The longest time that getting a connection has taken."), func(m *poolMetrics) float64 { return m.MaxWaitTime.Seconds() }),
		of(gauge("ringwire_httppool_waiting", "How many wait for a connection."), func(m *poolMetrics) int { return m.Waiting }),
		of(counter("ringwire_httppool_connection_errors_total", "Attempts to connect that failed."), func(m *poolMetrics) int64 { return m.ConnectionErrors }),
		of(counter("ringwire_httppool_timeouts_total", "Requests and gets that ended with a deadline."), func(m *poolMetrics) int64 { return m.TimeoutErrors }),
		of(gauge("ringwire_httppool_start_time_seconds", "When the pool was made, in seconds since 1970."), func(m *poolMetrics) float64 { return float64(m.StartTime.UnixMilli()) / 1000 }),
	}
}

// HTTPPoolDurations returns how long things took in an HTTP pool.
func HTTPPoolDurations() []Duration[httppool.HTTPPoolMetrics] {
	return []Duration[poolMetrics]{
		{
			counter("ringwire_httppool_response_duration_seconds", "Time until a response's header had come."),
			func(m *poolMetrics) int64 { return m.TotalResponses }, func(m *poolMetrics) time.Duration { return m.TotalResponseTime },
		},
		{
			counter("ringwire_httppool_wait_duration_seconds", "Time to get a connection, dialling included."),
			func(m *poolMetrics) int64 { return m.TotalWaits }, func(m *poolMetrics) time.Duration { return m.TotalWaitTime },
		},
	}
}

// HTTPPoolServers returns what an HTTP pool counts for each server.
func HTTPPoolServers() Each[httppool.ServerTarget] {
	f := newHTTPServers()
	return Each[httppool.ServerTarget]{f.all(), f.take}
}

// httpServers are the families with a label for the server.
type httpServers struct {
	healthy, state, weight, conns, failures, response, checked, requests, succeeded *Family
}

func newHTTPServers() *httpServers {
	const s = "server"
	return &httpServers{
		healthy:   gauge("ringwire_httppool_server_healthy", "1 if the server takes requests in turn, else 0.", s),
		state:     gauge("ringwire_httppool_server_state", "1 for the state that the server is in, 0 for the others.", s, "state"),
		weight:    gauge("ringwire_httppool_server_weight", "The server's weight.", s),
		conns:     gauge("ringwire_httppool_server_connections", "Connections to the server, open or being dialled.", s),
		failures:  gauge("ringwire_httppool_server_failures", "Failures in a row.", s),
		response:  gauge("ringwire_httppool_server_response_seconds", "Time until a response's header has come, smoothed.", s),
		checked:   gauge("ringwire_httppool_server_last_check_time_seconds", "When the last health check ended, in seconds since 1970; 0 if none has.", s),
		requests:  counter("ringwire_httppool_server_requests_total", "Requests made to the server.", s),
		succeeded: counter("ringwire_httppool_server_requests_successful_total", "Requests made to the server with a status below 500.", s),
	}
}

func (f *httpServers) all() []*Family {
	return []*Family{f.healthy, f.state, f.weight, f.conns, f.failures, f.response, f.checked, f.requests, f.succeeded}
}

func (f *httpServers) take(put Put, s *httppool.ServerTarget) {
	url, healthy, checked := s.URL.String(), 0.0, 0.0
	if s.IsHealthy {
		healthy = 1
	}
	if !s.LastHealthCheck.IsZero() {
		checked = float64(s.LastHealthCheck.UnixMilli()) / 1000
	}
	put(f.healthy, healthy, url)
	for _, state := range []health.State{health.Up, health.Rising, health.Trial, health.Down, health.Ejected} {
		is := 0.0
		if s.State == state {
			is = 1
		}
		put(f.state, is, url, state.String())
	}
	put(f.weight, float64(s.Weight), url)
	put(f.conns, float64(s.CurrentConnections), url)
	put(f.failures, float64(s.FailureCount), url)
	put(f.response, s.ResponseTime.Seconds(), url)
	put(f.checked, checked, url)
	put(f.requests, float64(s.TotalRequests), url)
	put(f.succeeded, float64(s.SuccessfulRequests), url)
}
