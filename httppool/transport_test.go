package httppool_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
)

func TestRequestGoesToTheChosenServerAsItsOwn(t *testing.T) {
	seen := make(chan *http.Request, 10)
	a := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { seen <- r })
	p := newPool(t, httppool.HTTPPoolConfig{Name: "backends"}, a)
	for _, target := range []string{"http://backends/x?q=1", "http://BACKENDS/x?q=1", a.URL + "/x?q=1"} {
		req, err := http.NewRequest(http.MethodGet, target, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "secret")
		resp, err := p.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		got := <-seen
		assert.Equal(t, a.Listener.Addr().String(), got.Host)
		assert.Equal(t, "/x?q=1", got.RequestURI)
		assert.Equal(t, "secret", got.Header.Get("Authorization"))
		assert.Equal(t, target, req.URL.String(), "the caller's request is not changed")
		assert.Equal(t, a.URL+"/x?q=1", resp.Request.URL.String(), "the one that was sent")
	}
}

func TestOtherHostsGetNothing(t *testing.T) {
	other := newBackend(t, 9, nil)
	a := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/", http.StatusFound)
		case "/on":
			http.Redirect(w, r, "/end", http.StatusFound)
		default:
			fmt.Fprint(w, "end")
		}
	})
	p := newPool(t, httppool.HTTPPoolConfig{}, a)
	client := &http.Client{Transport: p}
	_, err := client.Get("http://pool/away")
	require.ErrorIs(t, err, httppool.ErrOtherHost)
	_, err = client.Get(other.URL)
	require.ErrorIs(t, err, httppool.ErrOtherHost)
	_, err = client.Get(strings.Replace(a.URL, "http:", "https:", 1))
	require.ErrorIs(t, err, httppool.ErrOtherHost, "another scheme is another server")
	require.Zero(t, other.accepted.Load())
	_, body := get(t, p, "http://pool/on")
	require.Equal(t, "end", body)

	lent := lend(t, p, httppool.ConnectionRequest{})
	_, err = lent.Connection.Get(a.URL + "/away")
	require.ErrorIs(t, err, httppool.ErrOtherHost)
	require.NoError(t, p.ReleaseConnection(lent.Connection))
}

func TestRequestsThatMakeNoSenseCloseTheirBody(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{})
	_, err := p.RoundTrip(nil)
	require.ErrorContains(t, err, "Request is nil")
	for _, u := range []*url.URL{nil, {Scheme: "ftp", Host: "pool"}, {Scheme: "http", Host: "elsewhere"}, {Scheme: "http", Host: "pool"}} {
		body := &closable{Reader: strings.NewReader("x")}
		_, err := p.RoundTrip(&http.Request{Method: http.MethodPost, URL: u, Body: body})
		require.Error(t, err)
		assert.True(t, body.closed.Load(), "%v", u)
	}
}

type closable struct {
	io.Reader
	closed atomic.Bool
}

func (c *closable) Close() error { c.closed.Store(true); return nil }

// secure starts a TLS server with httptest's certificate, which is for example.com, too.
func secure(t *testing.T) (*httptest.Server, *tls.Config, *atomic.Pointer[string]) {
	name := new(atomic.Pointer[string])
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name.Store(&r.TLS.ServerName)
		fmt.Fprint(w, r.Proto, " ", r.Host)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, &tls.Config{RootCAs: roots}, name
}

