package sockopt_test

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/sockopt"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h.
const tcpUserTimeout = 18

// control is what net.Dialer.Control is.
type control = func(network, address string, c syscall.RawConn) error

// connect dials a listener of its own, with f as the control.
func connect(t *testing.T, network, addr string, f control) syscall.RawConn {
	t.Helper()
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	d := net.Dialer{Control: f}
	nc, err := d.DialContext(t.Context(), network, ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	raw, err := nc.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	return raw
}

// userTimeout returns the option of a socket, in milliseconds.
func userTimeout(t *testing.T, raw syscall.RawConn) (millis int) {
	t.Helper()
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		millis, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}))
	require.NoError(t, failed)
	return millis
}

func TestSetUserTimeoutIsTheKernelsInMilliseconds(t *testing.T) {
	raw := connect(t, "tcp", "127.0.0.1:0", nil)
	require.Zero(t, userTimeout(t, raw))
	require.NoError(t, sockopt.SetUserTimeout(raw, 1234*time.Millisecond+time.Microsecond))
	assert.Equal(t, 1234, userTimeout(t, raw))
}

func TestDialSetsTheUserTimeoutBeforeTheSocketConnects(t *testing.T) {
	set := sockopt.Dial(10 * time.Second)
	f := func(network, address string, c syscall.RawConn) error {
		err := set(network, address, c)
		assert.Equal(t, 10_000, userTimeout(t, c))
		return err
	}
	assert.Equal(t, 10_000, userTimeout(t, connect(t, "tcp", "127.0.0.1:0", f)))
}

func TestDialLeavesUnixSocketsAlone(t *testing.T) {
	connect(t, "unix", filepath.Join(t.TempDir(), "s"), sockopt.Dial(time.Second))
}

func TestSetUserTimeoutTellsWhatTheSystemSays(t *testing.T) {
	unix := connect(t, "unix", filepath.Join(t.TempDir(), "s"), nil)
	assert.ErrorIs(t, sockopt.SetUserTimeout(unix, time.Second), syscall.EOPNOTSUPP)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	raw, err := ln.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	assert.ErrorIs(t, sockopt.SetUserTimeout(raw, time.Second), net.ErrClosed)
}
