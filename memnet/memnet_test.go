package memnet_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/memnet"
)

func TestBothEndsAreConnected(t *testing.T) {
	ln := memnet.Listen()
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		nc, err := ln.Accept()
		assert.NoError(t, err)
		accepted <- nc
	}()
	client, err := ln.DialContext(context.Background(), "tcp", "anything")
	require.NoError(t, err)
	server := <-accepted
	go func() { _, _ = client.Write([]byte("hello")) }()
	got := make([]byte, 5)
	_, err = io.ReadFull(server, got)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
	assert.Equal(t, client.LocalAddr(), server.RemoteAddr())
	assert.Equal(t, client.RemoteAddr(), server.LocalAddr())
	assert.Equal(t, ln.Addr(), server.LocalAddr())
	assert.Equal(t, "memory", ln.Addr().Network())
	require.NoError(t, client.Close())
	_, err = server.Read(got)
	assert.ErrorIs(t, err, io.EOF)
}

func TestCloseEndsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		accepted := make(chan error, 1)
		go func() { _, err := ln.Accept(); accepted <- err }()
		synctest.Wait()
		require.NoError(t, ln.Close())
		require.ErrorIs(t, <-accepted, net.ErrClosed)
		_, err := ln.DialContext(context.Background(), "", "")
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, ln.Close(), "again")
	})
}

func TestADialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		defer ln.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := ln.DialContext(ctx, "", "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestClientsHaveAddressesOfTheirOwn(t *testing.T) {
	ln := memnet.Listen()
	defer ln.Close()
	seen := make(map[net.Addr]bool)
	for range 3 {
		accepted := make(chan net.Conn, 1)
		go func() { nc, _ := ln.Accept(); accepted <- nc }()
		client, err := ln.DialContext(context.Background(), "", "")
		require.NoError(t, err)
		seen[client.LocalAddr()] = true
		require.NoError(t, client.Close())
		require.NoError(t, (<-accepted).Close())
	}
	assert.Len(t, seen, 3)
}

func TestErrorsSayWhatHasFailed(t *testing.T) {
	ln := memnet.Listen()
	require.NoError(t, ln.Close())
	_, err := ln.DialContext(context.Background(), "", "")
	assert.EqualError(t, err, "dial memory memory: use of closed network connection")
	_, err = ln.Accept()
	assert.EqualError(t, err, "accept memory memory: use of closed network connection")
}
