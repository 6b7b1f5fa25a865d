// Package certs loads certificates for TLS from PEM files and follows the files while the
// program runs, so that a renewed certificate is used without a restart.
//
//	files, err := certs.Load(certs.Config{Cert: "cert.pem", Key: "key.pem", CA: "clients.pem"})
//	if err != nil { … }
//	defer files.Close()
//	s, err := server.New(server.Config{TLS: files.Server(), …})
//
// A [Files] is safe for concurrent use.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// DefaultInterval is how often the files are looked at, unless Config says otherwise.
const DefaultInterval = 10 * time.Second

// Config names the files.
type Config struct {
	// Cert and Key are our certificate, with those that lead to its authority behind it, and
	// its private key. A server needs both; a client has both if the server asks for them.
	Cert, Key string
	// CA has the certificates of the authorities that vouch for the other end. A server that
	// has it lets nobody in without a certificate of theirs. A client without it trusts
	// the authorities of the system.
	CA string
	// MinVersion is the lowest version of TLS that a server speaks. Default tls.VersionTLS13; where
	// old clients come, tls.VersionTLS12. There is no other.
	MinVersion uint16
	// Interval is how often the files are read again. Default 10 s, negative: never. A
	// program that renews certificates should put complete files in the place of the old
	// ones, by renaming them; a pair that does not fit together, as between two writes, is
	// read again.
	Interval time.Duration
	// OnReload, if not nil, is called when the files have changed: with nil when they are in use
	// from now on, else with what is wrong with them; those before them stay in use. A fault is
	// told once, when it was found twice in a row. So is that a certificate in use has expired.
	// The calls come one after another, on a goroutine of their own; while one blocks the files
	// are followed, and of what happens then the last is told.
	OnReload func(error)
	// VerifyConnection, if not nil, is tls.Config's, for servers and clients: it may refuse a
	// connection, a resumed one, too, when everything else was verified, for instance because the
	// other end's certificate was revoked.
	VerifyConnection func(tls.ConnectionState) error
}

// fileMax is how large a file may be, in bytes. The authorities of a whole system are a tenth of
// that.
const fileMax = 4 << 20

// material is what the files contain.
type material struct {
	cert  *tls.Certificate // nil: none
	pool  *x509.CertPool   // nil: none
	bytes [3]string        // of Cert, Key and CA
}

// load reads the files. now is the time at which the certificate must be valid.
func (c *Config) load(now time.Time) (*material, error) {
	m := &material{}
	for i, name := range []string{c.Cert, c.Key, c.CA} {
		if name == "" {
			continue
		}
		var err error
		if m.bytes[i], err = read(name); err != nil {
			return nil, fmt.Errorf("certs: %w", err)
		}
	}
	if c.Cert != "" {
		var err error
		if m.cert, err = c.parsePair(m.bytes[0], m.bytes[1], now); err != nil {
			return nil, err
		}
	}
	if c.CA != "" {
		var err error
		if m.pool, err = parsePool([]byte(m.bytes[2]), now); err != nil {
			return nil, fmt.Errorf("certs: %s: %w", c.CA, err)
		}
	}
	return m, nil
}

// read returns what a file contains. The error names the file.
func read(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err == nil && len(b) > fileMax {
		err = fmt.Errorf("%s: it has more than %d bytes, which no file of certificates has", name, fileMax)
	}
	return string(b), err
}

func (c *Config) parsePair(cert, key string, now time.Time) (*tls.Certificate, error) {
	if block, _ := pem.Decode([]byte(cert)); block == nil {
		return nil, fmt.Errorf("certs: %s: it contains no PEM block; a certificate begins with -----BEGIN CERTIFICATE-----", c.Cert)
	}
	if block, _ := pem.Decode([]byte(key)); block == nil {
		return nil, fmt.Errorf("certs: %s: it contains no PEM block; a key begins with -----BEGIN PRIVATE KEY-----", c.Key)
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return nil, fmt.Errorf("certs: %s with %s: %w", c.Cert, c.Key, err)
	}
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("certs: %s: the certificate of %q has expired on %v", c.Cert, leaf.Subject.CommonName, leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("certs: %s: the certificate of %q is not valid before %v", c.Cert, leaf.Subject.CommonName, leaf.NotBefore)
	}
	return &pair, nil
}

// parsePool returns the authorities of a file. Unlike x509 it takes none that it cannot read.
func parsePool(b []byte, now time.Time) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	var last time.Time // when the last of them expires
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		pool.AddCert(cert)
		if cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	switch {
	case n == 0:
		return nil, errors.New("it contains no certificate; an authority's begins with -----BEGIN CERTIFICATE-----")
	case now.After(last):
		return nil, fmt.Errorf("all of its authorities have expired, the last on %v", last)
	}
	return pool, nil
}
