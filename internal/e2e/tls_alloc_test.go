//go:build !race && !invariant

package e2e

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/server"
)

// A call over TLS allocates nothing at either end but what crypto/tls does: one thing for the header
// and one for the body of each record that is read.
func TestAllocOverTLSIsOnlyThatOfTheRecords(t *testing.T) {
	ca := testca.New(t)
	s, err := server.New(server.Config{
		Addr: "127.0.0.1:0",
		TLS:  &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "localhost")}},
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			return append(dst, req...), nil
		}),
	})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	defer func() { require.NoError(t, s.Close()) }()
	b, err := engine.New(engine.Config{
		Addrs: []string{s.Addr().String()},
		TLS:   &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	req, into := make([]byte, 64), make([]byte, 0, 128)
	call := func() {
		if _, err := b.SendInto(context.Background(), req, into); err != nil {
			t.Error(err)
		}
	}
	for range 1000 { // what is made once
		call()
	}
	const ends, parts = 2, 2
	require.Less(t, testing.AllocsPerRun(5000, call), ends*parts+0.1)
}