func TestTLSIsTheServersOwn(t *testing.T) {
	s, config, name := secure(t)
	p := newPool(t, httppool.HTTPPoolConfig{
		TLSConfig: config,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "example.com:443" {
				return nil, fmt.Errorf("dialled %s", addr)
			}
			return net.Dial(network, s.Listener.Addr().String())
		},
		HealthCheckInterval: time.Second,
	})
	require.NoError(t, p.AddServer("https://example.com", 1))
	for _, target := range []string{"http://pool/", "https://pool/", "https://example.com/", "https://example.com:443/"} {
		resp, err := (&http.Client{Transport: p}).Get(target)
		require.NoError(t, err, target)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "HTTP/1.1 example.com", string(body))
		assert.Equal(t, "example.com", *name.Load(), "SNI")
		require.NotNil(t, resp.TLS)
		assert.Equal(t, "example.com", resp.TLS.PeerCertificates[0].DNSNames[0])
	}
	eventually(t, "checks use TLSConfig", func() bool { return p.GetMetrics().HealthChecksSuccess > 0 })
	assert.Empty(t, config.NextProtos, "the caller's config is not changed")

	p = newPool(t, httppool.HTTPPoolConfig{MaxRetries: -1}) // trusts no such certificate
	require.NoError(t, p.AddServer(s.URL, 1))
	_, err := (&http.Client{Transport: p}).Get("https://pool/")
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown)
	assert.Zero(t, p.GetMetrics().TotalConnections)
}

func TestHTTPSNeverGoesToAServerWithoutIt(t *testing.T) {
	plain := newBackend(t, 0, nil)
	s, config, _ := secure(t)
	p := newPool(t, httppool.HTTPPoolConfig{TLSConfig: config}, plain)
	_, err := (&http.Client{Transport: p}).Get("https://pool/")
	require.ErrorIs(t, err, httppool.ErrNoHealthyServer)
	require.ErrorContains(t, err, "asks for https")
	require.NoError(t, p.AddServer(s.URL, 1))
	for range 10 {
		get(t, p, "https://pool/")
	}
	assert.Zero(t, plain.requests.Load())
}

// dead returns the URL of a server that refuses connections.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

func TestWhatWasNeverWrittenIsRepeatedElsewhere(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000})
	require.NoError(t, p.AddServer(dead(t), 1))
	require.NoError(t, p.AddServer(dead(t), 1))
	require.NoError(t, p.AddServer(b.URL, 1))
	for i := range 12 {
		// A body that cannot be had again is no obstacle: nobody has taken it.
		body := io.NopCloser(strings.NewReader(fmt.Sprint("request ", i)))
		resp, err := (&http.Client{Transport: p}).Post("http://pool/", "", body)
		require.NoError(t, err)
		echo, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, fmt.Sprint("request ", i), string(echo))
		c := lend(t, p, httppool.ConnectionRequest{})
		require.Equal(t, b.URL, c.Server.URL.String())
		require.NoError(t, p.ReleaseConnection(c.Connection))
	}
	m := p.GetMetrics()
	assert.EqualValues(t, 12, m.SuccessfulRequests)
	assert.Zero(t, m.FailedRequests)
	assert.Positive(t, m.ConnectionErrors)
	assert.Equal(t, m.ConnectionErrors, m.RetriedRequests)
}

// cutter is a server that reads a request and closes the connection, as often as it says.
func cutter(t *testing.T) (url string, requests *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	requests = new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
					requests.Add(1)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String(), requests
}

func TestWhatWasWrittenIsRepeatedOnlyIfThatIsSafe(t *testing.T) {
	for _, c := range []struct {
		method, key string
		body        io.Reader
		repeated    bool
	}{
		{http.MethodGet, "", nil, true},
		{http.MethodHead, "", nil, true},
		{http.MethodDelete, "", nil, true},
		{http.MethodPut, "", strings.NewReader("again"), true},
		{http.MethodPut, "", io.NopCloser(strings.NewReader("not again")), false},
		{http.MethodPost, "", nil, false},
		{http.MethodPatch, "", strings.NewReader("x"), false},
		{http.MethodPost, "key-1", strings.NewReader("x"), true},
	} {
		t.Run(fmt.Sprintf("%s %q %T", c.method, c.key, c.body), func(t *testing.T) {
			var got atomic.Pointer[string]
			b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				text := string(body)
				got.Store(&text)
			})
			p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000}, b)
			bad, cut := cutter(t)
			require.NoError(t, p.AddServer(bad, 1))
			for failed := 0; cut.Load() == 0; failed++ {
				require.Less(t, failed, 3)
				req, err := http.NewRequest(c.method, "http://pool/", c.body)
				require.NoError(t, err)
				if c.key != "" {
					req.Header.Set("Idempotency-Key", c.key)
				}
				resp, err := p.RoundTrip(req)
				if err == nil {
					require.NoError(t, resp.Body.Close())
				}
				if cut.Load() == 0 {
					require.NoError(t, err)
					if s, ok := c.body.(*strings.Reader); ok {
						_, err := s.Seek(0, io.SeekStart)
						require.NoError(t, err)
					}
					continue
				}
				if c.repeated {
					require.NoError(t, err)
				} else {
					require.Error(t, err)
				}
			}
			assert.EqualValues(t, 1, cut.Load(), "once to each server")
			if c.repeated && c.body != nil {
				want := "again"
				if c.key != "" {
					want = "x"
				}
				assert.Equal(t, want, *got.Load())
			}
		})
	}
}

