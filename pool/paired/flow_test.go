package paired

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothEndsHoldTheSameConnectionsUnderTheSameIDs(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{MinCapacity: 5, MaxCapacity: 5})
	require.NoError(t, client.WaitReady(within(t)))
	require.NoError(t, server.WaitReady(within(t)))
	eventually(t, "all arrive", func() bool { return server.Idle() == 5 && client.Idle() == 5 })

	seen := make(map[string]bool)
	for range 5 {
		id, s, c := take(t, server, client)
		require.Len(t, id, 16)
		require.False(t, seen[id], "handed out twice")
		seen[id] = true
		assert.Equal(t, id, s.(*Conn).ID())
		assert.Equal(t, id, c.(*Conn).ID())
		talk(t, s, c, "to the client, as "+id)
		talk(t, c, s, "to the server, as "+id)
	}
	for _, p := range []*Pool{server, client} {
		assert.True(t, p.Ready())
		assert.Equal(t, 5, p.Active())
		assert.Equal(t, 5, p.InUse())
		assert.Zero(t, p.Idle())
	}
}

func TestAConnectionPutBackIsHandedOutAgain(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{})
	var first string
	for i := range 3 {
		id, s, c := take(t, server, client)
		if i == 0 {
			first = id
		}
		require.Equal(t, first, id)
		talk(t, s, c, "hello")
		require.NoError(t, s.SetDeadline(time.Unix(1, 0)), "Put removes it")
		require.NoError(t, server.Put(id, s))
		require.NoError(t, client.Put(id, c))
	}
	assert.EqualValues(t, 1, server.Stats().Opened)
	assert.EqualValues(t, 3, client.Stats().Puts)
	assert.EqualValues(t, 3, client.Stats().Gets)
}

func TestClientGetWaitsForAnIDThatIsOnItsWay(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	gate := make(chan struct{})
	client := newClient(t, server, ClientConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.server.listener.Addr().String())
		if err != nil {
			return nil, err
		}
		return &gated{Conn: nc, gate: gate}, nil
	}})
	id, s, err := server.ServerGet(within(t))
	require.NoError(t, err)
	_, err = client.ClientGet(lookOnly(), id)
	require.ErrorIs(t, err, ErrNotFound)
	got := make(chan net.Conn, 1)
	go func() {
		c, err := client.ClientGet(within(t), id)
		assert.NoError(t, err)
		got <- c
	}()
	eventually(t, "it waits", func() bool { client.mu.Lock(); defer client.mu.Unlock(); return len(client.shelf.byID) == 1 })
	close(gate)
	talk(t, s, <-got, "hello")

	// In other hands it is waited for as well.
	other := make(chan net.Conn, 1)
	go func() {
		_, c, err := server.ServerGet(within(t))
		assert.NoError(t, err)
		other <- c
	}()
	eventually(t, "it waits", func() bool { return server.Stats().Waiting == 1 })
	require.NoError(t, server.Put(id, s))
	assert.Equal(t, id, (<-other).(*Conn).ID())
}

// gated is a connection that reads nothing until its gate opens.
type gated struct {
	net.Conn
	gate chan struct{}
}

func (g *gated) Read(b []byte) (int, error) { <-g.gate; return g.Conn.Read(b) }

func TestErrorsOfGetsTellTheReason(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{})
	for _, id := range []string{"", "non-existent-id", "00112233445566", "0011223344556677ff", "zz11223344556677"} {
		_, err := client.ClientGet(within(t), id)
		require.ErrorIs(t, err, ErrNotFound, "%q is no ID: there is nothing to wait for", id)
	}
	short, cancel := context.WithTimeout(bg, time.Millisecond)
	defer cancel()
	conn, err := client.ClientGet(short, "0011223344556677")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, conn)
	var get *GetError
	require.ErrorAs(t, err, &get)
	assert.Equal(t, "0011223344556677", get.ID)
	var netErr net.Error
	require.ErrorAs(t, err, &netErr)
	assert.True(t, netErr.Timeout())

	id, _, err := server.ServerGet(within(t))
	require.NoError(t, err)
	_, none, err := server.ServerGet(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrNotFound)
	require.Nil(t, none)
	_, err = server.ClientGet(short, id)
	require.ErrorIs(t, err, ErrNotFound, "it is taken")

	require.NoError(t, server.Close())
	_, _, err = server.ServerGet(bg)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = server.ClientGet(bg, id)
	require.ErrorIs(t, err, ErrClosed)
	require.NotErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, server.WaitReady(bg), ErrClosed)
	require.False(t, server.Ready())
}

