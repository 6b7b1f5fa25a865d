package server

import (
	"crypto/tls"
	"sync"
	"testing"

	"github.com/ringwire/ringwire/internal/testca"
)

// secured are the configurations of a server and of its clients.
type secured struct{ server, client *tls.Config }

var (
	madeOnce sync.Once
	made     secured
)

// testTLS returns what both ends need for -front tls.
func testTLS(t testing.TB) secured {
	madeOnce.Do(func() {
		ca := testca.New(t)
		made.server = &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "localhost")}}
		made.client = &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
	})
	return made
}
