package paired

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keepAlive reads the idle time before a probe, in seconds; 0 when off.
func keepAlive(t *testing.T, nc net.Conn) (seconds int) {
	rc, err := socket(nc.(*Conn).NetConn()).(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		assert.NoError(t, err)
		if on != 0 {
			seconds, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			assert.NoError(t, err)
		}
	}))
	return seconds
}

func TestKeepAliveIsSetOnEveryConnection(t *testing.T) {
	cert := anyCertificate(t)
	for _, c := range []struct {
		set  time.Duration
		want int
	}{{0, 30}, {17 * time.Second, 17}, {-1, 0}} {
		for _, mode := range []TLSMode{TLSNone, TLSSelfSigned} {
			noLeaks(t)
			var conf *tls.Config
			if mode != TLSNone {
				conf = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			server := newServer(t, ServerConfig{KeepAlive: c.set, TLS: conf})
			client := newClient(t, server, ClientConfig{KeepAlive: c.set, TLSMode: mode})
			_, near, far := take(t, server, client)
			assert.Equal(t, c.want, keepAlive(t, near), "server, %v, mode %v", c.set, mode)
			assert.Equal(t, c.want, keepAlive(t, far), "client, %v, mode %v", c.set, mode)
		}
	}
}
