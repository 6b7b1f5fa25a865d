package paired_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool/paired"
)

// TestPoolIntegration is how a program tests its use of the pools: both ends on the
// loopback interface, without TLS.
func TestPoolIntegration(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	serverPool, err := paired.NewServerPool(paired.ServerConfig{MaxCapacity: 5, Listener: listener, KeepAlive: 10 * time.Second})
	require.NoError(t, err)
	go serverPool.ServerManager()
	defer serverPool.Close()

	addr := listener.Addr().String()
	clientPool, err := paired.NewClientPool(paired.ClientConfig{
		MinCapacity: 2, MaxCapacity: 5, MinInterval: time.Second, MaxInterval: 3 * time.Second, KeepAlive: 10 * time.Second,
		TLSMode: paired.TLSNone, ServerName: strings.Split(addr, ":")[0],
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		},
	})
	require.NoError(t, err)
	go clientPool.ClientManager()
	defer clientPool.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	id, conn, err := serverPool.ServerGet(ctx)
	require.NoError(t, err)
	require.NotNil(t, conn)
	require.NotEmpty(t, id)
	clientConn, err := clientPool.ClientGet(ctx, id)
	require.NoError(t, err)
	require.NotNil(t, clientConn)

	_, err = clientPool.ClientGet(ctx, "non-existent-id")
	require.Error(t, err)
	require.Equal(t, 5, serverPool.Capacity())

	_, other, err := serverPool.ServerGet(ctx)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, _, err = serverPool.ServerGet(short)
	require.Error(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, serverPool.Put(id, conn))
}
