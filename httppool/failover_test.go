package httppool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
)

// state returns the state of the n-th server.
func state(p *httppool.HTTPConnectionPool, n int) health.State { return p.GetServerStats()[n].State }

func TestKilledServerFailsNoGETAndTrafficIsEvenAgain(t *testing.T) {
	t.Parallel()
	backends := []*backend{newBackend(t, 0, nil), newBackend(t, 1, nil), newBackend(t, 2, nil)}
	p := newPool(t, httppool.HTTPPoolConfig{HealthCheckInterval: 30 * time.Second}, backends...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var failures, answers atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := (&http.Client{Transport: p}).Get("http://pool/")
				if err != nil {
					failures.Add(1)
					t.Log(err)
					continue
				}
				if _, err = io.Copy(io.Discard, resp.Body); err != nil {
					failures.Add(1) // the header had come: it cannot be repeated
					t.Log(err)
				}
				resp.Body.Close()
				answers.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		n += answers.Load()
		eventually(t, "more answers", func() bool { return answers.Load() >= n })
	}
	more(300)
	addr := backends[1].Listener.Addr().String()
	backends[1].CloseClientConnections()
	backends[1].Listener.Close()
	eventually(t, "it is seen", func() bool { return state(p, 1) == health.Down })
	after := failures.Load()
	assert.LessOrEqual(t, after, int64(3))
	more(300)
	assert.Equal(t, after, failures.Load(), "a GET failed after the server was out")

	// It comes back at the same place.
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	back := newBackend(t, 1, nil)
	again := &http.Server{Handler: back.Config.Handler}
	wg.Go(func() { again.Serve(l) })
	defer again.Close()
	eventually(t, "it is found", func() bool { return state(p, 1) == health.Up })
	before := [3]int64{backends[0].requests.Load(), back.requests.Load(), backends[2].requests.Load()}
	more(600)
	shares := [3]int64{
		backends[0].requests.Load() - before[0], back.requests.Load() - before[1], backends[2].requests.Load() - before[2],
	}
	for i := range shares {
		assert.InDelta(t, shares[0], shares[i], 20, "%v", shares)
	}
	close(stop)
	again.Close()
	wg.Wait()
	assert.Equal(t, after, failures.Load())
}

func TestServerThatAnswersUnavailableIsOutForATime(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	ill.Store(true)
	a := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	b := newBackend(t, 1, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, a, b)
	for i := 0; state(p, 0) == health.Up; i++ {
		require.Less(t, i, 6)
		get(t, p, "http://pool/")
	}
	require.Equal(t, health.Ejected, state(p, 0))
	st := p.GetServerStats()[0]
	assert.False(t, st.IsHealthy)
	assert.Equal(t, 3, st.FailureCount)
	assert.ErrorContains(t, st.LastError, "status 503")
	m := p.GetMetrics()
	assert.Equal(t, 1, m.HealthyServers)
	assert.Equal(t, 1, m.UnhealthyServers)
	assert.EqualValues(t, 3, m.FailedRequests)
	for range 20 {
		status, _ := get(t, p, "http://pool/")
		require.Equal(t, http.StatusOK, status)
	}
	ill.Store(false)
	eventually(t, "one at a time, then all", func() bool { get(t, p, "http://pool/"); return state(p, 0) == health.Rising })
}

func TestErrorsOfTheApplicationSayNothingOfTheServer(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusNotFound, http.StatusTooManyRequests} {
		b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		p := newPool(t, httppool.HTTPPoolConfig{}, b, newBackend(t, 1, nil))
		for range 20 {
			get(t, p, "http://pool/")
		}
		assert.Equal(t, health.Up, state(p, 0), "%d", status)
	}
}

func TestWhenAllAreDownItIsToldAtOnceAndCured(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	for _, interval := range []time.Duration{-1, time.Hour} {
		p := newPool(t, httppool.HTTPPoolConfig{HealthCheckInterval: interval})
		require.NoError(t, p.AddServer("http://"+addr, 1))
		client := &http.Client{Transport: p}
		eventually(t, "it is down", func() bool {
			_, err := client.Get("http://pool/")
			require.Error(t, err)
			return state(p, 0) == health.Down
		})
		eventually(t, "it is told at once", func() bool {
			began := time.Now()
			_, err = client.Get("http://pool/")
			require.ErrorContains(t, err, "refused")
			return errors.Is(err, balance.ErrNoPoolsAvailable) && time.Since(began) < time.Second
		})
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		served := make(chan struct{})
		go func() { s.Serve(l); close(served) }()
		eventually(t, "it is back", func() bool {
			if resp, err := client.Get("http://pool/"); err == nil {
				resp.Body.Close()
			}
			return state(p, 0) == health.Rising
		})
		shutdown(t, p)
		s.Close()
		<-served
	}
}

