//go:build unix

package pool_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/pool"
)

// listen returns an address and the connections that arrive there.
func listen(t *testing.T, secure *tls.Config) (addr string, peers <-chan net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted, done := make(chan net.Conn, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if secure != nil {
				tc := tls.Server(nc, secure)
				if tc.Handshake() != nil {
					tc.Close()
					continue
				}
				nc = tc
			}
			accepted <- nc
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		for len(accepted) > 0 {
			(<-accepted).Close()
		}
	})
	return ln.Addr().String(), accepted
}

// lookUntilBad waits until the kernel has carried over what the peer did.
func lookUntilBad(t *testing.T, nc net.Conn) {
	t.Helper()
	require.Eventually(t, func() bool { return liveness.Peek(nc) != nil }, 10*time.Second, time.Millisecond)
}

// faults are what a peer can do to a connection nobody uses.
var faults = map[string]struct {
	do     func(peer net.Conn) error
	reason pool.Reason
}{
	"FIN":   {func(peer net.Conn) error { return peer.Close() }, pool.PeerClosed},
	"RST":   {func(peer net.Conn) error { return errors.Join(peer.(*net.TCPConn).SetLinger(0), peer.Close()) }, pool.PeerClosed},
	"bytes": {func(peer net.Conn) error { _, err := peer.Write([]byte("surprise")); return err }, pool.Unsolicited},
}

func TestAPoisonedConnectionIsNeverHandedOut(t *testing.T) {
	for name, fault := range faults {
		t.Run(name+" while idle", func(t *testing.T) {
			addr, peers := listen(t, nil)
			p := newConnPool(t, pool.Config{Addr: addr})
			nc, err := p.GetContext(bg)
			require.NoError(t, err)
			peer := <-peers
			defer peer.Close()
			require.NoError(t, p.Put(nc))
			require.NoError(t, fault.do(peer))
			if name != "RST" { // a look takes the pending error
				lookUntilBad(t, nc)
			} else {
				require.Eventually(t, func() bool { return resetSeen(nc) }, 10*time.Second, time.Millisecond)
			}
			again, err := p.GetContext(bg)
			require.NoError(t, err)
			assert.False(t, nc == again)
			assert.EqualValues(t, 1, p.Stats().ClosedBy[fault.reason])
			require.NoError(t, p.Put(again))
			(<-peers).Close()
		})
		t.Run(name+" before Put", func(t *testing.T) {
			addr, peers := listen(t, nil)
			p := newConnPool(t, pool.Config{Addr: addr, MaxConns: 1})
			nc, err := p.GetContext(bg)
			require.NoError(t, err)
			peer := <-peers
			defer peer.Close()
			require.NoError(t, fault.do(peer))
			if name != "RST" {
				lookUntilBad(t, nc)
			} else {
				require.Eventually(t, func() bool { return resetSeen(nc) }, 10*time.Second, time.Millisecond)
			}
			require.NoError(t, p.Put(nc))
			assert.Zero(t, p.Len())
			assert.EqualValues(t, 1, p.Stats().ClosedBy[fault.reason])
			again, err := p.GetContext(bg)
			require.NoError(t, err, "its place is free")
			require.NoError(t, p.Release(again))
			(<-peers).Close()
		})
	}
}

// resetSeen reports whether the connection has left its established state, without
// taking the error.
func resetSeen(nc net.Conn) bool {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = rc.Control(func(fd uintptr) { _, failed = syscall.Getpeername(int(fd)) })
	return err == nil && failed == syscall.ENOTCONN
}

func TestTheBackgroundPassFindsThePoisoned(t *testing.T) {
	addr, peers := listen(t, nil)
	p := newConnPool(t, pool.Config{Addr: addr, ValidationInterval: time.Millisecond})
	nc, err := p.GetContext(bg)
	require.NoError(t, err)
	require.NoError(t, p.Put(nc))
	require.NoError(t, (<-peers).Close())
	require.Eventually(t, func() bool { return p.Stats().ClosedBy[pool.PeerClosed] == 1 }, 10*time.Second, time.Millisecond)
	require.Zero(t, p.Len())
}

