package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tlsPeer is an echo server behind TLS, with the certificate that httptest makes
// for 127.0.0.1 and example.com.
func tlsPeer(t *testing.T) (p *peer, roots *x509.CertPool) {
	t.Helper()
	fixture := httptest.NewTLSServer(nil)
	cert := fixture.TLS.Certificates[0]
	roots = x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()

	p = newPeer(t, echo)
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.serve(tls.NewListener(secure, &tls.Config{Certificates: []tls.Certificate{cert}}))
	return p, roots
}

func TestTLSCarriesRequestsAndChecksTheServersName(t *testing.T) {
	p, roots := tlsPeer(t)
	b := newBroker(t, Config{Addrs: []string{p.addr()}, TLS: &tls.Config{RootCAs: roots}})
	manyCallers(t, b, 50, 20)
	_, err := b.Send(bg, make([]byte, 65_531))
	require.NoError(t, err)

	for name, cfg := range map[string]*tls.Config{
		"unknown authority": {},
		"wrong name":        {RootCAs: roots, ServerName: "elsewhere.test"},
	} {
		b := newBroker(t, Config{Addrs: []string{p.addr()}, TLS: cfg, MaxRetries: -1})
		_, err := b.Send(bg, []byte("secret"))
		require.Error(t, err, name)
		var verification *tls.CertificateVerificationError
		require.ErrorAs(t, err, &verification, name)
		assert.True(t, SafeToRetry(err), "nothing was sent")
	}
}

func TestUnixSocketsWork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	p := newPeer(t, echo)
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	p.serve(ln)
	manyCallers(t, newBroker(t, Config{Addrs: []string{"unix://" + path}}), 50, 20)
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestLogTellsOfConnectionsAndNeverOfPayload(t *testing.T) {
	p := newPeer(t, echo)
	var log syncBuffer
	b := newBroker(t, Config{Addrs: []string{p.addr()}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	const secret = "PIN 1234"
	_, err := b.Send(bg, []byte(secret))
	require.NoError(t, err)
	p.reset()
	until(func() bool { return b.Stats().Dials == 2 })
	_, err = b.Send(bg, []byte(secret))
	require.NoError(t, err)
	assert.Contains(t, log.String(), "connection lost")
	assert.Contains(t, log.String(), "connected")
	assert.NotContains(t, log.String(), "1234")
}

type wrapped struct{ net.Conn }

type plainWrapped struct{ wrapped }

func (w plainWrapped) PlainConn() net.Conn { return w.Conn }

func TestOnlyAWrapperThatSaysSoIsWrittenToBelow(t *testing.T) {
	for name, c := range map[string]struct {
		wrap  func(net.Conn) net.Conn
		below bool
	}{
		"wrapper":       {func(nc net.Conn) net.Conn { return wrapped{nc} }, false},
		"plain wrapper": {func(nc net.Conn) net.Conn { return plainWrapped{wrapped{nc}} }, rawio.Available},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, Config{
				Addrs: []string{newPeer(t, echo).addr()},
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					if err != nil {
						return nil, err
					}
					return c.wrap(nc), nil
				},
			})
			reply, err := b.Send(bg, []byte("x"))
			require.NoError(t, err)
			assert.Equal(t, "x", string(reply))
			assert.Equal(t, c.below, onlyConn(t, b).sock.triesWrites())
		})
	}
}

func TestDialFunctionGetsNetworkAndAddress(t *testing.T) {
	got := make(chan string, 10)
	b := newBroker(t, Config{
		Addrs: []string{"tcp://hsm.test:1500"},
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			got <- network + " " + addr
			return nil, errors.New("no such host")
		},
	})
	_, err := b.Send(bg, nil)
	require.ErrorContains(t, err, "no such host")
	assert.Equal(t, "tcp hsm.test:1500", <-got)
}