func TestChecksTakeAServerOutAndBringItBack(t *testing.T) {
	t.Parallel()
	a, b := newBackend(t, 0, nil), newBackend(t, 1, nil)
	p := newPool(t, httppool.HTTPPoolConfig{HealthCheckInterval: 20 * time.Millisecond, HealthyThreshold: 1}, a, b)
	eventually(t, "both are checked", func() bool { return a.checks.Load() > 2 && b.checks.Load() > 2 })
	require.LessOrEqual(t, a.accepted.Load(), int64(1), "on the same connection")
	var idle []*httppool.HTTPConnection
	for range 60 {
		idle = append(idle, lend(t, p, httppool.ConnectionRequest{}).Connection)
	}
	for _, c := range idle {
		require.NoError(t, p.ReleaseConnection(c))
	}
	eventually(t, "many lie idle", func() bool { return a.open.Load() > 20 })
	a.healthy.Store(false)
	eventually(t, "the check takes it out", func() bool { return state(p, 0) == health.Down })
	st := p.GetServerStats()[0]
	assert.ErrorContains(t, st.LastError, "GET /health: status 500")
	assert.ErrorContains(t, st.LastError, "HealthCheckPath must be")
	assert.False(t, st.LastHealthCheck.IsZero())
	assert.Positive(t, st.ResponseTime)
	eventually(t, "its idle connections are closed", func() bool { return a.open.Load() == 0 })
	for range 10 {
		_, body := get(t, p, "http://pool/")
		require.Equal(t, "1", body)
	}
	a.healthy.Store(true)
	eventually(t, "the check brings it back", func() bool { return state(p, 0) == health.Rising })
	m := p.GetMetrics()
	assert.GreaterOrEqual(t, m.HealthChecksFailed, int64(3))
	assert.Positive(t, m.HealthChecksSuccess)
	assert.EqualValues(t, 10, m.TotalRequests, "checks are none")
}

func TestCheckWaitsForAPlaceLikeAnybody(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxConnectionsPerServer: 1, HealthCheckInterval: 10 * time.Millisecond, HealthCheckTimeout: 30 * time.Millisecond,
	})
	held := make(chan *httppool.ConnectionResponse)
	require.NoError(t, p.AddServer(b.URL, 1))
	go func() { held <- lend(t, p, httppool.ConnectionRequest{}) }()
	c := <-held
	checks := b.checks.Load()
	waiting(t, p, 1)
	waiting(t, p, 0) // it gave up
	waiting(t, p, 1)
	assert.Equal(t, checks, b.checks.Load())
	assert.LessOrEqual(t, b.most.Load(), int64(1))
	assert.Equal(t, health.Up, state(p, 0), "that all connections are taken says nothing of the server")
	require.NoError(t, p.ReleaseConnection(c.Connection))
	eventually(t, "it has its turn", func() bool { return b.checks.Load() > checks })
}

func TestServerThatHangsIsFoundByChecksIfCallersGiveUp(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer hang.Close()
	defer close(block)
	p := newPool(t, httppool.HTTPPoolConfig{HealthCheckInterval: time.Hour, HealthCheckTimeout: 20 * time.Millisecond})
	require.NoError(t, p.AddServer(hang.URL, 1))
	eventually(t, "it is down", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err := p.RoundTrip(mustRequest(t, "http://pool/").WithContext(ctx))
		require.Error(t, err)
		return state(p, 0) == health.Down
	})
}

// TestAnythingAtOnce does everything at once, and looks what is left.
func TestAnythingAtOnce(t *testing.T) {
	backends := make([]*backend, 4)
	for i := range backends {
		backends[i] = newBackend(t, i, func(w http.ResponseWriter, r *http.Request) {
			switch rand.IntN(20) {
			case 0:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 1:
				w.Header().Set("Connection", "close")
			case 2:
				panic(http.ErrAbortHandler)
			case 3:
				<-r.Context().Done()
				return
			}
			io.Copy(w, r.Body)
		})
	}
	for _, strategy := range balance.Strategies() {
		t.Run(string(strategy), func(t *testing.T) { anythingAtOnce(t, strategy, backends) })
	}
}

