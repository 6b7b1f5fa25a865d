package httppool_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/memnet"
)

// took is a histogram of durations.
func took(all ...time.Duration) (h latency.Histogram) {
	for _, d := range all {
		h.Record(d)
	}
	return h
}

// virtualPool is a pool whose dials take a second, of a server of which each path is the time that an
// answer takes; all in virtual time.
func virtualPool(t *testing.T) *httppool.HTTPConnectionPool {
	t.Helper()
	ln := memnet.Listen()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Path[1:])
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		time.Sleep(d)
		w.WriteHeader(http.StatusInternalServerError)
	})}
	go srv.Serve(ln)
	p, err := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{
		HealthCheckInterval: -1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Second)
			return ln.DialContext(ctx, network, addr)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		shutdown(t, p)
		require.NoError(t, srv.Close())
	})
	require.NoError(t, p.AddServer("http://memory", 1))
	return p
}

func TestLatencyIsOfEachResponseUntilItsHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := virtualPool(t)
		require.Equal(t, latency.Histogram{}, p.Latency())
		get(t, p, "http://pool/300ms")
		get(t, p, "http://pool/20ms")
		get(t, p, "http://pool/what")
		require.Equal(t, took(1300*time.Millisecond, 20*time.Millisecond, 0), p.Latency(), "with the dial, whatever the status")

		before := p.Latency()
		c := lend(t, p, httppool.ConnectionRequest{}).Connection
		resp, err := c.Get("http://memory/7ms")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, p.ReleaseConnection(c))
		after := p.Latency()
		require.Equal(t, took(7*time.Millisecond), after.Since(&before), "of a connection that is lent")

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/1m", nil)
		require.NoError(t, err)
		_, err = p.RoundTrip(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, after, p.Latency(), "without a response")
		m := p.GetMetrics()
		require.Equal(t, m.TotalResponseTime, after.Sum())
		require.EqualValues(t, m.TotalResponses, after.Count())
		time.Sleep(time.Minute) // the handler ends
	})
}
