package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// silent connects and makes no handshake.
func (x *site) silent(t *testing.T) *client {
	t.Helper()
	return dialAddr(t, net.Dialer{}, x.Addr().Network(), x.Addr().String(), x.format)
}

// shakingNow waits until so many handshakes are under way.
func (x *site) shakingNow(t *testing.T, n int64) {
	t.Helper()
	waitFor(t, "handshakes", func() bool { return x.shaking.n.Load() == n })
}

func TestAHandshakeThatDoesNotComeIsGivenUp(t *testing.T) {
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} // a ClientHello that does not go on
	for name, sent := range map[string][]byte{"nothing": nil, "a part of a hello": hello} {
		t.Run(name, func(t *testing.T) {
			x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = soonTLS })
			c := x.silent(t)
			c.write(sent)
			_, err := c.nc.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 && st.Conns == 0 })
			assert.Contains(t, x.log.String(), "timeout")
			x.enter(t, x.good(t)).call(1, []byte("others are served"))
		})
	}
}

// The time of a handshake is over with it: who is secured may be silent for longer.
func TestTheTimeOfAHandshakeEndsWithIt(t *testing.T) {
	waits(t)
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = time.Second })
	c := x.enter(t, x.good(t))
	c.call(1, []byte("soon"))
	came := x.clock.Load()
	waitFor(t, "the time to be over", func() bool { return x.clock.Load()-came > 1000 })
	c.call(2, []byte("late"))
}

// A client that looks whether the port is open, as balancers do, is no fault and no line in the log.
func TestAProbeOfATLSPortIsHarmless(t *testing.T) {
	x := launchTLS(t, nil)
	_ = x.silent(t).nc.Close()
	eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Peer == 1 })
	reset := x.silent(t)
	x.shakingNow(t, 1)
	require.NoError(t, reset.tcp().SetLinger(0))
	_ = reset.nc.Close()
	eventually(t, x.Server, "the reset", func(st Stats) bool { return st.Closed.Reset == 1 })
	x.shakingNow(t, 0)
	assert.Empty(t, x.log.String())
}

// A client that sends its handshake byte by byte has the time of the whole of it, not of each byte.
func TestAHandshakeInDripsIsGivenUp(t *testing.T) {
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = 4 * soonTLS })
	began := time.Now()
	_, err := x.over(t, &dripping{Conn: x.silent(t).nc, pause: 2 * time.Millisecond}, x.good(t))
	require.Error(t, err)
	eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
	assert.GreaterOrEqual(t, time.Since(began), 4*soonTLS)
}

// dripping writes byte by byte.
type dripping struct {
	net.Conn
	pause time.Duration
}

func (d *dripping) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		<-time.After(d.pause)
		_, err = d.Conn.Write(p[n : n+1])
		n++
	}
	return n, err
}

func TestTooManyHandshakesAreRefused(t *testing.T) {
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.handshakes = 3 })
	var waiting []*client
	for range 3 {
		waiting = append(waiting, x.silent(t))
	}
	x.shakingNow(t, 3)
	c := x.silent(t)
	_, err := c.nc.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	st := x.Stats()
	assert.EqualValues(t, 1, st.RejectedHandshakes)
	assert.EqualValues(t, 1, st.Refused())
	assert.Equal(t, 3, st.Conns, "it gives its place back")
	waitFor(t, "the log", func() bool { return strings.Contains(x.log.String(), "too many TLS handshakes at once") })
	for _, c := range waiting {
		_ = c.nc.Close()
	}
	x.shakingNow(t, 0)
	x.enter(t, x.good(t)).call(1, []byte("there is room again"))
}

func TestTheBoundOfHandshakesIsAsDocumented(t *testing.T) {
	x := launchTLS(t, nil)
	assert.EqualValues(t, 1024+4*runtime.GOMAXPROCS(0), x.shaking.most)
}

