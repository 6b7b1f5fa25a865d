package httppool_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
)

// A connection that was kept alive may end before the next response. net/http repeats such a request
// by itself, unseen by whoever counts; the pool does not let it.

// secondCutter is a backend that answers the first request of each connection, and closes the
// connection in place of answering the second.
func secondCutter(t testing.TB, id int) (b *backend, hits *atomic.Int64) {
	t.Helper()
	var seen sync.Map // remote address
	hits = new(atomic.Int64)
	return newBackend(t, id, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if _, again := seen.LoadOrStore(r.RemoteAddr, true); !again {
			return
		}
		nc, _, err := w.(http.Hijacker).Hijack()
		assert.NoError(t, err)
		assert.NoError(t, nc.Close())
	}), hits
}

func TestOnlyThePoolRepeatsWhatIsLostOnAKeptConnection(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			b, hits := secondCutter(t, 0)
			p := newPool(t, httppool.HTTPPoolConfig{MaxRetries: -1}, b)
			get(t, p, "http://pool/")
			req, err := http.NewRequest(method, "http://pool/", http.NoBody)
			require.NoError(t, err)
			req.Header["Idempotency-Key"] = []string{"1"}
			_, err = p.RoundTrip(req)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.EqualValues(t, 2, hits.Load(), "once each")
			m := p.GetMetrics()
			assert.Zero(t, m.RetriedRequests)
			assert.EqualValues(t, 2, m.RequestsPerServer[b.URL])
		})
	}
}

func TestALentConnectionRepeatsNothing(t *testing.T) {
	b, hits := secondCutter(t, 0)
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	c := lendUsed(t, p, b)
	_, err := c.Get(b.URL)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualValues(t, 2, hits.Load(), "once each")
	resp, err := c.Get(b.URL)
	require.NoError(t, err, "on another socket")
	require.NoError(t, resp.Body.Close())
	require.NoError(t, p.ReleaseConnection(c))
}

// Of what is lost on kept connections a fifth is repeated, too, and what is not is counted.
func TestTheBudgetHoldsForKeptConnections(t *testing.T) {
	const n = 300
	a, hitsA := secondCutter(t, 0)
	b, hitsB := secondCutter(t, 1)
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000}, a, b)
	failed := 0
	for range n {
		resp, err := p.RoundTrip(mustRequest(t, "http://pool/"))
		if err != nil {
			failed++
			continue
		}
		require.NoError(t, resp.Body.Close())
	}
	m, hits := p.GetMetrics(), hitsA.Load()+hitsB.Load()
	assert.Equal(t, hits, n+m.RetriedRequests, "all are counted")
	assert.LessOrEqual(t, hits, int64(n+n/5+10), "ten are for those that have made few requests")
	assert.EqualValues(t, failed, m.RetriesDenied)
	assert.Positive(t, failed, "half of the requests are lost")
}

// A request that ends its connection is no proof that the server cannot be reached: what others
// ask for is answered.
func TestARequestThatEndsItsConnectionTakesNobodyOut(t *testing.T) {
	boom := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/boom" {
			panic(http.ErrAbortHandler)
		}
	}
	backends := []*backend{newBackend(t, 0, boom), newBackend(t, 1, boom), newBackend(t, 2, boom)}
	for n := 1; n <= len(backends); n++ {
		p := newPool(t, httppool.HTTPPoolConfig{}, backends[:n]...)
		for range 20 {
			_, err := p.RoundTrip(mustRequest(t, "http://pool/boom"))
			require.Error(t, err)
			code, _ := get(t, p, "http://pool/ok")
			require.Equal(t, http.StatusOK, code)
		}
		assert.GreaterOrEqual(t, p.GetMetrics().HealthyServers, (n+1)/2, "half of them at most are out")
	}
}

// A wait is counted as well when the first server could not be reached.
func TestAWaitThatEndsElsewhereIsCounted(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000}, b)
	require.NoError(t, p.AddServer(dead(t), 1))
	const n = 10
	for range n {
		get(t, p, "http://pool/")
	}
	m := p.GetMetrics()
	assert.Positive(t, m.ConnectionErrors)
	assert.EqualValues(t, n, m.TotalWaits)
}

// Many may use a lent connection, one after the other, also when the server closes it each time.
func TestExchangesOfALentConnectionTakeTurns(t *testing.T) {
	var now, most atomic.Int64
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		w.Header().Set("Connection", "close")
		_, err := io.Copy(w, r.Body)
		assert.NoError(t, err)
	})
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	c := lend(t, p, httppool.ConnectionRequest{}).Connection
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				req, err := http.NewRequest(http.MethodPost, b.URL, strings.NewReader("x"))
				if !assert.NoError(t, err) {
					return
				}
				resp, err := c.Do(req)
				if !assert.NoError(t, err) {
					return
				}
				body, err := io.ReadAll(resp.Body)
				assert.NoError(t, err)
				assert.Equal(t, "x", string(body))
				assert.NoError(t, resp.Body.Close())
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, most.Load())
	require.NoError(t, p.ReleaseConnection(c))
}

// Who waits for its turn on a lent connection waits no longer than its deadline.
func TestATurnOnALentConnectionIsWaitedForWithinTheTimeout(t *testing.T) {
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{RequestTimeout: 50 * time.Millisecond}, b)
	c := lend(t, p, httppool.ConnectionRequest{}).Connection
	resp, err := c.Get(b.URL) // whose body is not closed
	require.NoError(t, err)
	_, err = c.Get(b.URL)
	var timeout interface{ Timeout() bool }
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, p.ReleaseConnection(c))
}
