package e2e

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/server"
)

// serveTLS starts an echo server until the test ends; nil is plain.
func serveTLS(t *testing.T, cfg *tls.Config, extensions bool) (*server.Server, string) {
	t.Helper()
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(echoes), TLS: cfg,
		Extensions: extensions, Logger: slog.New(slog.DiscardHandler), HandshakeTimeout: 5 * testBound})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s, s.Addr().String()
}

// A client that meets the wrong kind of port, or is not let in, is told what to do.
func TestTheErrorOfACallSaysWhatIsWrongWithTLS(t *testing.T) {
	servers, clients := testca.New(t), testca.New(t)
	mutual := &tls.Config{
		Certificates: []tls.Certificate{servers.Server(t, "localhost")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(),
	}
	trusting := &tls.Config{RootCAs: servers.Pool(), ServerName: "localhost"}
	with := func(c tls.Certificate) *tls.Config {
		own := trusting.Clone()
		own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		return own
	}
	wrongName := trusting.Clone()
	wrongName.ServerName = "elsewhere"
	for name, tc := range map[string]struct {
		server, client *tls.Config
		want           string
	}{
		"a plain broker":         {mutual, nil, "it looks like a TLS server: set Config.TLS if it is yours"},
		"a plain server":         {nil, trusting, "speak TLS?"},
		"another name":           {mutual, wrongName, `certificate is valid for localhost, not elsewhere`},
		"another authority":      {mutual, &tls.Config{ServerName: "localhost"}, "unknown authority"},
		"no certificate":         {mutual, trusting, "the server refuses our TLS certificate; see Config.TLS.Certificates"},
		"an expired certificate": {mutual, with(clients.Client(t, "caller", testca.Expired)), "the server refuses our TLS certificate"},
	} {
		for kind, extensions := range map[string]bool{"bare": false, "extension": true} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				checkLeaks(t)
				s, addr := serveTLS(t, tc.server, extensions)
				b := newBroker(t, engine.Config{Addrs: []string{addr}, TLS: tc.client, Extensions: extensions, MaxRetries: -1})
				// An early call may end by the connection's loss, which says less.
				var last error
				defer func() { t.Log(last) }()
				require.Eventually(t, func() bool {
					_, last = b.Send(t.Context(), []byte("hello"))
					return last != nil && strings.Contains(last.Error(), tc.want)
				}, 2*testBound, time.Millisecond)
				assert.Zero(t, s.Stats().Requests)
			})
		}
	}
}

// Mutual TLS by files, under load: both ends renew their certificates, and the server its
// authority, while calls go on. None fails.
func TestRenewalUnderLoadLosesNothing(t *testing.T) {
	checkLeaks(t)
	servers, clients := testca.New(t), testca.New(t)
	serverDir, clientDir := t.TempDir(), t.TempDir()
	renew := func() (own, theirs certs.Config) {
		own = certs.Config{CA: clients.File(t, serverDir), Interval: time.Millisecond}
		own.Cert, own.Key = testca.Files(t, serverDir, servers.Server(t, "localhost"))
		theirs = certs.Config{CA: servers.File(t, clientDir), Interval: time.Millisecond}
		theirs.Cert, theirs.Key = testca.Files(t, clientDir, clients.Client(t, "caller"))
		return own, theirs
	}
	own, theirs := renew()
	serverFiles, err := certs.Load(own)
	require.NoError(t, err)
	defer serverFiles.Close()
	clientFiles, err := certs.Load(theirs)
	require.NoError(t, err)
	defer clientFiles.Close()
	s, addr := serveTLS(t, serverFiles.Server(), true)
	b := newBroker(t, engine.Config{Addrs: []string{addr}, TLS: clientFiles.Client("localhost"), Extensions: true,
		ConnsPerAddr: 2, MaxLifetime: 50 * time.Millisecond, DialTimeout: 5 * testBound})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for n := 0; s.Stats().Accepted < 20 && !t.Failed(); n++ {
				reply, err := b.Send(t.Context(), make([]byte, n%3000))
				if !assert.NoError(t, err) || !assert.Len(t, reply, n%3000) {
					return
				}
			}
		})
	}
	for s.Stats().Accepted < 20 && !t.Failed() {
		renew()
		<-time.After(10 * time.Millisecond)
	}
	callers.Wait()
	assert.Zero(t, b.Stats().ConnsLost, "%+v", b.Stats())
	assert.Zero(t, s.Stats().Closed.Handshake, "%+v", s.Stats())
}