func anythingAtOnce(t *testing.T, strategy balance.Strategy, backends []*backend) {
	const each, total = 3, 7
	dials := newDials()
	p := newPool(t, httppool.HTTPPoolConfig{
		LoadBalanceStrategy: strategy, MaxConnectionsPerServer: each, MaxTotalConnections: total, MaxIdleConnections: 4,
		HealthCheckInterval: 5 * time.Millisecond, CleanupInterval: time.Millisecond, MaxIdleTime: 5 * time.Millisecond,
		RequestTimeout: 40 * time.Millisecond, DialContext: dials.dial,
	}, backends...)
	began := time.Now()
	goOn := func() bool { // on a busy machine the first one that is answered in time may come late
		took := time.Since(began)
		return took < 300*time.Millisecond || took < patience && p.GetMetrics().SuccessfulRequests == 0
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 7))
			for i := 0; goOn(); i++ {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+r.IntN(30))*time.Millisecond)
				anything(ctx, t, p, r, backends[r.IntN(len(backends))], i)
				cancel()
			}
		})
	}
	wg.Wait()
	shutdown(t, p)
	assert.Zero(t, dials.open[""])
	assert.LessOrEqual(t, dials.most[""], total)
	for addr, most := range dials.most {
		if addr != "" {
			assert.LessOrEqual(t, most, each)
		}
	}
	m := p.GetMetrics()
	assert.Positive(t, m.SuccessfulRequests)
	assert.EqualValues(t, dials.n, m.ConnectionsCreated)
}

// anything does one of the things that can be done with a pool.
func anything(ctx context.Context, t *testing.T, p *httppool.HTTPConnectionPool, r *rand.Rand, b *backend, i int) {
	switch n := r.IntN(100); {
	case n < 2:
		if p.RemoveServer(b.URL) == nil {
			assert.NoError(t, p.AddServer(b.URL, 1))
		}
	case n < 4:
		p.SetWeight(b.URL, 1+r.IntN(5))
		p.GetServerStats()
		p.GetMetrics()
	case n < 30:
		resp, err := p.GetConnection(&httppool.ConnectionRequest{
			Context: ctx, ClientID: fmt.Sprint(i), Priority: r.IntN(4) - 1, ServerHint: b.URL,
		})
		if err != nil {
			return
		}
		for range r.IntN(3) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, resp.Server.URL.String(), nil)
			assert.NoError(t, err)
			if got, err := resp.Connection.Do(req); err == nil {
				got.Body.Close()
			}
		}
		assert.NoError(t, p.ReleaseConnection(resp.Connection))
	default:
		ctx = httppool.WithPriority(httppool.WithClientID(ctx, fmt.Sprint(i)), r.IntN(4)-1)
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://pool/", http.NoBody)
		assert.NoError(t, err)
		if resp, err := p.RoundTrip(req); err == nil {
			if r.IntN(2) == 0 {
				io.Copy(io.Discard, resp.Body)
			}
			resp.Body.Close()
		}
	}
}

func TestWhoWaitsIsToldWhenTheLastServerGoesDown(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{MaxConnectionsPerServer: 1, UnhealthyThreshold: 1}, b)
	held := lend(t, p, httppool.ConnectionRequest{})
	failed := make(chan error)
	go func() {
		_, err := p.GetConnection(&httppool.ConnectionRequest{})
		failed <- err
	}()
	waiting(t, p, 1)
	b.Listener.Close()
	b.CloseClientConnections()
	for range 2 { // the first may be lost with the old socket, which is no proof; the second finds nobody
		_, err := held.Connection.Get(b.URL)
		require.Error(t, err)
	}
	require.ErrorIs(t, <-failed, httppool.ErrNoHealthyServer)
	require.NoError(t, p.ReleaseConnection(held.Connection))
}

// A dialer that ends its goroutine costs the request that it dials for, not the connection's place.
func TestADialerThatEndsItsGoroutineInALeaseCostsNoPlace(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") })
	var dials atomic.Int32
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxTotalConnections: 1, MaxRetries: -1,
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 2 {
				runtime.Goexit()
			}
			return net.Dial(network, addr)
		},
	}, b)
	c := lendUsed(t, p, b)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, b.URL, nil)
		_, err := c.Do(req)
		failed <- err
	}()
	eventually(t, "the dial", func() bool { return dials.Load() == 2 })
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.NoError(t, p.ReleaseConnection(c))
	get(t, p, "http://pool/")
}
