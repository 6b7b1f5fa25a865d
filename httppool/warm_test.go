package httppool_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/memnet"
)

// warmed waits until n connections lie idle, and no more than that are open.
func warmed(t *testing.T, p *httppool.HTTPConnectionPool, n int64) {
	t.Helper()
	eventually(t, "all are warm", func() bool {
		m := p.GetMetrics()
		require.LessOrEqual(t, m.TotalConnections, n)
		return m.IdleConnections == n
	})
}

func TestConnectionsAreWarmBeforeTheyAreNeeded(t *testing.T) {
	for _, secure := range []bool{false, true} {
		b := newBackend(t, 0, nil)
		cfg, url := httppool.HTTPPoolConfig{WarmConnections: 3}, b.URL
		if secure {
			b = &backend{Server: httptest.NewUnstartedServer(http.NotFoundHandler())}
			b.Listener = countedListener{b.Listener, b}
			b.StartTLS()
			t.Cleanup(b.Close)
			roots := x509.NewCertPool()
			roots.AddCert(b.Certificate())
			cfg.TLSConfig, url = &tls.Config{RootCAs: roots}, b.URL
		}
		p := newPool(t, cfg)
		require.NoError(t, p.AddServer(url, 1))
		warmed(t, p, 3)
		for range 5 {
			get(t, p, url)
		}
		lent := lend(t, p, httppool.ConnectionRequest{})
		assert.True(t, lent.FromPool)
		get(t, lent.Connection.Client().Transport, url)
		assert.EqualValues(t, 3, p.GetMetrics().TotalConnections)
		assert.EqualValues(t, 3, b.accepted.Load())
		if !secure {
			assert.EqualValues(t, 6, b.requests.Load(), "none is sent to warm them")
		}
		require.NoError(t, p.ReleaseConnection(lent.Connection))
		shutdown(t, p)
	}
}

func TestServerThatReturnsIsWarmAgain(t *testing.T) {
	b := newBackend(t, 0, nil)
	addr := b.Listener.Addr().String()
	p := newPool(t, httppool.HTTPPoolConfig{WarmConnections: 2, HealthCheckInterval: 10 * time.Millisecond, UnhealthyThreshold: 2}, b)
	warmed(t, p, 2)
	b.Close()
	eventually(t, "it is down", func() bool { return state(p, 0) == health.Down })
	eventually(t, "nothing is left", func() bool { return p.GetMetrics().TotalConnections == 0 })

	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	again := &backend{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	require.NoError(t, again.Listener.Close())
	again.Listener = countedListener{ln, again}
	again.Start()
	t.Cleanup(again.Close)
	eventually(t, "they are there again", func() bool { return p.GetMetrics().IdleConnections == 2 })
}

// The server may close what has never been used, too.
func TestWarmConnectionsThatAreClosedAreReplaced(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{WarmConnections: 2}, b)
	warmed(t, p, 2)
	b.CloseClientConnections()
	eventually(t, "there are others", func() bool { m := p.GetMetrics(); return m.ConnectionsCreated == 4 && m.IdleConnections == 2 })
	p.CloseIdleConnections()
	eventually(t, "there are others", func() bool { m := p.GetMetrics(); return m.ConnectionsCreated == 6 && m.IdleConnections == 2 })
	require.NoError(t, p.RemoveServer(b.URL))
	assert.EqualValues(t, 0, p.GetMetrics().TotalConnections)
}

// virtual makes a pool whose servers are one in memory, in virtual time. dial, if not nil, goes first.
func virtual(t *testing.T, cfg httppool.HTTPPoolConfig, dial func(ctx context.Context, addr string) error) *httppool.HTTPConnectionPool {
	t.Helper()
	ln := memnet.Listen()
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go srv.Serve(ln)
	cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dial != nil {
			if err := dial(ctx, addr); err != nil {
				return nil, err
			}
		}
		return ln.DialContext(ctx, network, addr)
	}
	cfg.HealthCheckInterval = -1
	p, err := httppool.NewHTTPConnectionPool(&cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		shutdown(t, p)
		require.NoError(t, srv.Close())
	})
	return p
}

func TestWarmConnectionsKeepToTheBounds(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  httppool.HTTPPoolConfig
		want int64
	}{
		"idle":  {httppool.HTTPPoolConfig{WarmConnections: 2, MaxIdleConnections: 5}, 5},
		"total": {httppool.HTTPPoolConfig{WarmConnections: 2, MaxTotalConnections: 3}, 3},
		"none":  {httppool.HTTPPoolConfig{}, 0},
		"all":   {httppool.HTTPPoolConfig{WarmConnections: 2}, 8},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := virtual(t, c.cfg, func(context.Context, string) error {
				time.Sleep(time.Millisecond)
				return nil
			})
			for _, url := range []string{"http://a", "http://b", "http://c", "http://d"} {
				require.NoError(t, p.AddServer(url, 1))
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			m := p.GetMetrics()
			assert.Equal(t, c.want, m.IdleConnections, name)
			assert.Equal(t, c.want, m.ConnectionsCreated, name)
		})
	}
}

