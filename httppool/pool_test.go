package httppool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/httppool"
)

func TestLimitsHoldForSockets(t *testing.T) {
	const each, total, callers = 4, 6, 40
	release := make(chan struct{})
	hold := func(w http.ResponseWriter, r *http.Request) { <-release; fmt.Fprint(w, "x") }
	backends := []*backend{newBackend(t, 0, hold), newBackend(t, 1, hold)}
	dials := newDials()
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxConnectionsPerServer: each, MaxTotalConnections: total, DialContext: dials.dial,
	}, backends...)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range 5 {
				resp, err := (&http.Client{Transport: p}).Get("http://pool/")
				if !assert.NoError(t, err) {
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				assert.NoError(t, err)
				assert.NoError(t, resp.Body.Close())
			}
		})
	}
	waiting(t, p, callers-total)
	eventually(t, "the sockets are accepted", func() bool {
		return backends[0].open.Load()+backends[1].open.Load() == total
	})
	eventually(t, "so does the pool", func() bool { return p.GetMetrics().ActiveConnections == total })
	assert.EqualValues(t, total, p.GetMetrics().TotalConnections)
	assert.InDelta(t, 1, p.GetMetrics().PoolUtilization, 0)
	close(release)
	wg.Wait()
	assert.EqualValues(t, total, dials.most[""])
	for _, b := range backends {
		assert.LessOrEqual(t, dials.most[b.Listener.Addr().String()], each)
	}
	m := p.GetMetrics()
	assert.EqualValues(t, callers*5, m.SuccessfulRequests)
	assert.EqualValues(t, dials.n, m.ConnectionsCreated)
	assert.EqualValues(t, backends[0].accepted.Load()+backends[1].accepted.Load(), m.ConnectionsCreated)
	assert.EqualValues(t, callers*5, m.ConnectionsReused+m.ConnectionsCreated)
	assert.Less(t, m.ConnectionsCreated, int64(callers*5/4))
}

// dials counts sockets where they are opened and closed: by address, and all under "".
type dials struct {
	mu         sync.Mutex
	n          int
	open, most map[string]int
}

func newDials() *dials { return &dials{open: make(map[string]int), most: make(map[string]int)} }

func (d *dials) count(addr string, by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range []string{"", addr} {
		d.open[key] += by
		d.most[key] = max(d.most[key], d.open[key])
	}
}

// dialled is a socket that dials counts until its Close returns.
type dialled struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *dialled) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.gone)
	return err
}

func (d *dials) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.count(addr, 1) // a dial takes a place, too
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		d.count(addr, -1)
		return nil, err
	}
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
	return &dialled{Conn: nc, gone: func() { d.count(addr, -1) }}, nil
}

func TestIdleConnectionOfAnotherServerMakesRoom(t *testing.T) {
	a, b := newBackend(t, 0, nil), newBackend(t, 1, nil)
	p := newPool(t, httppool.HTTPPoolConfig{MaxTotalConnections: 1}, a, b)
	for range 10 {
		get(t, p, "http://pool/")
		require.LessOrEqual(t, p.GetMetrics().TotalConnections, int64(1))
	}
	assert.EqualValues(t, 5, a.requests.Load())
	assert.EqualValues(t, 5, b.requests.Load())
	eventually(t, "all but one are closed", func() bool { return a.open.Load()+b.open.Load() == 1 })
}