func TestAConnectionClosedByItsOwnerIsNotKept(t *testing.T) {
	addr, peers := listen(t, nil)
	p := newConnPool(t, pool.Config{Addr: addr})
	nc, err := p.GetContext(bg)
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	require.NoError(t, p.Put(nc))
	require.Zero(t, p.Len())
	(<-peers).Close()
}

// certificate makes one for 127.0.0.1 and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	ca := testca.New(t)
	return ca.Server(t, "127.0.0.1"), ca.Pool()
}

func TestTLSConnectionsAreSecuredAndNoticedWhenTheyEnd(t *testing.T) {
	cert, roots := certificate(t)
	addr, peers := listen(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	p := newConnPool(t, pool.Config{Addr: addr, TLS: &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}})
	nc, err := p.GetContext(bg)
	require.NoError(t, err)
	peer := (<-peers).(*tls.Conn)
	defer peer.Close()
	require.NoError(t, p.Put(nc), "session tickets wait, and do no harm")
	again, err := p.GetContext(bg)
	require.NoError(t, err)
	require.True(t, nc == again)
	require.NoError(t, p.Put(nc))

	// Read what waits, so that every system sees what comes after it.
	go peer.Write([]byte("a"))
	_, err = nc.Read(make([]byte, 1))
	require.NoError(t, err)
	raw := peer.NetConn().(*net.TCPConn)
	require.NoError(t, raw.SetLinger(0))
	require.NoError(t, raw.Close())
	require.Eventually(t, func() bool { return resetSeen(nc.(*tls.Conn).NetConn()) }, 10*time.Second, time.Millisecond)
	again, err = p.GetContext(bg)
	require.NoError(t, err)
	require.False(t, nc == again)
	require.NoError(t, p.Release(again))
	(<-peers).Close()

	before := descriptors(t)
	untrusting := newConnPool(t, pool.Config{Addr: addr, TLS: &tls.Config{}})
	_, err = untrusting.GetContext(bg)
	var verification *tls.CertificateVerificationError
	require.ErrorAs(t, err, &verification)
	require.Eventually(t, func() bool { return descriptors(t) <= before }, 10*time.Second, time.Millisecond)
}

func TestAServerThatNeverEndsTheHandshakeIsGivenUp(t *testing.T) {
	addr, peers := listen(t, nil) // it accepts, and says nothing
	p := newConnPool(t, pool.Config{
		Addr: addr, TLS: &tls.Config{InsecureSkipVerify: true}, DialTimeout: 20 * time.Millisecond,
		// Connecting takes the time it needs: on a busy machine nobody would arrive.
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(context.WithoutCancel(ctx), "tcp", addr)
		},
	})
	_, err := p.GetContext(bg)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// When a handshake's time is up crypto/tls closes the connection on a goroutine of
	// its own, and nothing else waits for that.
	peer := <-peers
	defer peer.Close()
	awaitEnd(t, peer)
}

// awaitEnd reads until the other end has closed the connection, which it must.
func awaitEnd(t *testing.T, nc net.Conn) {
	t.Helper()
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := io.Copy(io.Discard, nc)
	require.NoError(t, err, "the other end is still open")
}

func TestNothingIsLeftOpen(t *testing.T) {
	addr, peers := listen(t, nil)
	before := descriptors(t)
	for range 10 {
		p, err := pool.New(pool.Config{Addr: addr, MaxConns: 5, MinConns: 2})
		require.NoError(t, err)
		var lent []net.Conn
		for range 5 {
			nc, err := p.GetContext(bg)
			require.NoError(t, err)
			lent = append(lent, nc)
		}
		require.NoError(t, p.Put(lent[0]))
		require.NoError(t, p.Release(lent[1]))
		require.NoError(t, p.Close())
		for range p.Stats().Opened {
			peer := <-peers
			awaitEnd(t, peer)
			require.NoError(t, peer.Close())
		}
	}
	// Not equal: what an earlier test left to others may be closed meanwhile.
	require.LessOrEqual(t, descriptors(t), before)
}

// descriptors counts this process's open ones that are sockets.
func descriptors(t *testing.T) (n int) {
	t.Helper()
	for fd := range 1024 {
		if _, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err == nil {
			n++
		}
	}
	return n
}

func TestADeadAddressIsRefusedWithItsName(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()
	p := newConnPool(t, pool.Config{Addr: addr})
	_, err = p.GetContext(bg)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, addr)
}
