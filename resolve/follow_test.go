package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/resolve"
)

// script is a Resolver that yields its sets; a nil one is the error errScript.
type script [][]resolve.Endpoint

var errScript = errors.New("name server is away")

func (s script) Watch(context.Context) iter.Seq2[[]resolve.Endpoint, error] {
	return func(yield func([]resolve.Endpoint, error) bool) {
		for _, set := range s {
			var err error
			if set == nil {
				err = errScript
			}
			if !yield(set, err) {
				return
			}
		}
	}
}

// fleet is Servers that notes what is done to it. refused are the changes that fail.
type fleet struct {
	log     []string
	refused map[string]bool
}

var errRefused = errors.New("refused")

func (f *fleet) do(change string) error {
	if f.refused[change] {
		return errRefused
	}
	f.log = append(f.log, change)
	return nil
}

func (f *fleet) AddServer(addr string, weight int) error {
	return f.do(fmt.Sprintf("+%s*%d", addr, weight))
}

func (f *fleet) SetWeight(addr string, weight int) error {
	return f.do(fmt.Sprintf("=%s*%d", addr, weight))
}
func (f *fleet) RemoveServer(addr string) error { return f.do("-" + addr) }

// follow follows a script and returns what was told.
func (f *fleet) follow(t *testing.T, cfg resolve.FollowConfig, s script) (told []error) {
	t.Helper()
	cfg.OnError = func(err error) { told = append(told, err) }
	require.NoError(t, resolve.Follow(t.Context(), s, f, cfg))
	return told
}

func TestFollowChangesWhatDiffersNewOnesFirst(t *testing.T) {
	var f fleet
	told := f.follow(t, resolve.FollowConfig{Have: endpoints(1, "a", "x"), Prefix: "http://"}, script{
		{{Addr: "a"}, {Addr: "b", Weight: 3}, {Addr: "b", Weight: 4}},
		{{Addr: "a"}, {Addr: "b", Weight: 3}},
		{{Addr: "b", Weight: 5}},
	})
	assert.Empty(t, told)
	assert.Equal(t, []string{"+http://b*3", "-http://x", "=http://b*5", "-http://a"}, f.log)
}

func TestFollowKeepsItsServersWhenLookupsFailOrAreEmpty(t *testing.T) {
	var f fleet
	told := f.follow(t, resolve.FollowConfig{}, script{endpoints(1, "a"), nil, {}, endpoints(1, "a")})
	assert.Equal(t, []string{"+a*1"}, f.log)
	require.Len(t, told, 2)
	assert.ErrorIs(t, told[0], errScript)
	assert.ErrorIs(t, told[1], resolve.ErrEmpty)
	assert.ErrorContains(t, told[1], "the 1 servers before stay")
}

func TestFollowTriesARefusedChangeAgainWithTheNextAnswer(t *testing.T) {
	for _, change := range []string{"+a*1", "-old", "=b*2"} {
		f := fleet{refused: map[string]bool{change: true}}
		next := false
		r := resolverFunc(func(yield func([]resolve.Endpoint, error) bool) {
			set := []resolve.Endpoint{{Addr: "a"}, {Addr: "b", Weight: 2}}
			_ = yield(set, nil)
			require.Len(t, f.log, 2, "the others are done")
			f.refused, next = nil, true
			_ = yield(set, nil)
		})
		var told []error
		require.NoError(t, resolve.Follow(t.Context(), r, &f, resolve.FollowConfig{
			Have: endpoints(1, "b", "old"), OnError: func(err error) { told = append(told, err) },
		}))
		require.True(t, next)
		require.Len(t, told, 1)
		require.ErrorIs(t, told[0], errRefused)
		require.Len(t, f.log, 3)
		assert.Equal(t, change, f.log[2])
	}
}

// resolverFunc is a Resolver made of what it yields.
type resolverFunc iter.Seq2[[]resolve.Endpoint, error]

func (r resolverFunc) Watch(context.Context) iter.Seq2[[]resolve.Endpoint, error] {
	return iter.Seq2[[]resolve.Endpoint, error](r)
}