func TestTheErrorOfAGetHoldsTheLastFailedDial(t *testing.T) {
	noLeaks(t)
	refused := errors.New("out of order")
	client := newClient(t, nil, ClientConfig{Addr: "example.invalid:1", Dial: func(context.Context, string) (net.Conn, error) { return nil, refused }})
	eventually(t, "a dial fails", func() bool { return client.ErrorCount() > 0 })
	_, _, err := client.ServerGet(lookOnly())
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, refused)
	assert.Contains(t, err.Error(), "example.invalid:1")
	require.ErrorIs(t, client.WaitReady(lookOnly()), refused)
	assert.NotZero(t, client.Stats().DialErrors)
	assert.Zero(t, client.Stats().HandshakeErrors)

	nothing := newClient(t, nil, ClientConfig{Dial: func(context.Context, string) (net.Conn, error) { return nil, nil }})
	eventually(t, "a dial fails", func() bool { return nothing.Stats().DialErrors > 0 })
}

func TestPutRefusesWhatCannotBeUsedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s, c net.Conn)
		want  error
		count func(Stats) uint64
	}{
		"unread bytes": {func(t *testing.T, s, c net.Conn) {
			_, err := s.Write([]byte("late"))
			require.NoError(t, err)
			eventually(t, "they arrive", func() bool { return lookAtReturned(c.(*Conn).e) != nil })
		}, ErrUnread, func(s Stats) uint64 { return s.Poisoned }},
		"closed by the peer": {func(t *testing.T, s, c net.Conn) {
			require.NoError(t, s.Close())
			eventually(t, "it arrives", func() bool { return lookAtReturned(c.(*Conn).e) != nil })
		}, ErrBroken, func(s Stats) uint64 { return s.Broken }},
		"read to its end": {func(t *testing.T, s, c net.Conn) {
			require.NoError(t, s.Close())
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}, ErrBroken, func(s Stats) uint64 { return s.Broken }},
		"a write that failed": {func(t *testing.T, s, c net.Conn) {
			require.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
			_, err := c.Write([]byte("x"))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetDeadline(time.Time{}))
		}, ErrBroken, func(s Stats) uint64 { return s.Broken }},
		"reset": {func(t *testing.T, s, c net.Conn) {
			reset(t, s)
			eventually(t, "it arrives", func() bool { return lookAtReturned(c.(*Conn).e) != nil })
		}, ErrBroken, func(s Stats) uint64 { return s.Broken }},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			server := newServer(t, ServerConfig{})
			client := newClient(t, server, ClientConfig{})
			id, s, half := take(t, server, client)
			c.spoil(t, s, half)
			require.ErrorIs(t, client.Put(id, half), c.want)
			assert.EqualValues(t, 1, c.count(client.Stats()))
			_, err := client.ClientGet(lookOnly(), id)
			require.ErrorIs(t, err, ErrNotFound)
			eventually(t, "it is closed", func() bool {
				_, err := half.(*Conn).e.nc.Write([]byte("x"))
				return errors.Is(err, net.ErrClosed)
			})
			require.NoError(t, client.WaitReady(within(t)), "another takes its place")
		})
	}
}

// reset closes a connection so that its peer sees a reset.
func reset(t *testing.T, nc net.Conn) {
	t.Helper()
	require.NoError(t, socket(nc.(*Conn).NetConn()).(*net.TCPConn).SetLinger(0))
	require.NoError(t, socket(nc.(*Conn).NetConn()).Close())
	nc.Close()
}

func TestAHandleIsDeadAfterPutAndCannotHarmTheNextOwner(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{})
	id, s, old := take(t, server, client)
	require.NoError(t, client.Put(id, old))
	c, err := client.ClientGet(within(t), id)
	require.NoError(t, err)

	require.ErrorIs(t, client.Put(id, old), ErrReturned)
	require.ErrorIs(t, old.Close(), ErrReturned)
	require.ErrorIs(t, old.SetDeadline(time.Unix(1, 0)), net.ErrClosed)
	require.ErrorIs(t, old.SetReadDeadline(time.Unix(1, 0)), ErrReturned)
	require.ErrorIs(t, old.SetWriteDeadline(time.Unix(1, 0)), ErrReturned)
	_, err = old.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrReturned)
	_, err = old.Write([]byte("x"))
	require.ErrorIs(t, err, ErrReturned)
	_, err = old.(*Conn).ReadFrom(nil)
	require.ErrorIs(t, err, ErrReturned)
	_, err = old.(*Conn).WriteTo(nil)
	require.ErrorIs(t, err, ErrReturned)
	talk(t, c, s, "mine")
	talk(t, s, c, "mine too")
	assert.Equal(t, c.LocalAddr(), s.RemoteAddr())
	assert.Equal(t, 1, client.InUse())
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Close(), net.ErrClosed)
}

