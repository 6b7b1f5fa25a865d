package e2e

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/memnet"
	"github.com/ringwire/ringwire/server"
)

// inBubble runs a test with a server and a broker that meet in memory, in virtual time. Both are
// closed at its end.
func inBubble(t *testing.T, sc server.Config, bc engine.Config, test func(t *testing.T, s *server.Server, b *engine.Broker)) {
	synctest.Test(t, func(t *testing.T) {
		sc.Logger = slog.New(slog.DiscardHandler)
		s, err := server.New(sc)
		require.NoError(t, err)
		ln := memnet.Listen()
		require.NoError(t, s.Serve(ln))
		bc.Addrs, bc.DialContext = []string{"memory:1"}, ln.DialContext
		b, err := engine.New(bc)
		require.NoError(t, err)
		defer func() {
			assert.NoError(t, b.Close())
			assert.NoError(t, s.Close())
			st := s.Stats()
			assert.Equal(t, st.Accepted, st.Closed.Total(), "%+v", st)
		}()
		test(t, s, b)
	})
}

func echoes(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil }

// bothKinds runs a test with plain and with secured connections, with and without the extension.
func bothKinds(t *testing.T, run func(t *testing.T, sc server.Config, bc engine.Config)) {
	for _, extensions := range []bool{false, true} {
		t.Run(map[bool]string{false: "bare", true: "extension"}[extensions], func(t *testing.T) {
			t.Run("plain", func(t *testing.T) {
				run(t, server.Config{Extensions: extensions}, engine.Config{Extensions: extensions})
			})
			t.Run("TLS", func(t *testing.T) {
				ca := testca.New(t)
				lasting := func(c *tls.Config) *tls.Config {
					c.Time = func() time.Time { return time.Now().Add(bubbleBehind) }
					return c
				}
				run(t, server.Config{Extensions: extensions, TLS: lasting(&tls.Config{Certificates: []tls.Certificate{ca.Server(t, "memory")}})},
					engine.Config{Extensions: extensions, TLS: lasting(&tls.Config{RootCAs: ca.Pool()})})
			})
		})
	}
}

// bubbleBehind is how far the time in a bubble, which begins in 2000, is behind that in which the
// certificates were made.
var bubbleBehind = time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))

func TestInMemoryManyCalls(t *testing.T) {
	bothKinds(t, func(t *testing.T, sc server.Config, bc engine.Config) {
		for _, workers := range []int{0, 4} {
			sc.Workers, sc.Handler = workers, server.HandlerFunc(echoes)
			inBubble(t, sc, bc, func(t *testing.T, s *server.Server, b *engine.Broker) {
				var all sync.WaitGroup
				for who := range 20 {
					all.Go(func() {
						for n := range 10 {
							req := make([]byte, who*n*300)
							reply, err := b.Send(t.Context(), req)
							if !assert.NoError(t, err) || !assert.Len(t, reply, len(req)) {
								return
							}
						}
					})
				}
				all.Wait()
				assert.EqualValues(t, 200, s.Stats().Replies)
			})
		}
	})
}

// Minutes of a handler's take no time.
func TestInMemoryDeadlines(t *testing.T) {
	bothKinds(t, func(t *testing.T, sc server.Config, bc engine.Config) {
		sc.Workers, sc.Handler = 2, server.RequestFunc(func(r *server.Request, dst []byte) ([]byte, error) {
			select {
			case <-time.After(40 * time.Second):
			case <-r.Context().Done():
			}
			return append(dst, "late"...), nil
		})
		bc.SilenceTimeout = -1
		inBubble(t, sc, bc, func(t *testing.T, _ *server.Server, b *engine.Broker) {
			began := time.Now()
			_, err := b.Send(t.Context(), nil, engine.Call{Timeout: 20 * time.Second})
			require.ErrorIs(t, err, engine.ErrTimeout)
			assert.InDelta(t, 20, time.Since(began).Seconds(), 3)
			reply, err := b.Send(t.Context(), nil, engine.Call{Timeout: time.Minute})
			require.NoError(t, err)
			assert.Equal(t, "late", string(reply))
		})
	})
}

func TestInMemoryPush(t *testing.T) {
	bothKinds(t, func(t *testing.T, sc server.Config, bc engine.Config) {
		conns := make(chan *server.Conn, 1)
		sc.Handler = server.HandlerFunc(func(c *server.Conn, dst, _ []byte) ([]byte, error) {
			conns <- c
			return dst, nil
		})
		pushed := make(chan string, 1)
		bc.OnPush = func(_ string, id uint32, payload []byte) { pushed <- string(payload) }
		inBubble(t, sc, bc, func(t *testing.T, _ *server.Server, b *engine.Broker) {
			_, err := b.Send(t.Context(), nil)
			require.NoError(t, err)
			c := <-conns
			time.Sleep(time.Minute)
			frame, err := framing.Append(nil, 3, []byte("news"))
			require.NoError(t, err)
			require.NoError(t, c.Push(frame))
			assert.Equal(t, "news", <-pushed)
		})
	})
}

