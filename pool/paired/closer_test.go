package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gate is what closes wait at.
type gate struct {
	open    chan struct{}
	once    sync.Once
	waiting atomic.Int64 // how many wait, or have waited
}

func newGate() *gate     { return &gate{open: make(chan struct{})} }
func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// stuck is a connection whose Close waits at a gate.
type stuck struct {
	net.Conn
	gate *gate
}

func (s *stuck) Close() error {
	s.gate.waiting.Add(1)
	<-s.gate.open
	return s.Conn.Close()
}

// stuckPair returns a server and a client whose connections' Close waits at a gate.
func stuckPair(t *testing.T, c ClientConfig) (client *Pool, g *gate) {
	m := newMemory()
	newServer(t, ServerConfig{Listener: m, IdleTimeout: -1})
	g = newGate()
	c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		nc, err := m.Dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		return &stuck{Conn: nc, gate: g}, nil
	}
	client = newClient(t, nil, c)
	t.Cleanup(g.release) // before Close
	return client, g
}

// The time of a bubble does not pass while a call waits at the gate, and none of
// these calls may: each has returned as soon as everybody has come to rest.
func TestNobodyWaitsForACloseThatDoesNotReturn(t *testing.T) {
	aged := func(p *Pool) (id string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for e := p.shelf.idle.Back(); e != nil; e = e.place.Prev() {
			e.since = time.Now().Add(-DefaultIdleTimeout)
		}
		return p.shelf.idle.Back().id.String()
	}
	for name, call := range map[string]func(t *testing.T, p *Pool) (closed int){
		"Put, of another ID": func(t *testing.T, p *Pool) int {
			_, nc, err := p.ServerGet(bg)
			require.NoError(t, err)
			require.ErrorIs(t, p.Put("", nc), ErrForeign)
			return 1
		},
		"Put, foreign": func(t *testing.T, p *Pool) int {
			_, nc, err := p.ServerGet(bg)
			require.NoError(t, err)
			other := &Pool{}
			require.ErrorIs(t, other.Put(nc.(*Conn).ID(), nc), ErrForeign)
			require.ErrorIs(t, p.Put(nc.(*Conn).ID(), nc), ErrReturned)
			near, _ := net.Pipe()
			require.ErrorIs(t, p.Put("", &stuck{Conn: near, gate: nc.(*Conn).e.nc.(*stuck).gate}), ErrForeign)
			return 2
		},
		"ClientGet": func(t *testing.T, p *Pool) int {
			_, err := p.ClientGet(bg, aged(p))
			require.ErrorIs(t, err, ErrNotFound)
			return 1
		},
		"ServerGet": func(t *testing.T, p *Pool) int {
			aged(p)
			_, _, err := p.ServerGet(lookOnly())
			require.ErrorIs(t, err, context.Canceled)
			return 2
		},
		"Clean": func(t *testing.T, p *Pool) int {
			require.Equal(t, 2, p.Clean())
			return 2
		},
		"Flush": func(t *testing.T, p *Pool) int {
			_, _, err := p.ServerGet(bg)
			require.NoError(t, err)
			require.Equal(t, 2, p.Flush())
			return 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, g := stuckPair(t, ClientConfig{MinCapacity: 2, MaxCapacity: 2, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
				require.NoError(t, client.WaitReady(bg))
				synctest.Wait() // the manager sleeps, so it evicts nothing itself
				var closed atomic.Int64
				var wg sync.WaitGroup
				wg.Go(func() { closed.Store(int64(call(t, client))) })
				synctest.Wait()
				assert.Positive(t, closed.Load(), "the call has returned")
				assert.Equal(t, closed.Load(), g.waiting.Load(), "what it threw away is being closed")
				g.release()
				wg.Wait()
			})
		})
	}
}