func TestPutClosesForeignConnections(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{MinCapacity: 2, MaxCapacity: 2})
	id, s, c := take(t, server, client)
	require.ErrorIs(t, client.Put(id, nil), ErrForeign)
	require.ErrorIs(t, client.Put(id, (*Conn)(nil)), ErrForeign)
	near, far := net.Pipe()
	require.ErrorIs(t, client.Put(id, near), ErrForeign)
	_, err := far.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "it was closed")
	require.ErrorIs(t, server.Put(id, c), ErrForeign, "the other end's")
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, s.Close())

	id, s, c = take(t, server, client)
	require.ErrorIs(t, client.Put("", c), ErrForeign)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, s.Close())
	eventually(t, "nothing is taken", func() bool { return client.InUse() == 0 && server.InUse() == 0 })
	require.NotEmpty(t, id)
}

func TestAHalfThatDiedWhileReadyIsNotHandedOut(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, nc net.Conn){
		"fin": func(t *testing.T, nc net.Conn) { require.NoError(t, nc.Close()) },
		"rst": reset,
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			server := newServer(t, ServerConfig{Interval: time.Hour}) // no sweep finds it first
			client := newClient(t, server, ClientConfig{})
			require.NoError(t, server.WaitReady(within(t)))
			_, c, err := client.ServerGet(within(t))
			require.NoError(t, err)
			end(t, c)
			p := server
			p.mu.Lock()
			half := p.shelf.open[c.(*Conn).e.id]
			p.mu.Unlock()
			eventually(t, "the end arrives", func() bool { return lookAtReady(half, 0) != nil })

			id, s, err := server.ServerGet(within(t))
			require.NoError(t, err)
			assert.NotEqual(t, half.id.String(), id)
			assert.EqualValues(t, 1, server.Stats().Died)
			_, err = server.ClientGet(lookOnly(), half.id.String())
			require.ErrorIs(t, err, ErrNotFound)
			c, err = client.ClientGet(within(t), id)
			require.NoError(t, err)
			talk(t, s, c, "hello")
		})
	}
}

func TestADeadHalfThatIsAskedForByIDIsNotFound(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{Interval: time.Hour})
	client := newClient(t, server, ClientConfig{})
	id, c, err := client.ServerGet(within(t))
	require.NoError(t, err)
	require.NoError(t, server.WaitReady(within(t)))
	half := server.shelf.open[c.(*Conn).e.id]
	reset(t, c)
	eventually(t, "the reset arrives", func() bool { return lookAtReady(half, 0) != nil })
	_, err = server.ClientGet(bg, id)
	require.ErrorIs(t, err, ErrNotFound, "it does not wait: the connection cannot come back")
	assert.EqualValues(t, 1, server.Stats().Died)
}

func TestSweepsFindDeadHalvesAndTheClientDialsNewOnes(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{Interval: 5 * time.Millisecond})
	client := newClient(t, server, ClientConfig{MinCapacity: 3, MaxCapacity: 3})
	require.NoError(t, client.WaitReady(within(t)))
	eventually(t, "all arrive", func() bool { return server.Idle() == 3 })
	require.Equal(t, 3, server.Clean())
	eventually(t, "the client notices", func() bool { return client.Stats().Died == 3 && client.Idle() == 3 })
	require.Equal(t, 3, client.Flush())
	eventually(t, "the server notices", func() bool { return server.Stats().Died == 3 && server.Idle() == 3 })
}

// slow is a connection that cannot be looked at before its gate opens.
type slow struct {
	*net.TCPConn
	gate, looking chan struct{}
}

func (s *slow) SyscallConn() (syscall.RawConn, error) {
	select {
	case s.looking <- struct{}{}:
	default:
	}
	<-s.gate
	return s.TCPConn.SyscallConn()
}

func TestALookHoldsUpNobodyButWhoWantsThatConnection(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	gate, looking := make(chan struct{}), make(chan struct{}, 1)
	first := true // dials of the first round begin in one goroutine each
	var mu sync.Mutex
	client := newClient(t, server, ClientConfig{MinCapacity: 3, MaxCapacity: 3, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.server.listener.Addr().String())
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if first {
			first = false
			return &slow{TCPConn: nc.(*net.TCPConn), gate: gate, looking: looking}, nil
		}
		return nc, nil
	}})
	require.NoError(t, client.WaitReady(within(t)))
	<-looking // a sweep hangs at the slow one
	var held []net.Conn
	for range 2 {
		_, nc, err := client.ServerGet(within(t))
		require.NoError(t, err)
		held = append(held, nc)
	}
	assert.Equal(t, 1, client.Idle(), "under check")
	_, _, err := client.ServerGet(lookOnly())
	require.ErrorIs(t, err, context.Canceled)
	got := make(chan net.Conn, 1)
	go func() {
		_, nc, err := client.ServerGet(within(t))
		assert.NoError(t, err)
		got <- nc
	}()
	eventually(t, "it waits", func() bool { return client.Stats().Waiting == 1 })
	close(gate)
	nc := <-got
	require.IsType(t, &slow{}, nc.(*Conn).NetConn())
	for _, nc := range append(held, nc) {
		require.NoError(t, nc.Close())
	}
}
