package httppool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
)

// journal is a log to be looked at. before, if not nil, is called before a record is kept.
type journal struct {
	before func(slog.Record)
	mu     sync.Mutex
	lines  []string
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	if j.before != nil {
		j.before(r)
	}
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " | " + a.String()
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	return nil
}

// about returns the lines that have the word.
func (j *journal) about(word string) (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.Contains(line, word) {
			all = append(all, line)
		}
	}
	return all
}

// moody are servers in a synctest bubble, on pipes. Each does as it is told by its host's name:
// "answers", "unavailable" or "refuses".
type moody struct {
	mu    sync.Mutex
	moods map[string]string
	conns chan net.Conn
	ended chan struct{}
}

func newMoody(t *testing.T) *moody {
	m := &moody{moods: make(map[string]string), conns: make(chan net.Conn, 100), ended: make(chan struct{})}
	s := &http.Server{Handler: m}
	go s.Serve(m)
	t.Cleanup(func() { s.Close() })
	return m
}

func (m *moody) Addr() net.Addr { return &net.TCPAddr{} }
func (m *moody) Close() error   { close(m.ended); return nil }

func (m *moody) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.ended:
		return nil, net.ErrClosed
	}
}

func (m *moody) behave(host, mood string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moods[host] = mood
}

func (m *moody) mood(host string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moods[host]
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/health" && m.mood(r.Host) == "unavailable" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (m *moody) dial(_ context.Context, _, addr string) (net.Conn, error) {
	if host, _, _ := net.SplitHostPort(addr); m.mood(host) == "refuses" {
		return nil, errors.New("refused")
	}
	near, far := net.Pipe()
	m.conns <- far
	return near, nil
}

// ask makes requests, 20 ms of the bubble's time apart, until the server is in the state.
func ask(t *testing.T, p *httppool.HTTPConnectionPool, server int, until health.State) {
	t.Helper()
	for range 10_000 {
		if state(p, server) == until {
			synctest.Wait()
			return
		}
		if resp, err := p.RoundTrip(mustRequest(t, "http://pool/")); err == nil {
			resp.Body.Close()
		}
		<-time.After(20 * time.Millisecond)
	}
	require.FailNow(t, "never", "%v", until)
}

func TestTheLogTellsWhatBecomesOfServers(t *testing.T) {
	for _, interval := range []time.Duration{-1, 30 * time.Second} {
		t.Run(fmt.Sprint(interval), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, m := new(journal), newMoody(t)
				p := newPool(t, httppool.HTTPPoolConfig{
					Logger: slog.New(log), DialContext: m.dial, HealthCheckInterval: interval, DisableKeepAlives: true,
				})
				require.NoError(t, p.AddServer("http://ill", 1))
				require.NoError(t, p.AddServer("http://well", 1))
				m.behave("ill", "unavailable")
				ask(t, p, 0, health.Ejected)
				ask(t, p, 0, health.Trial)
				ask(t, p, 0, health.Ejected)
				m.behave("ill", "answers")
				ask(t, p, 0, health.Up)
				m.behave("ill", "refuses")
				ask(t, p, 0, health.Down)
				for range 1000 { // on trial again and again, or checked
					_, err := p.RoundTrip(mustRequest(t, "http://pool/"))
					require.NoError(t, err)
					<-time.After(10 * time.Millisecond)
				}
				m.behave("ill", "answers")
				ask(t, p, 0, health.Up)
				require.NoError(t, p.RemoveServer("http://ill"))
				synctest.Wait()
				const addr = " | addr=http://ill:80"
				require.Equal(t, []string{
					"INFO server added" + addr,
					"WARN server ejected" + addr + " | cause=httppool: status 503",
					"WARN server ejected" + addr + " | cause=httppool: status 503",
					"INFO server readmitted" + addr,
					"WARN server down" + addr + " | cause=httppool: dial http://ill:80: refused",
					"INFO server up" + addr,
					"INFO server removed" + addr,
				}, log.about("ill"))
				require.Equal(t, []string{"INFO server added | addr=http://well:80"}, log.about("well"))
			})
		})
	}
}

// A server that goes up and down all the time has a line a second, after the first few.
func TestTheLogIsNotFloodedByAServerThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, m := new(journal), newMoody(t)
		p := newPool(t, httppool.HTTPPoolConfig{
			Logger: slog.New(log), DialContext: m.dial, DisableKeepAlives: true,
			UnhealthyThreshold: 1, HealthyThreshold: 1, MaxRetries: -1,
		})
		require.NoError(t, p.AddServer("http://moody", 1))
		began := time.Now()
		const rounds = 100
		for range rounds {
			m.behave("moody", "refuses")
			ask(t, p, 0, health.Down)
			m.behave("moody", "answers")
			ask(t, p, 0, health.Rising)
		}
		lines := log.about("moody")
		took := int(time.Since(began) / time.Second)
		require.Less(t, took, rounds, "it is quick")
		assert.LessOrEqual(t, len(lines), 5+took+1)
		assert.GreaterOrEqual(t, len(lines), 5+took-1)
		assert.NotEmpty(t, log.about("lines left out before="))
	})
}

func TestTheLogTellsOfConnectionsThatShutdownCuts(t *testing.T) {
	log := new(journal)
	b := newBackend(t, 0, nil)
	p := newPool(t, httppool.HTTPPoolConfig{Logger: slog.New(log)}, b)
	c := lendUsed(t, p, b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, p.Shutdown(ctx), "1 connections were in use")
	require.NoError(t, p.ReleaseConnection(c))
	shutdown(t, p)
	const line = "WARN shutdown cut connections off | conns=1 | cause=context canceled"
	require.Equal(t, []string{line}, log.about("shutdown"))
	require.NoError(t, p.RemoveServer(b.URL))
	require.Empty(t, log.about("removed"), "nothing runs any more")
	require.Empty(t, httppool.Leftover(p))
}

