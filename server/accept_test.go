package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// A listener whose Accept fails as often as asked.
type flaky struct {
	net.Listener
	mu       sync.Mutex
	failures []error
	calls    []time.Time
}

func (l *flaky) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.calls = append(l.calls, time.Now())
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

func TestAcceptSurvivesEveryError(t *testing.T) {
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &flaky{Listener: ln, failures: []error{
		syscall.EMFILE, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENFILE)},
		syscall.ENOBUFS, syscall.ENOMEM, errors.New("something unheard of"),
	}}
	require.NoError(t, s.Serve(l))
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	eventually(t, s, "the connection", func(st Stats) bool { return st.Accepted == 1 })
	assert.EqualValues(t, 5, s.Stats().AcceptErrors)
	l.mu.Lock()
	defer l.mu.Unlock()
	// 5, 10, 20, 40 and 80 ms; more on a busy machine, but never less.
	for i, least := 1, backoffMin; i <= 5; i, least = i+1, 2*least {
		assert.GreaterOrEqual(t, l.calls[i].Sub(l.calls[i-1]), least, "pause %d", i)
	}
}

func TestAcceptEndsWhenTheListenerIsClosedByOthers(t *testing.T) {
	s := launch(t, Config{})
	c := dial(t, s)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(ln))
	require.NoError(t, ln.Close())
	eventually(t, s, "the error", func(st Stats) bool { return st.AcceptErrors == 1 })
	c.call(1, []byte("the rest goes on"))
}

type wrapped struct{ net.Conn }

type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrapped{nc}, nil
}

// What an event loop cannot watch is served beside them.
func TestConnectionsOfAnyListenerAreServed(t *testing.T) {
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(wrapping{ln}))
	others := dialAddr(t, net.Dialer{}, "tcp", ln.Addr().String(), s.format)
	if s.cfg.TLS != nil {
		others = others.secure()
	}
	others.call(1, []byte("beside the event loops"))
	dial(t, s).call(1, nil)
	assert.Equal(t, 2, s.Stats().Conns)
	require.NoError(t, others.nc.Close())
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Peer == 1 && st.Conns == 1 })
}

type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (a addressed) LocalAddr() net.Addr  { return a.local }
func (a addressed) RemoteAddr() net.Addr { return a.remote }

// The event-loop library writes over the zone strings of a connection that ended.
func TestAddressesAreDetached(t *testing.T) {
	zone := strings.Clone("eth0")
	socket := net.IP{15: 1}
	local, remote := &net.TCPAddr{IP: socket, Zone: zone}, &net.TCPAddr{IP: socket, Zone: zone}
	ours := ownAddr(remote)
	detach(addressed{local: local, remote: remote})
	for _, a := range []*net.TCPAddr{local, remote} {
		require.Equal(t, zone, a.Zone)
		bytes := unsafe.Slice(unsafe.StringData(a.Zone), len(a.Zone)) // as the library does
		bytes[0] = '!'
	}
	assert.Equal(t, "eth0", zone)
	assert.Equal(t, "[::1%eth0]:0", ours.String())
	for _, a := range []*net.TCPAddr{local, remote} {
		assert.NotSame(t, &socket[0], &a.IP[0], "it keeps the whole socket address alive")
	}
}

// nothings is a listener whose Accept returns no connection and no error, as often as asked.
type nothings struct {
	net.Listener
	left atomic.Int64
}

func (l *nothings) Accept() (net.Conn, error) {
	switch l.left.Add(-1) {
	case 1:
		return (*net.TCPConn)(nil), nil
	case 0:
		return nil, nil
	}
	return l.Listener.Accept()
}

func TestNilListenersAndConnectionsAreErrors(t *testing.T) {
	s := launch(t, Config{})
	require.ErrorContains(t, s.Serve(nil), "the listener is nil")
	require.ErrorContains(t, s.Serve((*net.TCPListener)(nil)), "the listener is nil")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &nothings{Listener: ln}
	l.left.Store(2)
	require.NoError(t, s.Serve(l))
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	eventually(t, s, "the connection", func(st Stats) bool { return st.Accepted == 1 && st.AcceptErrors == 2 })
}

// late is a connection that reads before it tells its address, as one does that speaks the PROXY
// protocol. It is a value with a slice in it, which can be no key of a map.
type late struct {
	net.Conn
	first []byte
}

func (c late) RemoteAddr() net.Addr {
	_, _ = io.ReadFull(c.Conn, c.first)
	return c.Conn.RemoteAddr()
}

type lateListener struct{ net.Listener }

func (l lateListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return late{nc, make([]byte, 1)}, nil
}

// A client that connects and does not tell its address holds up none that does, takes a
// place for HandshakeTimeout at most, and is not waited for by a stop.
func TestAConnectionThatDoesNotTellItsAddressHoldsUpNobody(t *testing.T) {
	speaksPlain(t)
	var log lines
	s := launch(t, Config{Handler: HandlerFunc(echo), HandshakeTimeout: 400 * time.Millisecond, handshakes: 3,
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(lateListener{ln}))
	connect := func() *client {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		return newClient(t, nc, framing.Format{})
	}
	silent := []*client{connect(), connect()}
	speaks := connect()
	speaks.write([]byte{'P'})
	speaks.call(1, []byte("x"))
	waitFor(t, "its place", func() bool { return s.shaking.n.Load() == 2 })
	silent = append(silent, connect())
	waitFor(t, "three to be asked", func() bool { return s.shaking.n.Load() == 3 })
	connect().closed()
	assert.EqualValues(t, 1, s.Stats().RejectedHandshakes)
	for _, c := range silent {
		c.closed()
	}
	waitFor(t, "the log", func() bool { return strings.Contains(log.String(), errNoAddrs.Error()) })
	eventually(t, s, "all three", func(st Stats) bool { return st.AcceptErrors == 3 })
	speaks.call(2, []byte("y"))

	_ = connect()
	waitFor(t, "one to be asked", func() bool { return s.shaking.n.Load() == 1 })
	require.NoError(t, s.Close())
}
