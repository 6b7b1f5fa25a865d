package httppool_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
)

// overdue is a context whose deadline comes when its channel is closed.
type overdue struct {
	context.Context
	now <-chan struct{}
}

func (o overdue) Done() <-chan struct{} { return o.now }

func (o overdue) Err() error {
	select {
	case <-o.now:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// worked has a pool of one backend do some of everything, and returns its metrics while one connection is
// lent out.
func worked(t *testing.T) (b *backend, m *httppool.HTTPPoolMetrics, throughput bool) {
	hold, entered := make(chan struct{}), make(chan struct{})
	b = newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/held":
			close(entered)
			<-hold
		}
		time.Sleep(2 * time.Millisecond) // what is to be measured
		fmt.Fprint(w, "x")
	})
	p := newPool(t, httppool.HTTPPoolConfig{MetricsInterval: 10 * time.Millisecond, MaxTotalConnections: 4}, b)
	for range 5 {
		get(t, p, "http://pool/")
	}
	get(t, p, "http://pool/bad")
	req, err := http.NewRequestWithContext(overdue{t.Context(), entered}, http.MethodGet, "http://pool/held", nil)
	require.NoError(t, err)
	_, err = (&http.Client{Transport: p}).Do(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(hold)
	eventually(t, "the socket of the request that was given up is closed", func() bool { return p.GetMetrics().TotalConnections == 0 })
	first, second := lend(t, p, httppool.ConnectionRequest{}), lend(t, p, httppool.ConnectionRequest{})
	require.NoError(t, p.ReleaseConnection(second.Connection))
	eventually(t, "the throughput is taken", func() bool {
		resp, err := first.Connection.Get(b.URL)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
		throughput = p.GetMetrics().RequestsPerSecond > 0
		return throughput
	})
	m = p.GetMetrics()
	eventually(t, "the backend has two connections, too", func() bool { return b.open.Load() == 2 && b.accepted.Load() == 3 })
	require.NoError(t, p.ReleaseConnection(first.Connection))
	return b, m, throughput
}

// checked returns the metrics of a pool of a server that is up and one that is gone, with health checks, and
// of one of the latter alone that a request was made to.
func checked(t *testing.T) (up *backend, h, r *httppool.HTTPPoolMetrics) {
	up = newBackend(t, 1, nil)
	gone := httptest.NewServer(http.NotFoundHandler())
	both := newPool(t, httppool.HTTPPoolConfig{HealthCheckInterval: 10 * time.Millisecond, UnhealthyThreshold: 1}, up)
	require.NoError(t, both.AddServer(gone.URL, 1))
	gone.Close()
	eventually(t, "the dead server is found out", func() bool {
		h = both.GetMetrics()
		return h.UnhealthyServers == 1 && h.HealthChecksFailed > 0 && h.HealthChecksSuccess > 0
	})
	refused := newPool(t, httppool.HTTPPoolConfig{MaxRetries: -1})
	require.NoError(t, refused.AddServer(gone.URL, 1))
	_, err := (&http.Client{Transport: refused}).Get("http://pool/")
	require.Error(t, err)
	return up, h, refused.GetMetrics()
}

// Each metric that the pool's document promises, by its name, is what the backends have seen.
func TestEveryPromisedMetricIsTrue(t *testing.T) {
	began := time.Now()
	b, m, throughput := worked(t)
	up, h, r := checked(t)

	requests := b.requests.Load()
	for name, ok := range map[string]bool{
		"TotalConnections":     m.TotalConnections == 2,
		"ActiveConnections":    m.ActiveConnections == 1,
		"IdleConnections":      m.IdleConnections == 1,
		"ConnectionsCreated":   m.ConnectionsCreated == 3 && b.accepted.Load() == 3,
		"ConnectionsDestroyed": m.ConnectionsDestroyed == 1,
		"ConnectionsReused":    m.ConnectionsReused == 6, // of the first seven requests
		"TotalRequests":        m.TotalRequests == requests,
		"SuccessfulRequests":   m.SuccessfulRequests == requests-2,
		"FailedRequests":       m.FailedRequests == 2,
		"AverageResponseTime":  m.AverageResponseTime >= 2*time.Millisecond && m.AverageResponseTime < patience,
		"HealthyServers":       m.HealthyServers == 1 && h.HealthyServers == 1,
		"UnhealthyServers":     m.UnhealthyServers == 0 && h.UnhealthyServers == 1,
		"HealthChecksFailed":   m.HealthChecksFailed == 0 && h.HealthChecksFailed > 0,
		"HealthChecksSuccess":  m.HealthChecksSuccess == 0 && h.HealthChecksSuccess > 0 && h.HealthChecksSuccess <= up.checks.Load(),
		"PoolUtilization":      m.PoolUtilization == 0.25,
		"AverageWaitTime":      m.AverageWaitTime > 0 && m.AverageWaitTime <= m.MaxWaitTime,
		"MaxWaitTime":          m.MaxWaitTime > 0 && m.MaxWaitTime < patience,
		"RequestsPerSecond":    throughput,
		"ConnectionErrors":     m.ConnectionErrors == 0 && r.ConnectionErrors == 1,
		"TimeoutErrors":        m.TimeoutErrors == 1,
		"MemoryUsage":          m.MemoryUsage > 0,
		"RequestsPerServer":    reflect.DeepEqual(m.RequestsPerServer, map[string]int64{b.URL: requests}),
		"StartTime":            !m.StartTime.Before(began) && m.StartTime.Before(m.LastUpdated),
		"LastUpdated":          !m.LastUpdated.After(time.Now()),
	} {
		_, there := reflect.TypeOf(*m).FieldByName(name)
		assert.True(t, there, name)
		assert.True(t, ok, "%s: %+v, %+v, %+v", name, m, h, r)
	}
}