// What is being answered when a Shutdown begins is answered.
func TestInMemoryShutdown(t *testing.T) {
	bothKinds(t, func(t *testing.T, sc server.Config, bc engine.Config) {
		begun := make(chan struct{})
		sc.Workers, sc.ShutdownTimeout = 1, time.Hour
		sc.Handler = server.HandlerFunc(func(_ *server.Conn, dst, _ []byte) ([]byte, error) {
			close(begun)
			time.Sleep(20 * time.Second)
			return append(dst, "done"...), nil
		})
		bc.SilenceTimeout = -1
		inBubble(t, sc, bc, func(t *testing.T, s *server.Server, b *engine.Broker) {
			var reply []byte
			var failed error
			var call sync.WaitGroup
			call.Go(func() { reply, failed = b.Send(t.Context(), nil, engine.Call{Timeout: time.Hour}) })
			<-begun
			require.NoError(t, s.Shutdown(t.Context()))
			call.Wait()
			require.NoError(t, failed)
			assert.Equal(t, "done", string(reply))
		})
	})
}

// A client in memory that says nothing, or does not read, is ended in time.
func TestInMemoryTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := server.New(server.Config{
			Handler: server.HandlerFunc(echoes), Logger: slog.New(slog.DiscardHandler),
			FirstFrameTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		})
		require.NoError(t, err)
		ln := memnet.Listen()
		require.NoError(t, s.Serve(ln))
		silent, err := ln.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		began := time.Now()
		_, err = silent.Read(make([]byte, 1))
		require.Error(t, err)
		assert.InDelta(t, 60, time.Since(began).Seconds(), 2)

		deaf, err := ln.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		began = time.Now()
		_, err = deaf.Write([]byte{0, 5, 0, 0, 0, 1, 'x'})
		require.NoError(t, err)
		for s.Stats().Closed.SlowReader == 0 {
			time.Sleep(time.Second)
		}
		assert.InDelta(t, 120, time.Since(began).Seconds(), 5)
		_, _ = silent.Close(), deaf.Close()
		require.NoError(t, s.Close())
	})
}

// proxied is a connection of a listener that knows the real client's address, as one does that
// speaks the PROXY protocol.
type proxied struct {
	net.Conn
	client net.Addr
}

func (c *proxied) RemoteAddr() net.Addr { return c.client }

// proxyListener gives connections, which come from one proxy, their clients' addresses in turn.
type proxyListener struct {
	net.Listener
	clients chan string
}

func (l *proxyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &proxied{nc, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(<-l.clients))}, nil
}

// Which client may come in is decided by the address that the user's listener tells, and
// so are the bounds for each address; handlers see it.
func TestAListenerTellsTheClientsAddress(t *testing.T) {
	checkLeaks(t)
	s, err := server.New(server.Config{
		Handler: server.HandlerFunc(func(c *server.Conn, dst, _ []byte) ([]byte, error) {
			return append(dst, c.RemoteAddr().String()...), nil
		}),
		Logger:        slog.New(slog.DiscardHandler),
		Allow:         []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Deny:          []netip.Prefix{netip.MustParsePrefix("192.0.2.66/32")},
		MaxConnsPerIP: 1,
	})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &proxyListener{ln, make(chan string, 1)}
	require.NoError(t, s.Serve(l))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })

	ask := func(from string) (string, error) {
		l.clients <- from
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(2*testBound)))
		_, err = nc.Write([]byte{0, 4, 0, 0, 0, 1})
		require.NoError(t, err)
		f, err := framing.NewReader(nc, framing.Format{}).ReadFrame()
		return string(f.Payload), err
	}
	got, err := ask("192.0.2.1:1234")
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.1:1234", got)
	for from, refused := range map[string]func(server.Stats) uint64{
		"192.0.2.66:1":   func(st server.Stats) uint64 { return st.Denied },
		"198.51.100.1:1": func(st server.Stats) uint64 { return st.Denied },
		"192.0.2.1:99":   func(st server.Stats) uint64 { return st.RejectedPerIP },
	} {
		before := refused(s.Stats())
		_, err = ask(from)
		require.Error(t, err, from)
		assert.Equal(t, before+1, refused(s.Stats()), from)
	}
	got, err = ask("192.0.2.2:1")
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.2:1", got)
}

// A client and a server without a socket, in virtual time: a handler takes a minute, a caller gives up
// after a quarter of one, the server stops in order.
func TestVirtualTimeInMemory(t *testing.T) {
	for name, workers := range map[string]int{"in place": 0, "workers": 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { minutesInMemory(t, workers) })
		})
	}
}

func minutesInMemory(t *testing.T, workers int) {
	const slow = time.Minute
	s, err := server.New(server.Config{
		Workers:         workers,
		ShutdownTimeout: -1,
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			if string(req) == "slow" {
				time.Sleep(slow)
			}
			return append(dst, req...), nil
		}),
	})
	require.NoError(t, err)
	ln := memnet.Listen()
	require.NoError(t, s.Serve(ln))
	b, err := engine.New(engine.Config{
		Addrs: []string{"memory:1"}, DialContext: ln.DialContext,
		RequestTimeout: -1, ReadTimeout: -1, SilenceTimeout: -1,
	})
	require.NoError(t, err)
	began := time.Now()
	reply, err := b.Send(context.Background(), []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(reply))
	reply, err = b.Send(context.Background(), []byte("slow"))
	require.NoError(t, err)
	assert.Equal(t, "slow", string(reply))
	assert.GreaterOrEqual(t, time.Since(began), slow)
	ctx, cancel := context.WithTimeout(context.Background(), slow/4)
	defer cancel()
	_, err = b.Send(ctx, []byte("slow"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	require.NoError(t, <-down, "it waits for the handler")
	assert.GreaterOrEqual(t, time.Since(began), 2*slow)
	require.NoError(t, b.Close())
	assert.EqualValues(t, 3, s.Stats().Replies)
}
