package httppool_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
)

// patience is how long tests wait for what must happen.
const patience = 10 * time.Second

// backend is an HTTP server that counts its sockets.
type backend struct {
	*httptest.Server
	id                   int
	accepted, open, most atomic.Int64
	requests, checks     atomic.Int64
	healthy              atomic.Bool
}

// countedConn is a socket of a backend's.
type countedConn struct {
	net.Conn
	b    *backend
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.b.open.Add(-1) })
	return c.Conn.Close()
}

type countedListener struct {
	net.Listener
	b *backend
}

func (l countedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.b.accepted.Add(1)
	for open := l.b.open.Add(1); ; {
		most := l.b.most.Load()
		if open <= most || l.b.most.CompareAndSwap(most, open) {
			return &countedConn{Conn: nc, b: l.b}, nil
		}
	}
}

// newBackend starts a backend whose handler is h, which nil makes answer its number.
func newBackend(t testing.TB, id int, h http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{id: id}
	b.healthy.Store(true)
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			b.checks.Add(1)
			if !b.healthy.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return
		}
		b.requests.Add(1)
		if h != nil {
			h(w, r)
			return
		}
		fmt.Fprint(w, id)
	}))
	b.Listener = countedListener{b.Listener, b}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// newPool makes a pool of backends that must be empty when it is closed. Checks are off unless
// the config says otherwise.
func newPool(t testing.TB, cfg httppool.HTTPPoolConfig, backends ...*backend) *httppool.HTTPConnectionPool {
	t.Helper()
	if cfg.HealthCheckInterval == 0 {
		cfg.HealthCheckInterval = -1
	}
	p, err := httppool.NewHTTPConnectionPool(&cfg)
	require.NoError(t, err)
	t.Cleanup(func() { shutdown(t, p) })
	for _, b := range backends {
		require.NoError(t, p.AddServer(b.URL, 1))
	}
	return p
}

// shutdown closes a pool that nobody uses any more, and looks whether anything is left.
func shutdown(t testing.TB, p *httppool.HTTPConnectionPool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, p.Shutdown(ctx))
	m := p.GetMetrics()
	assert.Zero(t, m.TotalConnections, "%+v", m)
	assert.Equal(t, m.ConnectionsCreated, m.ConnectionsDestroyed)
	assert.Equal(t, m.TotalRequests, m.SuccessfulRequests+m.FailedRequests, "%+v", m)
	assert.Empty(t, httppool.Leftover(p))
	for _, s := range p.GetServerStats() {
		assert.Zero(t, s.CurrentConnections, "%+v", s)
	}
}

// get GETs a URL and returns status and body.
func get(t testing.TB, rt http.RoundTripper, url string) (int, string) {
	t.Helper()
	resp, err := (&http.Client{Transport: rt}).Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func lend(t testing.TB, p *httppool.HTTPConnectionPool, req httppool.ConnectionRequest) *httppool.ConnectionResponse {
	t.Helper()
	if req.Context == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		t.Cleanup(cancel)
		req.Context = ctx
	}
	resp, err := p.GetConnection(&req)
	require.NoError(t, err)
	return resp
}

// lendUsed lends a connection and makes one request over it, so that its socket is open.
func lendUsed(t testing.TB, p *httppool.HTTPConnectionPool, b *backend) *httppool.HTTPConnection {
	t.Helper()
	c := lend(t, p, httppool.ConnectionRequest{}).Connection
	resp, err := c.Get(b.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return c
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(t, "never came true", what)
		}
	}
}

// waiting waits until n wait for a connection.
func waiting(t testing.TB, p *httppool.HTTPConnectionPool, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " wait"), func() bool { return p.GetMetrics().Waiting == n })
}
