package paired

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
)

// TLSMode says how a client pool secures its connections.
type TLSMode uint8

// The modes, with the digits by which configuration files know them.
const (
	// TLSNone, "0": none. Everybody on the way can read and change everything.
	TLSNone TLSMode = iota
	// TLSSelfSigned, "1": encrypted, but the server's certificate is not
	// verified. It keeps out an attacker who only listens; one who can intercept
	// connections can pose as the server. ClientConfig.Fingerprint closes that hole.
	TLSSelfSigned
	// TLSVerified, "2": the server's certificate must be valid for ServerName
	// and lead to a root in TLS.RootCAs, or to one of the system's.
	TLSVerified
)

// ParseTLSMode reads a mode: "0", "1" or "2". Anything else is an error, so that a
// slip of the pen does not switch TLS off.
func ParseTLSMode(s string) (TLSMode, error) {
	switch s {
	case "0":
		return TLSNone, nil
	case "1":
		return TLSSelfSigned, nil
	case "2":
		return TLSVerified, nil
	}
	return TLSNone, fmt.Errorf(`paired: TLS mode %q; write "0" (none), "1" (self-signed) or "2" (verified)`, clip(s))
}

// String returns the mode's digit.
func (m TLSMode) String() string {
	if m > TLSVerified {
		return fmt.Sprintf("TLSMode(%d)", uint8(m))
	}
	return string('0' + byte(m))
}

// clientTLS returns the configuration of a client's handshakes, nil for none.
func clientTLS(c *ClientConfig) (*tls.Config, error) {
	pin, err := parseFingerprint(c.Fingerprint)
	if err != nil {
		return nil, err
	}
	switch {
	case c.TLSMode > TLSVerified:
		return nil, fmt.Errorf("ClientConfig.TLSMode is %d; it must be TLSNone, TLSSelfSigned or TLSVerified", c.TLSMode)
	case c.TLSMode == TLSNone && (c.TLS != nil || pin != nil):
		return nil, errors.New("ClientConfig.TLSMode is TLSNone beside TLS settings; set TLSVerified, or remove them")
	case c.TLSMode == TLSNone:
		return nil, nil
	}
	conf, err := atLeast13(c.TLS, "ClientConfig.TLS")
	if err != nil {
		return nil, err
	}
	if c.ServerName != "" {
		conf.ServerName = c.ServerName
	} else if conf.ServerName == "" {
		conf.ServerName = hostOf(c.Addr)
	}
	if c.TLSMode == TLSVerified {
		if conf.InsecureSkipVerify {
			return nil, errors.New("ClientConfig.TLS.InsecureSkipVerify contradicts TLSVerified; use TLSSelfSigned, or clear it")
		}
		if conf.ServerName == "" {
			return nil, errors.New("ClientConfig.ServerName is empty and Addr names no host; TLSVerified needs to know whom to expect")
		}
	}
	conf.InsecureSkipVerify = c.TLSMode == TLSSelfSigned
	if pin != nil {
		// Unlike VerifyPeerCertificate it also runs when a session is resumed.
		conf.VerifyConnection = verifyPin(pin, conf.VerifyConnection)
	}
	return conf, nil
}

// serverTLS returns the configuration of a server's handshakes, nil for none.
func serverTLS(c *tls.Config) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	conf, err := atLeast13(c, "ServerConfig.TLS")
	if err != nil {
		return nil, err
	}
	if len(conf.Certificates) == 0 && conf.GetCertificate == nil && conf.GetConfigForClient == nil {
		return nil, errors.New("ServerConfig.TLS has no certificate; set Certificates, GetCertificate or GetConfigForClient")
	}
	return conf, nil
}

// atLeast13 copies a configuration, nil for an empty one, and raises its least
// version to TLS 1.3.
func atLeast13(c *tls.Config, field string) (*tls.Config, error) {
	if c == nil {
		c = &tls.Config{}
	}
	if c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS13 {
		return nil, fmt.Errorf("%s.MaxVersion is %s; this package speaks TLS 1.3 or later", field, tls.VersionName(c.MaxVersion))
	}
	conf := c.Clone()
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS13)
	return conf, nil
}

// parseFingerprint reads a SHA-256 in hexadecimal digits, with colons as openssl
// writes them, or without. An empty text gives nil.
func parseFingerprint(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("ClientConfig.Fingerprint %q is not a SHA-256; write the 64 digits of `openssl x509 -noout -fingerprint -sha256`", clip(text))
	}
	return sum, nil
}

// verifyPin demands the certificate whose SHA-256 is pin, and what next demands.
func verifyPin(pin []byte, next func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		if sum := sha256.Sum256(cs.PeerCertificates[0].Raw); !bytes.Equal(sum[:], pin) {
			return fmt.Errorf("the server's certificate has the fingerprint %x, not the expected %x", sum, pin)
		}
		if next != nil {
			return next(cs)
		}
		return nil
	}
}

// secure does the handshake of tc. When it fails, tc is closed.
func secure(ctx context.Context, tc *tls.Conn) (net.Conn, error) {
	err := tc.HandshakeContext(ctx)
	if v := tc.ConnectionState().Version; err == nil && v < tls.VersionTLS13 {
		err = fmt.Errorf("%s was agreed on; this package speaks TLS 1.3 or later", tls.VersionName(v))
	}
	if err != nil {
		tc.NetConn().Close()
		return nil, err
	}
	return tc, nil
}

// hostOf returns the host of host:port, without the brackets of IPv6.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
