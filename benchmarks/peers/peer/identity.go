package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// identityHost is the address that an identity is for.
	identityHost = "127.0.0.1"
	// identityTime is longer than any run takes.
	identityTime = 24 * time.Hour
	serialBits   = 100
)

// Identity is what the servers of all systems show over TLS, and what their clients trust: a
// certificate of ECDSA P-256 that signs itself, and its key. Everybody speaks TLS 1.3 with it.
// A nil Identity is no TLS.
type Identity struct {
	Cert, Key string // PEM files

	pair tls.Certificate
	pool *x509.CertPool
}

// NewIdentity makes an identity and writes its files into the folder. It is valid for a day.
func NewIdentity(dir string) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "benchmark"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(identityTime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:           []net.IP{net.ParseIP(identityHost)},
		BasicConstraintsValid: true, IsCA: true, // it vouches for itself
	}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := writePEM(certFile, "CERTIFICATE", cert); err != nil {
		return nil, err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", private); err != nil {
		return nil, err
	}
	return LoadIdentity(certFile, keyFile)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// LoadIdentity reads the files that NewIdentity has written.
func LoadIdentity(cert, key string) (*Identity, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("load the certificate of the run: %w", err)
	}
	id := &Identity{Cert: cert, Key: key, pair: pair, pool: x509.NewCertPool()}
	id.pool.AddCert(pair.Leaf)
	return id, nil
}

// server is a server's configuration, which the caller owns.
func (id *Identity) server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.pair}, MinVersion: tls.VersionTLS13}
}

// client is a client's configuration, which the caller owns. Nobody begins with small records:
// all requests are small, and what is written together is read together.
func (id *Identity) client() *tls.Config {
	return &tls.Config{RootCAs: id.pool, ServerName: identityHost, MinVersion: tls.VersionTLS13,
		DynamicRecordSizingDisabled: true}
}

// Dial connects to a server at addr, and has made the handshake when it returns.
func (id *Identity) Dial(addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if id == nil {
		return dialer.Dial("tcp", addr)
	}
	return tls.DialWithDialer(dialer, "tcp", addr, id.client())
}

// over is the listener whose connections speak TLS, or the listener itself.
func (id *Identity) over(l net.Listener) net.Listener {
	if id == nil {
		return l
	}
	return tls.NewListener(l, id.server())
}

// bare is the name of a bare connection.
func (id *Identity) bare() string {
	if id == nil {
		return "net.Conn"
	}
	return "tls.Conn"
}