func TestWhoWaitsLongerGoesFirstAndHigherPrioritiesBefore(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{MaxConnectionsPerServer: 1}, newBackend(t, 0, nil))
	held := lend(t, p, httppool.ConnectionRequest{})
	order := make(chan string, 100)
	var wg sync.WaitGroup
	n := 0
	queue := func(name string, priority int) {
		n++
		wg.Go(func() {
			resp, err := p.GetConnection(&httppool.ConnectionRequest{Priority: priority})
			if assert.NoError(t, err) {
				order <- name
				assert.True(t, resp.FromPool)
				assert.Positive(t, resp.WaitTime)
				assert.NoError(t, p.ReleaseConnection(resp.Connection))
			}
		})
		waiting(t, p, n)
	}
	queue("low", -7)
	queue("a", 0)
	queue("b", 0)
	queue("high", 1)
	queue("c", 0)
	queue("higher", 99)
	for i := range 10 {
		queue(fmt.Sprint("high ", i), 1)
	}
	require.NoError(t, p.ReleaseConnection(held.Connection))
	wg.Wait()
	close(order)
	var got []string
	for name := range order {
		got = append(got, name)
	}
	assert.Equal(t, []string{
		"higher", "high", "high 0", "high 1", "high 2", "high 3", "high 4", "high 5",
		"low", "a", // passed over for eight times
		"high 6", "high 7", "high 8", "high 9", "b", "c",
	}, got)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{MaxConnectionsPerServer: 1}, newBackend(t, 0, nil))
	held := lend(t, p, httppool.ConnectionRequest{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := p.GetConnection(&httppool.ConnectionRequest{Context: ctx})
		failed <- err
	}()
	waiting(t, p, 1)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	waiting(t, p, 0)

	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.GetConnection(&httppool.ConnectionRequest{Context: ctx})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	require.EqualValues(t, 1, p.GetMetrics().TimeoutErrors)
	require.NoError(t, p.ReleaseConnection(held.Connection))
}

func TestWhatIsGrantedToOneWhoGivesUpIsNotLost(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{MaxConnectionsPerServer: 1}, newBackend(t, 0, nil))
	for range 500 {
		held := lend(t, p, httppool.ConnectionRequest{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if resp, err := p.GetConnection(&httppool.ConnectionRequest{Context: ctx}); err == nil {
				assert.NoError(t, p.ReleaseConnection(resp.Connection))
			}
		})
		waiting(t, p, 1)
		wg.Go(cancel)
		require.NoError(t, p.ReleaseConnection(held.Connection))
		wg.Wait()
	}
}

func TestConnectionIsLentOnceAtATime(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	first := lend(t, p, httppool.ConnectionRequest{})
	require.False(t, first.FromPool)
	require.EqualValues(t, 1, p.GetMetrics().ActiveConnections)
	for range 3 {
		resp, err := first.Connection.Get(b.URL + "/x")
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.EqualValues(t, 1, b.accepted.Load())
	require.NoError(t, p.ReleaseConnection(first.Connection))
	require.ErrorIs(t, p.ReleaseConnection(first.Connection), httppool.ErrReleased)
	require.EqualValues(t, 1, p.GetMetrics().IdleConnections)

	second := lend(t, p, httppool.ConnectionRequest{})
	require.True(t, second.FromPool)
	_, err := first.Connection.Get(b.URL)
	require.ErrorIs(t, err, httppool.ErrReleased, "it is another's now")
	unread, err := second.Connection.Client().Get(b.URL)
	require.NoError(t, err)
	require.NoError(t, p.ReleaseConnection(second.Connection), "with a response that is not read")
	require.NoError(t, unread.Body.Close())
	require.EqualValues(t, 0, p.GetMetrics().TotalConnections, "nobody may get the rest of it")

	require.ErrorContains(t, p.ReleaseConnection(nil), "HTTPConnection is nil")
	other := newPool(t, httppool.HTTPPoolConfig{}, b)
	foreign := lend(t, other, httppool.ConnectionRequest{})
	require.ErrorContains(t, p.ReleaseConnection(foreign.Connection), "another pool's")
	require.NoError(t, other.ReleaseConnection(foreign.Connection))
}

func TestConnectionTalksToItsServerAlone(t *testing.T) {
	a, b := newBackend(t, 0, nil), newBackend(t, 1, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, a)
	c := lend(t, p, httppool.ConnectionRequest{})
	_, err := c.Connection.Get(b.URL)
	require.ErrorIs(t, err, httppool.ErrOtherHost)
	_, err = c.Connection.Do(nil)
	require.ErrorContains(t, err, "Request is nil")
	require.NoError(t, p.ReleaseConnection(c.Connection))
}

func TestIdleConnectionsAreBoundedAndGrowOld(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxIdleConnections: 2, MaxIdleTime: 50 * time.Millisecond, CleanupInterval: 10 * time.Millisecond,
	}, b)
	var all []*httppool.HTTPConnection
	for range 5 {
		all = append(all, lend(t, p, httppool.ConnectionRequest{}).Connection)
	}
	require.EqualValues(t, 5, p.GetMetrics().TotalConnections)
	for _, c := range all {
		require.NoError(t, p.ReleaseConnection(c))
	}
	require.LessOrEqual(t, p.GetMetrics().IdleConnections, int64(2))
	eventually(t, "they are closed", func() bool { return p.GetMetrics().TotalConnections == 0 && b.open.Load() == 0 })

	p = newPool(t, httppool.HTTPPoolConfig{IdleConnTimeout: time.Nanosecond}, b)
	get(t, p, "http://pool/")
	get(t, p, "http://pool/")
	require.Zero(t, p.GetMetrics().ConnectionsReused, "too old to be handed out, and not cleaned up yet")
	require.LessOrEqual(t, p.GetMetrics().TotalConnections, int64(1))

	p = newPool(t, httppool.HTTPPoolConfig{}, b)
	client := &http.Client{Transport: p}
	get(t, p, "http://pool/")
	require.EqualValues(t, 1, p.GetMetrics().IdleConnections)
	client.CloseIdleConnections()
	require.Zero(t, p.GetMetrics().TotalConnections)

	p = newPool(t, httppool.HTTPPoolConfig{MaxIdleConnections: -1}, b)
	get(t, p, "http://pool/")
	require.Zero(t, p.GetMetrics().TotalConnections)
}

