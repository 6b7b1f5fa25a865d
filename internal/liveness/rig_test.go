package liveness_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)

	rawClient, rawPeer := pair(t, "tcp")
	peer = tls.Server(rawPeer, &tls.Config{
		MaxVersion:   version,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	client = tls.Client(rawClient, &tls.Config{MaxVersion: version, RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "127.0.0.1"})
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	require.NoError(t, client.Handshake())
	require.NoError(t, <-done)
	return client, peer
}