func TestRepetitionsOfWrittenRequestsAreAFifth(t *testing.T) {
	bad, cut := cutter(t)
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000})
	require.NoError(t, p.AddServer(bad, 1))
	const n = 60
	for range n {
		_, err := p.RoundTrip(mustRequest(t, "http://pool/"))
		require.Error(t, err)
	}
	assert.LessOrEqual(t, cut.Load(), int64(n+n/5+10), "ten are for those that have made few requests")
	assert.Greater(t, cut.Load(), int64(n+n/5))
}

func mustRequest(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	return req
}

func TestNothingIsRepeatedBeyondItsContext(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1000, MaxRetries: 100})
	require.NoError(t, p.AddServer(dead(t), 1))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	req := mustRequest(t, "http://pool/").WithContext(ctx)
	_, err := p.RoundTrip(req)
	require.Error(t, err)
	require.Error(t, ctx.Err(), "it was tried until then")
	require.Less(t, p.GetMetrics().ConnectionErrors, int64(20), "with pauses")
}

func TestRequestTimeoutBoundsTheWholeRequest(t *testing.T) {
	block := make(chan struct{})
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		<-block
	})
	defer close(block)
	p := newPool(t, httppool.HTTPPoolConfig{RequestTimeout: 30 * time.Millisecond, MaxConnectionsPerServer: 1, UnhealthyThreshold: 1000}, b)
	check := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var ne net.Error
		require.ErrorAs(t, err, &ne)
		require.True(t, ne.Timeout())
	}
	_, err := (&http.Client{Transport: p}).Get("http://pool/header")
	check(err)
	resp, err := (&http.Client{Transport: p}).Get("http://pool/body")
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	check(err)
	require.NoError(t, resp.Body.Close())
	held := lend(t, p, httppool.ConnectionRequest{})
	_, err = (&http.Client{Transport: p}).Get("http://pool/waits")
	check(err)
	_, err = held.Connection.Get(b.URL + "/header")
	check(err)
	require.NoError(t, p.ReleaseConnection(held.Connection))
	require.EqualValues(t, 1, p.GetServerStats()[0].SuccessfulRequests)
}

func TestCallersBodyThatFailsSaysNothingOfTheServer(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	p := newPool(t, httppool.HTTPPoolConfig{UnhealthyThreshold: 1}, b)
	broken := errors.New("broken")
	for range 5 {
		_, err := (&http.Client{Transport: p}).Post("http://pool/", "", io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{broken})))
		require.ErrorIs(t, err, broken)
	}
	assert.Equal(t, health.Up, p.GetServerStats()[0].State)
	assert.Zero(t, p.GetMetrics().RetriedRequests)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestUpgradedConnectionCanBeWritten(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer nc.Close()
		fmt.Fprint(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, err := rw.ReadString('\n')
		assert.NoError(t, err)
		fmt.Fprint(nc, line)
	})
	p := newPool(t, httppool.HTTPPoolConfig{}, b)
	req := mustRequest(t, "http://pool/")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := p.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	_, err = resp.Body.(io.Writer).Write([]byte("hello\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
	require.EqualValues(t, 1, p.GetMetrics().ActiveConnections)
	require.NoError(t, resp.Body.Close())
	eventually(t, "it is closed", func() bool { return p.GetMetrics().TotalConnections == 0 })
}