func TestServerThatClosesIdleConnectionsIsNoFailure(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	for range 20 {
		get(t, p, "http://pool/")
		unused := lend(t, p, httppool.ConnectionRequest{}) // net/http does not watch over this one
		require.NoError(t, p.ReleaseConnection(unused.Connection))
		b.CloseClientConnections()
		eventually(t, "all are closed", func() bool { return b.open.Load() == 0 })
		resp, err := (&http.Client{Transport: p}).Post("http://pool/", "", nil) // may not be repeated
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	eventually(t, "the pool sees the end", func() bool { return p.GetMetrics().TotalConnections <= 1 })
	m := p.GetMetrics()
	assert.EqualValues(t, 40, m.SuccessfulRequests)
	assert.Zero(t, m.RetriedRequests)
}

func TestStrategiesOfTheConstants(t *testing.T) {
	for _, c := range []struct {
		strategy httppool.LoadBalanceStrategy
		text     string
	}{
		{httppool.RoundRobin, "round_robin"}, {httppool.LeastConn, "least_conn"}, {httppool.TwoChoices, "two_choices"},
		{httppool.WeightedRound, "weighted_round"}, {httppool.Random, "random"}, {httppool.IPHash, "ip_hash"},
	} {
		require.Equal(t, c.text, string(c.strategy))
		p := newPool(t, httppool.HTTPPoolConfig{LoadBalanceStrategy: c.strategy})
		backends := []*backend{newBackend(t, 0, nil), newBackend(t, 1, nil)}
		weight := 3
		if c.strategy == httppool.IPHash {
			weight = 1 // or all of so few clients are the first's, once in 300 times
		}
		require.NoError(t, p.AddServer(backends[0].URL, weight))
		require.NoError(t, p.AddServer(backends[1].URL, 1))
		for i := range 40 {
			ctx := httppool.WithClientID(t.Context(), fmt.Sprint("client ", i%20))
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/", nil)
			require.NoError(t, err)
			resp, err := p.RoundTrip(req)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}
		first := backends[0].requests.Load()
		switch c.strategy {
		case httppool.RoundRobin:
			assert.EqualValues(t, 20, first)
		case httppool.WeightedRound, httppool.LeastConn:
			assert.EqualValues(t, 30, first, c.text)
		case httppool.IPHash:
			assert.Zero(t, first%2, "each client came twice, to the same server")
		}
		assert.Positive(t, first)
		assert.Less(t, first, int64(40))
	}
}

func TestClientAndHintStayWithTheirServer(t *testing.T) {
	backends := []*backend{newBackend(t, 0, nil), newBackend(t, 1, nil), newBackend(t, 2, nil)}
	p := newPool(t, httppool.HTTPPoolConfig{LoadBalanceStrategy: httppool.IPHash}, backends...)
	server := lendAndRelease(t, p, httppool.ConnectionRequest{ClientID: "user-123"})
	for range 10 {
		require.Equal(t, server, lendAndRelease(t, p, httppool.ConnectionRequest{ClientID: "user-123"}))
	}
	require.NoError(t, p.RemoveServer(server))
	require.NotEqual(t, server, lendAndRelease(t, p, httppool.ConnectionRequest{ClientID: "user-123"}))

	p = newPool(t, httppool.HTTPPoolConfig{}, backends...)
	for range 10 {
		require.Equal(t, backends[1].URL, lendAndRelease(t, p, httppool.ConnectionRequest{ServerHint: backends[1].URL}))
	}
	require.NoError(t, p.RemoveServer(backends[1].URL))
	require.NotEqual(t, backends[1].URL, lendAndRelease(t, p, httppool.ConnectionRequest{ServerHint: backends[1].URL}))
}

func lendAndRelease(t *testing.T, p *httppool.HTTPConnectionPool, req httppool.ConnectionRequest) string {
	t.Helper()
	resp := lend(t, p, req)
	require.NoError(t, p.ReleaseConnection(resp.Connection))
	return resp.Server.URL.String()
}

func TestRemovedServerFinishesWhatItHas(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	a := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { entered <- struct{}{}; <-release; fmt.Fprint(w, "done") })
	b := newBackend(t, 1, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, a)
	done := make(chan string)
	go func() { _, body := get(t, p, "http://pool/"); done <- body }()
	<-entered
	require.NoError(t, p.AddServer(b.URL, 1))
	require.NoError(t, p.RemoveServer(a.URL))
	for range 4 {
		_, body := get(t, p, "http://pool/")
		require.Equal(t, "1", body)
	}
	close(release)
	require.Equal(t, "done", <-done)
	eventually(t, "its connection is closed", func() bool { return a.open.Load() == 0 })
	require.ErrorContains(t, p.RemoveServer(a.URL), "is not a server of the pool")
	require.NoError(t, p.AddServer(a.URL, 1), "it may come back")
}