func TestFollowTellsAFewErrorsByNameAndTheNumberOfTheRest(t *testing.T) {
	var many []resolve.Endpoint
	f := fleet{refused: make(map[string]bool)}
	for i := range resolve.MaxEndpoints + 50 {
		addr := fmt.Sprintf("s%d", i)
		many = append(many, resolve.Endpoint{Addr: addr})
		f.refused["+"+addr+"*1"] = true
	}
	told := f.follow(t, resolve.FollowConfig{}, script{many})
	require.Len(t, told, 1)
	text := told[0].Error()
	assert.Contains(t, text, "1050 servers are too many; the first 1000 are used")
	assert.Contains(t, text, "resolve: add s0: refused")
	assert.Contains(t, text, "and 993 errors more")
	assert.Equal(t, 8, strings.Count(text, "\n"))
}

func TestFollowEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	errOver := errors.New("over")
	f := &fleet{}
	d := newDNS(t, resolve.DNSConfig{Name: "127.0.0.1:9000"})
	r := resolverFunc(func(yield func([]resolve.Endpoint, error) bool) {
		for set, err := range d.Watch(ctx) {
			if !yield(set, err) {
				return
			}
			cancel(errOver)
		}
	})
	require.ErrorIs(t, resolve.Follow(ctx, r, f, resolve.FollowConfig{}), errOver)
	assert.Equal(t, []string{"+127.0.0.1:9000*1"}, f.log)
	require.ErrorIs(t, resolve.Follow(ctx, resolve.StaticAddrs("a"), f, resolve.FollowConfig{}), errOver)
	assert.Len(t, f.log, 1, "nothing is changed after the end")
}

func TestStaticServersAreYieldedOnce(t *testing.T) {
	set, err := resolve.First(t.Context(), resolve.StaticAddrs("a:1", "b:2"))
	require.NoError(t, err)
	assert.Equal(t, endpoints(1, "a:1", "b:2"), set)
	_, err = resolve.First(t.Context(), resolve.Static(nil))
	require.ErrorIs(t, err, resolve.ErrEmpty)
}

// A name that moves from one HTTP server to another takes the pool's requests along: a dial that
// fails has it looked up.
func TestAPoolFollowsANameToAnotherServer(t *testing.T) {
	var hits [2]atomic.Int64
	serve := func(i int, addr string) (port string, server *httptest.Server) {
		server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits[i].Add(1) }))
		require.NoError(t, server.Listener.Close())
		server.Listener = listen(t, addr)
		server.Start()
		t.Cleanup(server.Close)
		return server.URL[strings.LastIndex(server.URL, ":")+1:], server
	}
	port, first := serve(0, "127.0.0.1:0")
	serve(1, "127.0.0.2:"+port)

	ns := newNameServer(t)
	ns.have("web.test", "127.0.0.1")
	dns := newDNS(t, resolve.DNSConfig{Name: "web.test.:" + port, MinInterval: time.Millisecond, Lookup: ns.resolver()})
	pool, err := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{
		HealthCheckInterval: -1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				dns.Again()
			}
			return conn, err
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() {
		followed <- resolve.Follow(ctx, dns, pool, resolve.FollowConfig{Prefix: "http://"})
	}()
	defer func() {
		cancel()
		require.ErrorIs(t, <-followed, context.Canceled)
		require.NoError(t, pool.Shutdown(context.WithoutCancel(ctx)))
	}()
	servedBy := func(i int) func() bool {
		return func() bool {
			before := hits[i].Load()
			resp, err := (&http.Client{Transport: pool}).Get("http://pool/")
			return err == nil && resp.Body.Close() == nil && hits[i].Load() > before
		}
	}
	require.Eventually(t, servedBy(0), 10*time.Second, time.Millisecond)
	ns.have("web.test", "127.0.0.2")
	first.Close()
	require.Eventually(t, servedBy(1), 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		servers := pool.GetServerStats()
		return len(servers) == 1 && servers[0].URL.Host == "127.0.0.2:"+port
	}, 10*time.Second, time.Millisecond)
}
