// Package testca issues certificates for tests.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// serialBits is how long serial numbers are.
const serialBits = 100

// New returns a new authority.
func New(t testing.TB, options ...Option) *CA {
	key := newKey(t)
	template := certificate(t, "test authority")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	for _, o := range options {
		o(template)
	}
	return &CA{cert: sign(t, template, template, key, key), key: key}
}

// Pool returns the pool that has the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// Expired has a certificate end an hour ago.
func Expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// NotYet has a certificate begin in an hour.
func NotYet(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }

// Usage replaces what a certificate may be used for.
func Usage(u ...x509.ExtKeyUsage) Option {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

// Server issues the certificate of a server with a name, which may be an IP address.
func (ca *CA) Server(t testing.TB, name string, options ...Option) tls.Certificate {
	return ca.issue(t, name, x509.ExtKeyUsageServerAuth, options)
}

// Client issues the certificate of a client with a name.
func (ca *CA) Client(t testing.TB, name string, options ...Option) tls.Certificate {
	return ca.issue(t, name, x509.ExtKeyUsageClientAuth, options)
}

func (ca *CA) issue(t testing.TB, name string, usage x509.ExtKeyUsage, options []Option) tls.Certificate {
	key := newKey(t)
	template := leaf(t, name, usage)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	for _, o := range options {
		o(template)
	}
	return pair(sign(t, template, ca.cert, key, ca.key), key)
}

// SelfSigned returns a certificate that nobody else vouches for.
func SelfSigned(t testing.TB, name string, usage x509.ExtKeyUsage) tls.Certificate {
	key := newKey(t)
	template := leaf(t, name, usage)
	return pair(sign(t, template, template, key, key), key)
}

func pair(c *x509.Certificate, key *ecdsa.PrivateKey) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

// Files writes a certificate and its key to PEM files of a directory, over those that are there.
func Files(t testing.TB, dir string, c tls.Certificate) (cert, key string) {
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	check(t, err)
	write(t, cert, "CERTIFICATE", c.Certificate[0])
	write(t, key, "PRIVATE KEY", der)
	return cert, key
}

// File writes the authority's certificate to a PEM file of a directory.
func (ca *CA) File(t testing.TB, dir string) string {
	name := filepath.Join(dir, "ca.pem")
	write(t, name, "CERTIFICATE", ca.cert.Raw)
	return name
}

func write(t testing.TB, name, kind string, der []byte) {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	// As programs that renew certificates do it: nobody sees half a file.
	check(t, os.WriteFile(name+".new", b, 0o600))
	check(t, os.Rename(name+".new", name))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func certificate(t testing.TB, name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	check(t, err)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(2 * time.Hour),
	}
}

// leaf returns the template of an end's certificate. The name may be an IP address.
func leaf(t testing.TB, name string, usage x509.ExtKeyUsage) *x509.Certificate {
	c := certificate(t, name)
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	c.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return c
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	check(t, err)
	c, err := x509.ParseCertificate(der)
	check(t, err)
	return c
}

// check ends the test at an error. What tests alone need is no dependency of this package.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