func TestNoServerIsTold(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{})
	_, err := p.GetConnection(&httppool.ConnectionRequest{})
	require.ErrorIs(t, err, httppool.ErrNoHealthyServer)
	require.ErrorIs(t, err, balance.ErrNoPoolsAvailable)
	require.ErrorContains(t, err, "call AddServer")
}

func TestShutdownDrains(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { entered <- struct{}{}; <-release; fmt.Fprint(w, "done") })
	p := newPool(t, httppool.HTTPPoolConfig{MaxConnectionsPerServer: 1}, b)
	done := make(chan string)
	go func() { _, body := get(t, p, "http://pool/"); done <- body }()
	<-entered
	refused := make(chan error)
	go func() {
		_, err := p.GetConnection(&httppool.ConnectionRequest{})
		refused <- err
	}()
	waiting(t, p, 1)
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- p.Shutdown(context.Background()) }()
	}
	require.ErrorIs(t, <-refused, httppool.ErrClosed)
	_, err := p.GetConnection(&httppool.ConnectionRequest{})
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, p.AddServer("http://a.example", 1), httppool.ErrClosed)
	require.Empty(t, closed)
	close(release)
	require.Equal(t, "done", <-done)
	require.NoError(t, <-closed)
	require.NoError(t, <-closed)
	require.Zero(t, p.GetMetrics().TotalConnections)
	var none context.Context
	require.NoError(t, p.Shutdown(none), "nothing ends it")
}