// Many handshakes that go wrong or do not come keep nobody from the server, and leave nothing.
func TestAFloodOfHandshakesKeepsNobodyOut(t *testing.T) {
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = 5 * time.Second })
	other := x.client()
	var flood sync.WaitGroup
	var over atomic.Bool
	var made atomic.Int64
	addr := x.Addr().String()
	for who := range 4 {
		flood.Go(func() {
			for !over.Load() {
				// More than there may be would be refused. A busy machine has them wait in the kernel first.
				if made.Load()-int64(x.Stats().Accepted) > 20 {
					runtime.Gosched()
					continue
				}
				made.Add(1)
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					continue
				}
				switch who % 4 {
				case 0: // gives up in the middle
					_, _ = nc.Write([]byte{22, 3, 1, 2, 0, 1})
				case 1: // is reset
					_, _ = nc.Write([]byte{22, 3, 1})
					_ = nc.(*net.TCPConn).SetLinger(0)
				case 2: // speaks something else
					_, _ = nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
				case 3: // has no certificate
					_ = tls.Client(nc, other).Handshake()
				}
				_ = nc.Close()
			}
		})
	}
	func() {
		defer flood.Wait()
		defer over.Store(true)
		for range 5 {
			c := x.enter(t, x.good(t))
			c.call(1, []byte("hello"))
			_ = c.nc.Close()
		}
	}()
	eventually(t, x.Server, "all to end", func(st Stats) bool { return st.Conns == 0 && x.shaking.n.Load() == 0 })
	assert.Empty(t, x.shaking.compute, "no place is lost")
	assert.EqualValues(t, 5, x.handled.Load())
}

// Close waits for no handshake. One that is cut is no fault of its client's.
func TestCloseDuringHandshakes(t *testing.T) {
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = time.Hour })
	for range 5 {
		x.silent(t)
	}
	x.shakingNow(t, 5)
	began := time.Now()
	require.NoError(t, x.Close())
	assert.Less(t, time.Since(began), patienceMax)
	assert.EqualValues(t, 5, x.Stats().Closed.Shutdown)
	assert.Empty(t, x.log.String())
}

// Shutdown lets a handshake end that goes on, and serves what follows; a silent one is given up.
func TestShutdownDuringHandshakes(t *testing.T) {
	x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout, cfg.ShutdownTimeout = time.Hour, time.Hour })
	x.silent(t)
	late := x.silent(t)
	x.shakingNow(t, 2)
	stopped := make(chan error, 1)
	go func() { stopped <- x.Shutdown(context.Background()) }()
	waitFor(t, "the stop", x.isClosing)
	c, err := x.over(t, late.nc, x.good(t))
	require.NoError(t, err)
	c.call(1, []byte("served during the stop"))
	require.NoError(t, <-stopped)
	assert.Zero(t, c.closed())
	st := x.Stats()
	assert.EqualValues(t, 2, st.Closed.Shutdown)
	assert.Empty(t, x.log.String())
}

// Connections in the accept queue when a Shutdown begins are accepted, secured and served.
func TestShutdownServesTheAcceptQueueOverTLS(t *testing.T) {
	const queued = 5
	x := launchTLS(t, func(x *site, cfg *Config) { cfg.ShutdownTimeout = time.Hour })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gated := &gatedListener{TCPListener: ln.(*net.TCPListener), open: make(chan struct{})}
	require.NoError(t, x.ServeTLS(gated, x.cfg.TLS))
	good := x.good(t)
	var all sync.WaitGroup
	var served atomic.Int64
	for range queued {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		all.Go(func() {
			defer nc.Close()
			tc := tls.Client(nc, good)
			if tc.SetDeadline(time.Now().Add(patienceMax)); tc.Handshake() != nil {
				return
			}
			_, _ = tc.Write([]byte{0, 5, 0, 0, 0, 1, 'x'})
			if b, _ := io.ReadAll(tc); len(b) == 7 {
				served.Add(1)
			}
		})
	}
	stopped := make(chan error, 1)
	go func() { stopped <- x.Shutdown(context.Background()) }()
	waitFor(t, "the stop", x.isClosing)
	close(gated.open)
	require.NoError(t, <-stopped)
	all.Wait()
	assert.EqualValues(t, queued, served.Load())
}

// gatedListener accepts nothing before it is open.
type gatedListener struct {
	*net.TCPListener
	open chan struct{}
}

func (l *gatedListener) Accept() (net.Conn, error) {
	<-l.open
	return l.TCPListener.Accept()
}

