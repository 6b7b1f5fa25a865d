package server

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/tlswire"
)

// loopsRun says whether gnet serves here. On Windows it does so by a goroutine for each
// connection, as we do, and without what the event loops of this package rely on.
const loopsRun = runtime.GOOS != "windows"

// TLS returns the state of a secured connection, with the peer's certificates; nil if it is plain.
func (c *Conn) TLS() *tls.ConnectionState {
	s, ok := c.link.(*stream)
	if !ok || s.carrier.tls == nil {
		return nil
	}
	state := s.carrier.tls.ConnectionState()
	return &state
}

// prepareTLS returns a copy of a configuration for our use, or what is wrong with it.
func prepareTLS(cfg *tls.Config) (*tls.Config, error) {
	if cfg == nil {
		return nil, errors.New("there is none; give a *tls.Config with a certificate")
	}
	if len(cfg.Certificates) == 0 && cfg.GetCertificate == nil && cfg.GetConfigForClient == nil {
		return nil, errors.New("it has no certificate; set Certificates, GetCertificate or GetConfigForClient")
	}
	for i := range cfg.Certificates {
		if err := checkCertificate(&cfg.Certificates[i], cfg.Time); err != nil {
			return nil, fmt.Errorf("field Certificates[%d]: %w", i, err)
		}
	}
	verifies := cfg.ClientAuth >= tls.VerifyClientCertIfGiven
	if verifies && cfg.GetConfigForClient == nil && (cfg.ClientCAs == nil || cfg.ClientCAs.Equal(x509.NewCertPool())) {
		return nil, errors.New("ClientAuth has clients' certificates verified, but ClientCAs has no authority; add the clients' CA")
	}
	cfg = cfg.Clone()
	// A batch is as few records as can be: they are read together anyway.
	cfg.DynamicRecordSizingDisabled = true
	switch least, most := cfg.MinVersion, cfg.MaxVersion; {
	case most != 0 && most < tls.VersionTLS12:
		return nil, fmt.Errorf("MaxVersion is %s; TLS 1.2 is the least", tls.VersionName(most))
	case least != 0 && least < tls.VersionTLS12:
		return nil, fmt.Errorf("MinVersion is %s; TLS 1.2 is the least", tls.VersionName(least))
	case least == 0 && most == tls.VersionTLS12:
		cfg.MinVersion = tls.VersionTLS12
	case least == 0:
		cfg.MinVersion = tls.VersionTLS13
	}
	setAside(cfg)
	return cfg, nil
}

// setAside has the functions of a configuration, which are the user's, run where they hold up no
// other handshake. Each connection gets a configuration of its own for that; keys of session
// tickets remain those of cfg.
func setAside(cfg *tls.Config) {
	choose := cfg.GetConfigForClient
	if choose == nil && !hasFunctions(cfg) {
		return
	}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (chosen *tls.Config, err error) {
		layer, ok := hello.Conn.(tlswire.Layer)
		if !ok {
			return nil, errForeign
		}
		if choose != nil {
			hello.Conn = layer.NetConn()
			if layer.Aside(func() { chosen, err = choose(hello) }); err != nil {
				return nil, err
			}
		}
		if chosen == nil {
			chosen = cfg
		}
		if !hasFunctions(chosen) {
			return chosen, nil
		}
		return aside(chosen, layer), nil
	}
}

// errForeign is a fault of this package: secure has put no layer of ours below.
var errForeign = errors.New("server: a TLS connection that is not the server's")

func hasFunctions(cfg *tls.Config) bool {
	return cfg.GetCertificate != nil || cfg.VerifyPeerCertificate != nil || cfg.VerifyConnection != nil ||
		cfg.WrapSession != nil || cfg.UnwrapSession != nil
}

// aside returns a configuration for the connection over layer. Functions see the connection that was
// accepted, which is the user's.
func aside(cfg *tls.Config, layer tlswire.Layer) *tls.Config {
	own := cfg.Clone()
	if get := cfg.GetCertificate; get != nil {
		own.GetCertificate = func(hello *tls.ClientHelloInfo) (c *tls.Certificate, err error) {
			hello.Conn = layer.NetConn()
			layer.Aside(func() { c, err = get(hello) })
			return c, err
		}
	}
	if verify := cfg.VerifyPeerCertificate; verify != nil {
		own.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) (err error) {
			layer.Aside(func() { err = verify(raw, chains) })
			return err
		}
	}
	if verify := cfg.VerifyConnection; verify != nil {
		own.VerifyConnection = func(cs tls.ConnectionState) (err error) {
			layer.Aside(func() { err = verify(cs) })
			return err
		}
	}
	if wrap := cfg.WrapSession; wrap != nil {
		own.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) (ticket []byte, err error) {
			layer.Aside(func() { ticket, err = wrap(cs, ss) })
			return ticket, err
		}
	}
	if unwrap := cfg.UnwrapSession; unwrap != nil {
		own.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (ss *tls.SessionState, err error) {
			layer.Aside(func() { ss, err = unwrap(ticket, cs) })
			return ss, err
		}
	}
	return own
}

// checkCertificate reports what keeps a certificate from being used now.
func checkCertificate(c *tls.Certificate, clock func() time.Time) error {
	if len(c.Certificate) == 0 {
		return errors.New("it is empty; load it by tls.LoadX509KeyPair or package certs")
	}
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return err
		}
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("its PrivateKey, a %T, cannot sign", c.PrivateKey)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return fmt.Errorf("its PrivateKey is not that of the certificate of %q", leaf.Subject.CommonName)
	}
	now := time.Now()
	if clock != nil {
		now = clock()
	}
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate of %q has expired on %v", leaf.Subject.CommonName, leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate of %q is not valid before %v", leaf.Subject.CommonName, leaf.NotBefore)
	}
	return nil
}

// securedListener is the type of what tls.NewListener returns.
var securedListener = reflect.TypeOf(tls.NewListener(nil, nil))

// isSecured reports that for certain, and not what another listener around such a one would hide:
// bringIn looks at each connection.
func isSecured(ln net.Listener) bool { return reflect.TypeOf(ln) == securedListener }

// securedTwice says what to do about a listener that has secured what a configuration here would.
const securedTwice = "the listener speaks TLS already; give the one below it, or no TLS configuration"