func TestShutdownCutsOffWhenItsContextEnds(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	b := newBackend(t, 0, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release })
	defer close(release)
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	failed := make(chan error)
	go func() {
		_, err := (&http.Client{Transport: p}).Post("http://pool/", "", nil)
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.Shutdown(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "1 connections were in use")
	require.Error(t, <-failed)
}

func TestDialerThatDoesNotReturnHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxConnectionsPerServer: 1, ConnectTimeout: 20 * time.Millisecond, MaxRetries: -1,
		DialContext: func(context.Context, string, string) (net.Conn, error) { <-release; return nil, errors.New("late") },
	})
	require.NoError(t, p.AddServer("http://a.example", 1))
	_, err := p.GetConnection(&httppool.ConnectionRequest{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "ConnectTimeout")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = p.GetConnection(&httppool.ConnectionRequest{Context: ctx})
	require.ErrorIs(t, err, context.DeadlineExceeded, "its place is taken until it returns")
	close(release)
}

func TestResponseThatIsNotReadToItsEndCostsItsConnection(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	for i := range 5 {
		resp, err := (&http.Client{Transport: p}).Get("http://pool/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Zero(t, p.GetMetrics().TotalConnections, "at once")
		c := lend(t, p, httppool.ConnectionRequest{})
		require.False(t, c.FromPool)
		resp, err = c.Connection.Get(b.URL)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		resp, err = c.Connection.Get(b.URL)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, p.ReleaseConnection(c.Connection))
		require.EqualValues(t, 1, p.GetMetrics().IdleConnections)
		get(t, p, "http://pool/")
		require.EqualValues(t, i+1, p.GetMetrics().ConnectionsReused)
		b.CloseClientConnections()
		eventually(t, "the pool sees it", func() bool { return p.GetMetrics().TotalConnections == 0 })
	}
}

func TestRedialInsideOfALeaseKeepsThePlaceUntilItEnds(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") })
	began, release := make(chan struct{}), make(chan struct{})
	first := true
	p := newPool(t, httppool.HTTPPoolConfig{
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			if !first {
				began <- struct{}{}
				<-release
			}
			first = false
			return net.Dial(network, addr)
		},
	}, b)
	c := lendUsed(t, p, b)
	failed := make(chan error)
	go func() {
		_, err := c.Get(b.URL)
		failed <- err
	}()
	<-began
	require.NoError(t, p.ReleaseConnection(c))
	require.Equal(t, 1, p.GetServerStats()[0].CurrentConnections, "there may be a socket any moment")
	close(release)
	require.Error(t, <-failed)
	eventually(t, "the socket that came too late is closed", func() bool {
		return p.GetServerStats()[0].CurrentConnections == 0 && p.GetMetrics().TotalConnections == 0
	})
}

func TestConnectionThatComesTooLateServesAnother(t *testing.T) {
	b := newBackend(t, 0, nil)
	began, release := make(chan struct{}), make(chan struct{})
	p := newPool(t, httppool.HTTPPoolConfig{
		MaxConnectionsPerServer: 1, UnhealthyThreshold: 1,
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			began <- struct{}{}
			<-release
			return net.Dial(network, addr)
		},
	}, b)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := p.GetConnection(&httppool.ConnectionRequest{Context: ctx})
		failed <- err
	}()
	<-began
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.True(t, p.GetServerStats()[0].IsHealthy, "that its caller gave up says nothing of the server")
	got := make(chan *httppool.ConnectionResponse)
	go func() { got <- lend(t, p, httppool.ConnectionRequest{}) }()
	waiting(t, p, 1)
	close(release)
	resp := <-got
	assert.True(t, resp.FromPool)
	require.NoError(t, p.ReleaseConnection(resp.Connection))
	eventually(t, "one was accepted", func() bool { return b.accepted.Load() == 1 })
}