// A function of the configuration that waits, panics or ends its goroutine costs its own
// connection only: as many as there are places to compute in, and more, do so.
func TestFunctionsOfTheConfigurationHoldUpNobody(t *testing.T) {
	type act func(release chan struct{})
	acts := map[string]act{
		"waits":               func(release chan struct{}) { <-release },
		"panics":              func(chan struct{}) { panic("of the user's") },
		"ends its goroutine":  func(chan struct{}) { runtime.Goexit() },
		"panics with nothing": func(chan struct{}) { panic(nil) }, //nolint:govet // Go makes a value of it
	}
	places := map[string]func(cfg *tls.Config, do func()){
		"GetConfigForClient": func(cfg *tls.Config, do func()) {
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { do(); return nil, nil }
		},
		"GetCertificate": func(cfg *tls.Config, do func()) {
			chosen := cfg.Certificates[0]
			cfg.Certificates = nil
			cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { do(); return &chosen, nil }
		},
		"VerifyConnection": func(cfg *tls.Config, do func()) {
			cfg.VerifyConnection = func(tls.ConnectionState) error { do(); return nil }
		},
	}
	for where, put := range places {
		for what, do := range acts {
			t.Run(where+" "+what, func(t *testing.T) {
				release := make(chan struct{})
				var bad atomic.Int64
				x := launchTLS(t, func(_ *site, cfg *Config) {
					cfg.HandshakeTimeout = -1
					put(cfg.TLS, func() {
						if bad.Add(-1) >= 0 {
							do(release)
						}
					})
				})
				n := int64(2 * runtime.GOMAXPROCS(0))
				bad.Store(n)
				var all sync.WaitGroup
				good := x.good(t)
				for range n {
					c := x.silent(t)
					all.Go(func() { _ = tls.Client(c.nc, good).Handshake() })
				}
				waitFor(t, "the functions", func() bool { return bad.Load() <= 0 })
				x.enter(t, good).call(1, []byte("others are served"))
				if what == "waits" {
					x.shakingNow(t, n)
				} else {
					eventually(t, x.Server, "their ends", func(st Stats) bool { return st.Closed.Handshake == uint64(n) })
					assert.EqualValues(t, n, x.Stats().Panics)
				}
				close(release)
				all.Wait()
				x.shakingNow(t, 0)
				assert.Empty(t, x.shaking.compute, "no place is lost")
				waitFor(t, "nothing to be left", func() bool {
					x.shaking.mu.Lock()
					defer x.shaking.mu.Unlock()
					return len(x.shaking.open) == 0
				})
			})
		}
	}
}

// The wait for a place to compute in ends with the time of the handshake, and with the server.
func TestWaitingForAPlaceHasAnEnd(t *testing.T) {
	for name, limit := range map[string]time.Duration{"the time is up": soonTLS, "the server stops": -1} {
		t.Run(name, func(t *testing.T) {
			x := launchTLS(t, func(_ *site, cfg *Config) { cfg.HandshakeTimeout = limit })
			for range cap(x.shaking.compute) { // somebody signs for ever, as by a module that hangs
				x.shaking.compute <- struct{}{}
			}
			c := x.silent(t)
			x.shakingNow(t, 1)
			if limit < 0 {
				require.NoError(t, x.Close())
				assert.EqualValues(t, 1, x.Stats().Closed.Shutdown)
				return
			}
			_, err := c.nc.Read(make([]byte, 1))
			require.Error(t, err)
			eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
			assert.Contains(t, x.log.String(), "too many handshakes at once")
		})
	}
}

// OnOpen runs when the client is known; it may refuse, panic, and end its goroutine.
func TestOnOpenOverTLS(t *testing.T) {
	for name, tc := range map[string]struct {
		hook   func(c *Conn)
		panics uint64
	}{
		"closes":             {func(c *Conn) { _ = c.Close() }, 0},
		"panics":             {func(*Conn) { panic("no") }, 1},
		"ends its goroutine": {func(*Conn) { runtime.Goexit() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var closed atomic.Int64
			x := launchTLS(t, func(_ *site, cfg *Config) {
				cfg.OnOpen = tc.hook
				cfg.OnClose = func(*Conn, string) { closed.Add(1) }
			})
			c, err := x.connect(t, x.good(t))
			require.NoError(t, err)
			_, err = c.nc.Read(make([]byte, 1))
			require.Error(t, err)
			require.False(t, errors.Is(err, context.DeadlineExceeded))
			waitFor(t, "OnClose", func() bool { return closed.Load() == 1 })
			eventually(t, x.Server, "its place", func(st Stats) bool { return st.Conns == 0 })
			assert.Equal(t, tc.panics, x.Stats().Panics)
			assert.Zero(t, x.handled.Load())
		})
	}
}
