package load

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAConnectionThatEndsInItsHandshakeIsSaidTo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}
	}()
	defer func() { _ = l.Close(); <-closed }()
	target, err := ParseTarget("tls://" + l.Addr().String())
	require.NoError(t, err)
	cfg := Config{Targets: []Target{target}, Codec: codecOf(t, "anet"), Mix: mixOf(t, "x", "any"), Conns: 1, InFlight: 1, Requests: 1}
	res := result(t, cfg)
	assert.Contains(t, res.Conns.Errors, "dial: TLS handshake: closed by the peer")
}