// Responses may be anything, and so may be what they are for.
func TestTheLogTellsNoSecrets(t *testing.T) {
	for what, response := range map[string]string{
		"status":      "HTTP/1.1 503 secret\r\nSet-Cookie: secret\r\nContent-Length: 6\r\n\r\nsecret",
		"no HTTP":     "SSH-2.0-secret\r\n\r\n",
		"status line": "HTTP/1.1 secret OK\r\n\r\n",
		"header":      "HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
		"encoding":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n",
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
	} {
		for _, checked := range []bool{false, true} {
			t.Run(fmt.Sprint(what, checked), func(t *testing.T) {
				log := new(journal)
				answer := func(w http.ResponseWriter, _ *http.Request) {
					nc, _, err := w.(http.Hijacker).Hijack()
					if err == nil {
						fmt.Fprint(nc, response)
						nc.Close()
					}
				}
				cfg := httppool.HTTPPoolConfig{
					Logger: slog.New(log), HealthCheckInterval: -1, MaxRetries: -1,
					HealthCheckPath: "/check?token=secret",
				}
				if checked {
					cfg.HealthCheckInterval, cfg.UnhealthyThreshold = time.Millisecond, 1
				}
				p := newPool(t, cfg, newBackend(t, 0, answer), newBackend(t, 1, answer))
				req := mustRequest(t, "http://user:secret@pool/secret?secret")
				req.Header.Set("Authorization", "secret")
				eventually(t, "it is out", func() bool {
					if !checked {
						if resp, err := p.RoundTrip(req); err == nil {
							resp.Body.Close()
						}
					}
					return len(log.about("cause=")) > 0
				})
				require.Empty(t, log.about("secret"))
				require.NotEmpty(t, log.about("addr=http://127.0.0.1:"))
				require.NoError(t, p.Shutdown(t.Context()))
				eventually(t, "net/http has closed the last socket, too", func() bool { return p.GetMetrics().TotalConnections == 0 })
			})
		}
	}
	t.Run("a dialler's proxy", func(t *testing.T) {
		log := new(journal)
		p := newPool(t, httppool.HTTPPoolConfig{
			Logger: slog.New(log), MaxRetries: -1, UnhealthyThreshold: 1,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, fmt.Errorf("proxy: %w", mustFail(http.Get("foo://user:secret@proxy/?secret")))
			},
		})
		require.NoError(t, p.AddServer("http://a.example", 1))
		_, err := p.RoundTrip(mustRequest(t, "http://pool/"))
		require.ErrorContains(t, err, "proxy")
		eventually(t, "it is out", func() bool { return len(log.about("cause=")) > 0 })
		require.Empty(t, log.about("secret"))
	})
}

func mustFail(_ *http.Response, err error) error { return err }

func TestALoggerThatMisbehavesStopsNothing(t *testing.T) {
	for how, misbehave := range map[string]func(){
		"panics":             func() { panic("of the logger's") },
		"ends its goroutine": runtime.Goexit,
	} {
		t.Run(how, func(t *testing.T) {
			var calls atomic.Int64
			log := &journal{before: func(slog.Record) {
				if calls.Add(1)%2 == 1 {
					misbehave()
				}
			}}
			p := newPool(t, httppool.HTTPPoolConfig{Logger: slog.New(log)})
			for range 5 {
				require.NoError(t, p.AddServer("http://a.example", 1))
				require.NoError(t, p.RemoveServer("http://a.example"))
			}
			eventually(t, "each is passed on", func() bool { return calls.Load() == 10 })
			shutdown(t, p)
			assert.Len(t, log.about("server removed"), 5)
		})
	}
	t.Run("calls the pool", func(t *testing.T) {
		var p *httppool.HTTPConnectionPool
		log := &journal{before: func(slog.Record) { p.GetMetrics(); p.GetServerStats() }}
		p = newPool(t, httppool.HTTPPoolConfig{Logger: slog.New(log)})
		require.NoError(t, p.AddServer("http://a.example", 1))
		eventually(t, "it is logged", func() bool { return len(log.about("server added")) == 1 })
	})
}

func TestALoggerThatBlocksStopsNothing(t *testing.T) {
	entered, release := make(chan struct{}, 1000), make(chan struct{})
	log := &journal{before: func(slog.Record) { entered <- struct{}{}; <-release }}
	a, b, other := newBackend(t, 0, nil), newBackend(t, 1, nil), newBackend(t, 2, nil)
	p := newPool(t, httppool.HTTPPoolConfig{
		Logger: slog.New(log), UnhealthyThreshold: 1, HealthCheckInterval: 5 * time.Millisecond,
	}, a, b)
	<-entered
	a.healthy.Store(false)
	eventually(t, "checks go on", func() bool { return state(p, 0) == health.Down })
	for range 10 {
		_, body := get(t, p, "http://pool/")
		require.Equal(t, "1", body)
	}
	for range 100 {
		require.NoError(t, p.AddServer(other.URL, 1))
		require.NoError(t, p.RemoveServer(other.URL))
	}
	c := lendUsed(t, p, b)
	require.NoError(t, p.ReleaseConnection(c))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	eventually(t, "Shutdown tells what it would wait for", func() bool { // a check may be under way before
		err := p.Shutdown(ctx)
		require.ErrorIs(t, err, context.Canceled)
		return strings.Contains(err.Error(), "the Logger has not returned")
	})
	close(release)
	shutdown(t, p)
	require.NotEmpty(t, log.about("dropped before="))
	require.Len(t, log.about("server"), 65)
	require.Len(t, log.about("server down | addr="+a.URL), 1)
}
