package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/testca"
)

// once marks a test that sets up TLS by itself: the front that is chosen changes nothing.
func once(t *testing.T) {
	t.Helper()
	if *frontFlag != "loops" {
		t.Skip("the same over each front")
	}
}

// site is a server with TLS, and the authorities that vouch for both ends.
type site struct {
	*Server
	servers, clients *testca.CA
	log              lines
	handled          atomic.Int64 // requests that a handler has seen
}

// launchTLS starts a server that lets in the clients that mutual TLS lets in; change may
// change its configuration.
func launchTLS(t *testing.T, change func(x *site, cfg *Config)) *site {
	t.Helper()
	once(t)
	x := &site{servers: testca.New(t), clients: testca.New(t)}
	cfg := Config{
		Logger: slog.New(slog.NewTextHandler(&x.log, nil)),
		Handler: RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			x.handled.Add(1)
			return append(dst, r.Payload()...), nil
		}),
		TLS: &tls.Config{
			Certificates: []tls.Certificate{x.servers.Server(t, "localhost")},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: x.clients.Pool(),
		},
	}
	if change != nil {
		change(x, &cfg)
	}
	x.Server = launch(t, cfg)
	return x
}

// client returns the configuration of a client that shows a certificate whatever authorities the
// server names, or none.
func (x *site) client(certs ...tls.Certificate) *tls.Config {
	shown := &tls.Certificate{}
	for i := range certs {
		shown = &certs[i]
	}
	return &tls.Config{
		RootCAs: x.servers.Pool(), ServerName: "localhost",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil },
	}
}

// good returns that of one that is let in.
func (x *site) good(t *testing.T) *tls.Config { return x.client(x.clients.Client(t, "caller")) }

// connect makes a handshake with the server and returns what it came to. In TLS 1.3 a client
// is through before the server has looked at its certificate.
func (x *site) connect(t *testing.T, cfg *tls.Config) (*client, error) {
	t.Helper()
	c := dialAddr(t, net.Dialer{}, x.Addr().Network(), x.Addr().String(), x.format)
	return x.over(t, c.nc, cfg)
}

func (x *site) over(t *testing.T, nc net.Conn, cfg *tls.Config) (*client, error) {
	t.Helper()
	tc := tls.Client(nc, cfg)
	err := tc.Handshake()
	return newClient(t, tc, x.format), err
}

// enter is connect for one that is let in.
func (x *site) enter(t *testing.T, cfg *tls.Config) *client {
	t.Helper()
	c, err := x.connect(t, cfg)
	require.NoError(t, err)
	return c
}

// refused returns what a client meets that is not let in, though it sends a request at once.
func (x *site) refused(t *testing.T, cfg *tls.Config) error {
	t.Helper()
	c, err := x.connect(t, cfg)
	if err == nil {
		_, _ = c.nc.Write(c.frame(1, []byte("secret payload")))
		_, err = c.nc.Read(make([]byte, 1))
	}
	require.Error(t, err)
	_ = c.nc.Close()
	return err
}

// soonTLS is a HandshakeTimeout that is soon over.
const soonTLS = 50 * time.Millisecond
