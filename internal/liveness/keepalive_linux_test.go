package liveness_test

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
)

// option reads an option of the socket.
func option(t *testing.T, nc net.Conn, level, name int) int {
	t.Helper()
	rc, err := nc.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var value int
	var failed error
	require.NoError(t, rc.Control(func(fd uintptr) { value, failed = syscall.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, failed)
	return value
}

func TestKeepAliveSetsAllThreeOptionsBelowAnyWrapper(t *testing.T) {
	plain, _ := pair(t, "tcp")
	secure, _ := securePair(t, tls.VersionTLS13)
	for name, nc := range map[string]net.Conn{"tcp": plain, "tls": secure, "wrapped": disguise{inner: secure}} {
		bottom := plain
		if name != "tcp" {
			bottom = secure.NetConn()
		}
		require.NoError(t, liveness.KeepAlive(nc, 17*time.Second), name)
		assert.Equal(t, 1, option(t, bottom, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE), name)
		assert.Equal(t, 17, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), name)
		assert.Equal(t, 17, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), name)
		assert.Equal(t, 3, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT), name)

		require.NoError(t, liveness.KeepAlive(nc, 200*time.Millisecond), "a fraction of a second is rounded up")
		assert.Equal(t, 1, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), name)

		require.NoError(t, liveness.KeepAlive(nc, 24*time.Hour), "the kernel takes less")
		most := int(liveness.KeepAliveMost.Seconds())
		assert.Equal(t, most, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), name)
		assert.Equal(t, most, option(t, bottom, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), name)

		require.NoError(t, liveness.KeepAlive(nc, -1), name)
		assert.Equal(t, 0, option(t, bottom, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE), name)
	}
}

func TestKeepAliveLeavesOtherConnectionsAlone(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.NoError(t, liveness.KeepAlive(a, time.Second))
	nc, _ := pair(t, "unix")
	require.NoError(t, liveness.KeepAlive(nc, time.Second))
	closed, _ := pair(t, "tcp")
	require.NoError(t, closed.Close())
	require.Error(t, liveness.KeepAlive(closed, time.Second))
}
