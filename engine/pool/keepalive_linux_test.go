package pool_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine/pool"
)

func TestEveryConnectionHasKeepAlive(t *testing.T) {
	addr, peers := listen(t, nil)
	for setting, want := range map[time.Duration]int{0: 30, 7 * time.Second: 7, -1: 0} {
		p := newConnPool(t, pool.Config{Addr: addr, KeepAlive: setting})
		nc, err := p.GetContext(bg)
		require.NoError(t, err)
		rc, err := nc.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		var on, idle int
		require.NoError(t, rc.Control(func(fd uintptr) {
			on, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			idle, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		}))
		if want == 0 {
			assert.Zero(t, on)
		} else {
			assert.Equal(t, []int{1, want}, []int{on, idle})
		}
		require.NoError(t, p.Put(nc))
		(<-peers).Close()
	}
}
