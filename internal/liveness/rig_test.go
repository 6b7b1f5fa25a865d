package liveness_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/testca"
)

// pair returns the two ends of a real connection.
func pair(t *testing.T, network string) (client, peer net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	peer, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { client.Close(); peer.Close() })
	return client, peer
}

// securePair returns the two ends of a TLS connection after its handshake.
func securePair(t *testing.T, version uint16) (client, peer *tls.Conn) {
	t.Helper()
	ca := testca.New(t)
	rawClient, rawPeer := pair(t, "tcp")
	peer = tls.Server(rawPeer, &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{ca.Server(t, "localhost")}})
	client = tls.Client(rawClient, &tls.Config{
		MaxVersion: version, RootCAs: ca.Pool(), ServerName: "localhost",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	})
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	require.NoError(t, client.Handshake())
	require.NoError(t, <-done)
	return client, peer
}
