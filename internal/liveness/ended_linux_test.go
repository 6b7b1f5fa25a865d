package liveness_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
)

func TestPeekFindsTheEndBehindUnreadTLSRecords(t *testing.T) {
	for name, end := range map[string]func(peer *tls.Conn) error{
		"alert and FIN": (*tls.Conn).Close,
		"FIN":           func(peer *tls.Conn) error { return peer.NetConn().Close() },
		"RST": func(peer *tls.Conn) error {
			if err := peer.NetConn().(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
			return peer.NetConn().Close()
		},
	} {
		nc, peer := securePair(t, tls.VersionTLS13)
		_, err := peer.Write([]byte("unread"))
		require.NoError(t, err, name)
		require.NoError(t, liveness.Peek(nc), name)
		require.NoError(t, end(peer), name)
		eventually(t, nc, liveness.ErrClosed)
	}
}
