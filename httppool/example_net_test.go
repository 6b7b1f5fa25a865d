//go:debug x509usefallbackroots=1

package httppool_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/httppool"
)

// exampleNet stands for the internet of the documents: all hosts below example.com are one
// server, whose certificate this process trusts as it would any other. What it was asked for
// is in asked.
var exampleNet struct {
	mu    sync.Mutex
	asked []string
}

func noteAsked(what string) {
	exampleNet.mu.Lock()
	defer exampleNet.mu.Unlock()
	exampleNet.asked = append(exampleNet.asked, what)
}

// asked returns what was asked for since the last call.
func asked() []string {
	exampleNet.mu.Lock()
	defer exampleNet.mu.Unlock()
	all := exampleNet.asked
	exampleNet.asked = nil
	return all
}

func TestMain(m *testing.M) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			noteAsked(r.Method + " " + r.TLS.ServerName + r.URL.Path)
		}
		fmt.Fprint(w, "hello from "+r.Host)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{exampleCertificate()}}
	s.StartTLS()
	addr := s.Listener.Addr().String()
	var d net.Dialer
	httppool.DialBy(func(ctx context.Context, network, to string) (net.Conn, error) {
		if strings.HasSuffix(to, ".example.com:443") {
			to = addr
		}
		return d.DialContext(ctx, network, to)
	})
	code := m.Run()
	s.Close()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// exampleCertificate makes a certificate for *.example.com and has the process trust it.
func exampleCertificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.example.com"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	x509.SetFallbackRoots(roots)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
