package pool_test

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestEveryConnectionHasKeepAlive(t *testing.T) {
	cert, roots := certificate(t)
	plain, plainPeers := listen(t, nil)
	secured, securedPeers := listen(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	for name, at := range map[string]struct {
		cfg   pool.Config
		peers <-chan net.Conn
	}{
		"plain": {pool.Config{Addr: plain}, plainPeers},
		"TLS":   {pool.Config{Addr: secured, TLS: &tls.Config{RootCAs: roots}}, securedPeers},
		"own dial": {pool.Config{Addr: plain, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", addr)
		}}, plainPeers},
	} {
		for setting, want := range map[time.Duration]int{0: 30, 7 * time.Second: 7, -1: 0} {
			at.cfg.KeepAlive = setting
			p := newConnPool(t, at.cfg)
			nc, err := p.GetContext(bg)
			require.NoError(t, err)
			peer := <-at.peers
			on, idle := keepAlive(t, nc)
			if want == 0 {
				assert.Zero(t, on, name)
			} else {
				assert.Equal(t, []int{1, want}, []int{on, idle}, name)
			}
			require.NoError(t, p.Put(nc))
			peer.Close()
		}
	}
}

// keepAlive returns the options of a connection, or of the one below it.
func keepAlive(t *testing.T, nc net.Conn) (on, idle int) {
	t.Helper()
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	rc, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		on, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		idle, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
	}))
	return on, idle
}