func TestTheManagerDoesNotWaitForAClose(t *testing.T) {
	t.Run("of those that are idle too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, g := stuckPair(t, ClientConfig{MinCapacity: 2, MaxCapacity: 2, MinInterval: time.Second, MaxInterval: time.Second})
			for round := range int64(3) {
				time.Sleep(DefaultIdleTimeout + 2*time.Second)
				synctest.Wait()
				require.EqualValues(t, 2*(round+1), client.Stats().Evicted)
				require.EqualValues(t, 2*(round+1), g.waiting.Load())
				require.Equal(t, 2, client.Idle(), "it has dialled others")
			}
		})
	})
	t.Run("of those that have died", func(t *testing.T) {
		noLeaks(t)
		server := newServer(t, ServerConfig{})
		g := newGate()
		client := newClient(t, nil, ClientConfig{MinCapacity: 3, MaxCapacity: 3, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.server.listener.Addr().String())
			if err != nil {
				return nil, err
			}
			return &stuckSocket{TCPConn: nc.(*net.TCPConn), gate: g}, nil
		}})
		t.Cleanup(g.release)
		eventually(t, "all arrive", func() bool { return server.Idle() == 3 && client.Idle() == 3 })
		require.Equal(t, 3, server.Clean())
		eventually(t, "the client has noticed all three", func() bool { return client.Stats().Died == 3 && client.Idle() == 3 })
		eventually(t, "they are being closed", func() bool { return g.waiting.Load() == 3 })
	})
}

// stuckSocket is stuck, with a descriptor to look at.
type stuckSocket struct {
	*net.TCPConn
	gate *gate
}

func (s *stuckSocket) Close() error { return (&stuck{s.TCPConn, s.gate}).Close() }

func TestCloseGivesUpOnAConnectionWhoseCloseDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, g := stuckPair(t, ClientConfig{MinCapacity: 3, MaxCapacity: 3})
		require.NoError(t, client.WaitReady(bg))
		_, _, err := client.ServerGet(bg)
		require.NoError(t, err)
		got := make(chan error, 1)
		start := time.Now()
		go func() { got <- client.Close() }()
		select {
		case err := <-got:
			require.ErrorContains(t, err, "Close of a connection")
			require.Equal(t, closeMax, time.Since(start))
		case <-time.After(time.Hour):
			require.Fail(t, "Close is not bounded")
		}
		require.EqualValues(t, 3, g.waiting.Load(), "all at once")
	})
}

// stuckListener is a listener whose Close waits at a gate.
type stuckListener struct {
	*memory
	gate *gate
}

func (s stuckListener) Close() error { <-s.gate.open; return s.memory.Close() }

func TestCloseGivesUpOnAListenerWhoseCloseDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		server, err := NewServerPool(ServerConfig{Listener: stuckListener{newMemory(), g}})
		require.NoError(t, err)
		got := make(chan error, 1)
		go func() { got <- server.Close() }()
		select {
		case err := <-got:
			require.Error(t, err)
		case <-time.After(time.Hour):
			assert.Fail(t, "Close is not bounded")
		}
		g.release()
		require.NoError(t, server.Close(), "now it has ended")
	})
}

func TestNoMoreThanSoManyAreClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const surplus = 36
		var c closer
		<-c.quiet()
		g := newGate()
		for range closersMax + surplus {
			near, _ := net.Pipe()
			c.add(&stuck{Conn: near, gate: g})
		}
		synctest.Wait()
		require.EqualValues(t, closersMax, g.waiting.Load())
		select {
		case <-c.quiet():
			require.Fail(t, "nothing has been closed")
		default:
		}
		g.release()
		<-c.quiet()
		require.EqualValues(t, closersMax+surplus, g.waiting.Load())
		require.Zero(t, c.running)
		require.Empty(t, c.queue)
	})
}

