//go:build unix

package liveness_test

import (
	"crypto/tls"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
)

// eventually peeks until the kernel has carried over what the peer did.
func eventually(t *testing.T, nc net.Conn, want error) {
	t.Helper()
	var err error
	require.Eventually(t, func() bool { err = liveness.Peek(nc); return err != nil }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, err, want)
}

func TestPeekFindsWhatThePeerDid(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			nc, peer := pair(t, network)
			require.NoError(t, liveness.Peek(nc), "alive and silent")

			_, err := peer.Write([]byte("abc"))
			require.NoError(t, err)
			eventually(t, nc, liveness.ErrUnsolicited)
			b := make([]byte, 8)
			n, err := nc.Read(b)
			require.NoError(t, err)
			assert.Equal(t, "abc", string(b[:n]), "nothing was consumed")
			require.NoError(t, liveness.Peek(nc), "silent again")

			require.NoError(t, peer.Close())
			eventually(t, nc, liveness.ErrClosed)
			require.NoError(t, nc.Close())
			require.ErrorIs(t, liveness.Peek(nc), liveness.ErrClosed)
			require.ErrorIs(t, liveness.Peek(nc), net.ErrClosed, "closed here")
		})
	}
}

func TestPeekFindsAReset(t *testing.T) {
	nc, peer := pair(t, "tcp")
	require.NoError(t, peer.(*net.TCPConn).SetLinger(0))
	require.NoError(t, peer.Close())
	eventually(t, nc, liveness.ErrReset)

	nc, peer = pair(t, "tcp")
	require.NoError(t, peer.(*net.TCPConn).SetLinger(0))
	require.NoError(t, peer.Close())
	eventually(t, nc, syscall.ECONNRESET)
}

func TestPeekIgnoresDeadlines(t *testing.T) {
	nc, _ := pair(t, "tcp")
	require.NoError(t, nc.SetDeadline(time.Unix(1, 0)))
	_, err := nc.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, liveness.Peek(nc))
}

func TestPeekLooksThroughTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			nc, peer := securePair(t, version)
			require.NoError(t, liveness.Peek(nc), "session tickets are no reason to close")
			// Read what a TLS 1.3 server sends after the handshake.
			go peer.Write([]byte("a"))
			_, err := nc.Read(make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, liveness.Peek(nc))

			require.NoError(t, peer.NetConn().(*net.TCPConn).SetLinger(0))
			require.NoError(t, peer.NetConn().Close())
			eventually(t, nc, liveness.ErrReset)
		})
	}
}

func TestPeekFindsAFinBelowTLS(t *testing.T) {
	nc, peer := securePair(t, tls.VersionTLS12)
	require.NoError(t, peer.NetConn().Close())
	eventually(t, nc, liveness.ErrClosed)
}

// disguise is a wrapper as users write them.
type disguise struct {
	net.Conn
	inner net.Conn
}

func (d disguise) NetConn() net.Conn { return d.inner }

func TestPeekTakesWhatItCannotLookAtForGood(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.NoError(t, liveness.Peek(a))
	require.NoError(t, liveness.Peek(disguise{Conn: a}), "a wrapper around nothing")
	d := &disguise{}
	d.inner = d
	require.NoError(t, liveness.Peek(d), "a wrapper around itself")

	nc, peer := pair(t, "tcp")
	require.NoError(t, peer.Close())
	eventually(t, disguise{inner: disguise{inner: nc}}, liveness.ErrClosed)
}

func TestPeekerPeeksAgain(t *testing.T) {
	nc, peer := pair(t, "tcp")
	p := liveness.NewPeeker(nc)
	require.NoError(t, p.Peek())
	_, err := peer.Write([]byte("a"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Peek() != nil }, 10*time.Second, time.Millisecond)
	_, err = nc.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, p.Peek(), "what was found before is forgotten")
	require.NoError(t, nc.Close())
	require.ErrorIs(t, p.Peek(), liveness.ErrClosed)
	require.ErrorIs(t, liveness.NewPeeker(nc).Peek(), liveness.ErrClosed)
}
