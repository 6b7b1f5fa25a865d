package paired_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/ringwire/ringwire/pool/paired"
)

// localServer makes a server pool on a free port, with a certificate of its own
// unless it is to go without TLS.
func localServer(conf *tls.Config) (server *paired.Pool, addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server, err = paired.NewServerPool(paired.ServerConfig{Listener: listener, TLS: conf})
	check(err)
	return server, listener.Addr().String()
}

// selfSigned makes a certificate for name and 127.0.0.1, what a client needs to
// verify it, and its fingerprint.
func selfSigned(name string) (cert tls.Certificate, roots *x509.CertPool, fingerprint string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	leaf, err := x509.ParseCertificate(der)
	check(err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, fmt.Sprintf("%x", sha256.Sum256(der))
}

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// until waits for what must happen soon.
func until(happened func() bool) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(20 * time.Second); !happened(); <-ticker.C {
		if time.Now().After(end) {
			panic("it did not happen")
		}
	}
}

// servedBy returns the settings of a server with a certificate.
func servedBy(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// trusting returns the settings of a client that trusts roots.
func trusting(roots *x509.CertPool) *tls.Config { return &tls.Config{RootCAs: roots} }