// securedPair returns a server with TLS and its client, with n connections.
func securedPair(t *testing.T, n int) (server, client *Pool) {
	cert := anyCertificate(t)
	server = newServer(t, ServerConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Interval: time.Hour})
	client = newClient(t, server, ClientConfig{
		MinCapacity: n, MaxCapacity: n, TLSMode: TLSSelfSigned, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour,
	})
	require.NoError(t, client.WaitReady(within(t)))
	eventually(t, "all arrive", func() bool { return server.Idle() == n })
	return server, client
}

// stuff fills what the system buffers towards a peer that does not read.
func stuff(t *testing.T, nc net.Conn) {
	t.Helper()
	raw := socket(nc.(*Conn).NetConn())
	require.NoError(t, raw.(*net.TCPConn).SetWriteBuffer(1<<12))
	junk := make([]byte, 1<<16)
	var err error
	for err == nil { // until nothing has moved for a while
		require.NoError(t, raw.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = raw.Write(junk)
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, raw.SetWriteDeadline(time.Time{}))
}

// alertMax is less than crypto/tls would wait for the peer, and more than a slow
// machine needs for a call that waits for nobody.
const alertMax = 4 * time.Second

func TestAPeerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	for name, call := range map[string]func(t *testing.T, server *Pool, id string, nc net.Conn){
		"Put": func(t *testing.T, server *Pool, _ string, nc net.Conn) {
			require.ErrorIs(t, server.Put("", nc), ErrForeign)
		},
		"Get": func(t *testing.T, server *Pool, id string, nc net.Conn) {
			require.NoError(t, server.Put(id, nc))
			server.mu.Lock()
			nc.(*Conn).e.since = time.Now().Add(-DefaultIdleTimeout)
			server.mu.Unlock()
			_, err := server.ClientGet(lookOnly(), id)
			require.ErrorIs(t, err, ErrNotFound)
		},
		"Clean": func(t *testing.T, server *Pool, id string, nc net.Conn) {
			require.NoError(t, server.Put(id, nc))
			require.Equal(t, 1, server.Clean())
		},
		"Flush": func(t *testing.T, server *Pool, _ string, _ net.Conn) { require.Equal(t, 1, server.Flush()) },
		"Close": func(t *testing.T, server *Pool, _ string, _ net.Conn) { require.NoError(t, server.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := securedPair(t, 1)
			id, s, c := take(t, server, client)
			defer c.Close()
			stuff(t, s)
			start := time.Now()
			call(t, server, id, s)
			require.Less(t, time.Since(start), alertMax)
			eventually(t, "it is closed", func() bool { // the write deadline is crypto/tls's
				return errors.Is(socket(s.(*Conn).NetConn()).SetReadDeadline(time.Time{}), net.ErrClosed)
			})
			require.Less(t, time.Since(start), alertMax, "the peer was cut off")
		})
	}
}

func TestWhoHasWaitedInTheQueueIsCutOffAtOnce(t *testing.T) {
	noLeaks(t)
	server, client := securedPair(t, 1)
	_, s, c := take(t, server, client)
	defer c.Close()
	raw := socket(c.(*Conn).NetConn())
	closing{nc: s.(*Conn).NetConn(), until: past}.close()
	require.NoError(t, raw.SetReadDeadline(time.Now().Add(patience)))
	n, err := raw.Read(make([]byte, 100))
	require.Zero(t, n, "no alert")
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestAConnectionThatIsThrownAwayIsToldTheAlert(t *testing.T) {
	noLeaks(t)
	server, client := securedPair(t, 2)
	_, _, kept := take(t, server, client)
	defer kept.Close()
	_, c, err := client.ServerGet(within(t))
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 2, server.Flush())
	for _, nc := range []net.Conn{kept, c} {
		raw := socket(nc.(*Conn).NetConn())
		require.NoError(t, raw.SetReadDeadline(time.Now().Add(patience)))
		n, err := raw.Read(make([]byte, 100))
		require.NoError(t, err)
		require.Equal(t, 24, n, "a record of TLS 1.3 that holds an alert")
	}
}