// What lies idle of a busy server makes no room of another's warm connections.
func TestABusyServerTakesNoWarmConnectionsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 1, MaxIdleConnections: 3}, nil)
		require.NoError(t, p.AddServer("http://quiet", 1))
		require.NoError(t, p.AddServer("http://busy", 1))
		synctest.Wait()
		var lent []*httppool.HTTPConnection
		for range 6 {
			lent = append(lent, lend(t, p, httppool.ConnectionRequest{ServerHint: "http://busy"}).Connection)
		}
		for _, c := range lent {
			require.NoError(t, p.ReleaseConnection(c))
		}
		synctest.Wait()
		stats, m := p.GetServerStats(), p.GetMetrics()
		assert.Equal(t, []int{1, 2}, []int{stats[0].CurrentConnections, stats[1].CurrentConnections})
		assert.EqualValues(t, 1+6, m.ConnectionsCreated)
	})
}

func TestWarmDialsPauseAfterFailuresAndStopWhenTheServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials, under atomic.Int64
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 4, UnhealthyThreshold: 30}, func(_ context.Context, addr string) error {
			if addr == "good:80" {
				return nil
			}
			assert.EqualValues(t, 1, under.Add(1), "one at a time")
			defer under.Add(-1)
			dials.Add(1)
			time.Sleep(time.Millisecond)
			return errors.New("refused")
		})
		require.NoError(t, p.AddServer("http://gone", 1))
		require.NoError(t, p.AddServer("http://good", 1)) // or the other one would not stay out
		began := time.Now()
		for state(p, 0) != health.Down && time.Since(began) < time.Hour {
			time.Sleep(time.Millisecond)
		}
		assert.Greater(t, time.Since(began), 10*time.Second, "30 failures, pauses of 2.5 s in the mean")
		synctest.Wait()
		assert.EqualValues(t, 30, dials.Load())
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.EqualValues(t, 30, dials.Load())
	})
}

// A server may take connections and close them at once, because it has too many.
func TestWarmDialsPauseWhenTheServerClosesThemAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		accepted := make(chan int, 1)
		go func() {
			n := 0
			for nc, err := ln.Accept(); err == nil; nc, err = ln.Accept() {
				n++
				nc.Close()
			}
			accepted <- n
		}()
		p, err := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{
			WarmConnections: 2, HealthCheckInterval: -1, DialContext: ln.DialContext,
		})
		require.NoError(t, err)
		require.NoError(t, p.AddServer("http://full", 1))
		time.Sleep(time.Minute)
		shutdown(t, p)
		require.NoError(t, ln.Close())
		n := <-accepted
		assert.Greater(t, n, 5)
		assert.Less(t, n, 100)
	})
}

func TestShutdownEndsWarmDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 1}, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		require.NoError(t, p.AddServer("http://hangs", 1))
		synctest.Wait()
		began := time.Now()
		shutdown(t, p)
		assert.Zero(t, time.Since(began))
	})
}

func TestDialContextMayEndTheGoroutineOfAWarmDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 2}, func(context.Context, string) error {
			if !ended.Swap(true) {
				runtime.Goexit()
			}
			return nil
		})
		require.NoError(t, p.AddServer("http://a", 1))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.EqualValues(t, 2, p.GetMetrics().IdleConnections)
	})
}

func TestAServerThatWasRemovedIsNotWarmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 1, UnhealthyThreshold: 100}, func(context.Context, string) error {
			dials.Add(1)
			return errors.New("refused")
		})
		require.NoError(t, p.AddServer("http://gone", 1))
		time.Sleep(10 * time.Second)
		synctest.Wait() // in a pause
		before := dials.Load()
		require.NoError(t, p.RemoveServer("http://gone"))
		time.Sleep(time.Minute)
		assert.Equal(t, before, dials.Load())
	})
}

func TestAServerIsWarmWhenThereIsRoomAmongTheIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 1, MaxIdleConnections: 1}, nil)
		require.NoError(t, p.AddServer("http://a", 1))
		synctest.Wait()
		require.NoError(t, p.AddServer("http://b", 1))
		synctest.Wait()
		require.Zero(t, p.GetServerStats()[1].CurrentConnections)
		lent := lend(t, p, httppool.ConnectionRequest{ServerHint: "http://a"})
		require.True(t, lent.FromPool)
		time.Sleep(time.Minute + time.Second) // CleanupInterval
		require.Equal(t, 1, p.GetServerStats()[1].CurrentConnections)
		require.NoError(t, p.ReleaseConnection(lent.Connection))
	})
}

// A server that closes idle connections after some seconds is no failure.
func TestWarmConnectionsThatHaveLivedAreReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := virtual(t, httppool.HTTPPoolConfig{WarmConnections: 2}, nil)
		require.NoError(t, p.AddServer("http://a", 1))
		for range 20 {
			time.Sleep(2 * time.Second)
			require.EqualValues(t, 2, p.GetMetrics().IdleConnections)
			p.CloseIdleConnections()
			time.Sleep(time.Millisecond)
			require.EqualValues(t, 2, p.GetMetrics().IdleConnections)
		}
	})
}
