package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/testca"
)

// pinned lets in a client that shows one of these certificates, whichever authority has
// signed it.
func pinned(all ...tls.Certificate) func([][]byte, [][]*x509.Certificate) error {
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		for _, c := range all {
			if len(raw) > 0 && bytes.Equal(raw[0], c.Certificate[0]) {
				return nil
			}
		}
		return errors.New("this certificate is not pinned")
	}
}

// unwelcome is a client that is not to come in.
type unwelcome struct {
	server func(x *site, cfg *Config)
	client func(t *testing.T, x *site) *tls.Config
	log    string // what the server says
	local  bool   // it is the client that refuses
}

// tooLong is a name that does not fit the log.
var tooLong = strings.Repeat("n", 2000)

var unwelcomes = map[string]unwelcome{
	"a client of another authority": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(testca.New(t).Client(t, "caller"))
	}, log: "unknown authority"},
	"an authority's name that is long": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(testca.New(t).Client(t, tooLong))
	}, log: "unknown authority"},
	"a server's certificate": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(x.clients.Server(t, "caller"))
	}, log: "incompatible key usage"},
	"an expired certificate": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(x.clients.Client(t, "caller", testca.Expired))
	}, log: "expired"},
	"one that is not valid yet": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(x.clients.Client(t, "caller", testca.NotYet))
	}, log: "not yet valid"},
	"no certificate": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client()
	}, log: "certificate"},
	"a self-signed one": {client: func(t *testing.T, x *site) *tls.Config {
		return x.client(testca.SelfSigned(t, "caller", x509.ExtKeyUsageClientAuth))
	}, log: "unknown authority"},
	"a self-signed one that is not pinned": {server: func(x *site, cfg *Config) {
		cfg.TLS.ClientAuth, cfg.TLS.VerifyPeerCertificate = tls.RequireAnyClientCert, pinned()
	}, client: func(t *testing.T, x *site) *tls.Config {
		return x.client(testca.SelfSigned(t, "caller", x509.ExtKeyUsageClientAuth))
	}, log: "not pinned"},
	"one that VerifyPeerCertificate refuses": {server: func(x *site, cfg *Config) {
		cfg.TLS.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("revoked by list") }
	}, log: "revoked by list"},
	"one that VerifyConnection refuses": {server: func(x *site, cfg *Config) {
		cfg.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
			return errors.New("revoked: " + cs.PeerCertificates[0].Subject.CommonName)
		}
	}, log: "revoked: caller"},
	"one for whom there is no configuration": {server: func(x *site, cfg *Config) {
		cfg.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("nothing for you") }
	}, log: "nothing for you"},
	"a name that the server has not": {client: func(t *testing.T, x *site) *tls.Config {
		c := x.good(t)
		c.ServerName = "elsewhere"
		return c
	}, local: true},
	"a server of another authority": {client: func(t *testing.T, x *site) *tls.Config {
		c := x.good(t)
		c.RootCAs = testca.New(t).Pool()
		return c
	}, local: true},
}

// A client that is not to come in does not, in both versions: no byte reaches a handler, the
// end is counted and logged, and the log names no secret.
func TestTLSRefuses(t *testing.T) {
	for name, tc := range unwelcomes {
		for version, number := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			t.Run(name+"/"+version, func(t *testing.T) {
				x := launchTLS(t, func(x *site, cfg *Config) {
					cfg.TLS.MinVersion, cfg.TLS.MaxVersion = tls.VersionTLS12, number
					if tc.server != nil {
						tc.server(x, cfg)
					}
				})
				client := x.good(t)
				if tc.client != nil {
					client = tc.client(t, x)
				}
				err := x.refused(t, client)
				eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
				st := x.Stats()
				assert.EqualValues(t, 1, st.Accepted)
				assert.EqualValues(t, 1, st.Closed.ProtocolErrors())
				assert.Zero(t, st.Requests+st.BytesIn+st.Reads, "%+v", st)
				assert.Zero(t, x.handled.Load())
				waitFor(t, "the log", func() bool { return x.log.String() != "" })
				said := x.log.String()
				assert.Contains(t, said, "TLS handshake")
				assert.Contains(t, said, tc.log)
				assert.NotContains(t, said, "secret payload")
				assert.NotContains(t, said, tooLong, "what a peer says is cut")
				if tc.local {
					var verification *tls.CertificateVerificationError
					assert.ErrorAs(t, err, &verification)
				}
			})
		}
	}
}

func TestTLSLetsInWhoIsPinned(t *testing.T) {
	own := testca.SelfSigned(t, "caller", x509.ExtKeyUsageClientAuth)
	x := launchTLS(t, func(x *site, cfg *Config) {
		cfg.TLS.ClientAuth, cfg.TLS.VerifyPeerCertificate = tls.RequireAnyClientCert, pinned(own)
	})
	x.enter(t, x.client(own)).call(1, []byte("hello"))
	assert.EqualValues(t, 1, x.handled.Load())
}

// 1.3 is spoken unless the configuration says 1.2, and never less.
func TestTLSVersions(t *testing.T) {
	for name, tc := range map[string]struct {
		least, most, client uint16
		want                uint16 // 0: refused
	}{
		"default, 1.3":        {0, 0, 0, tls.VersionTLS13},
		"default, 1.2":        {0, 0, tls.VersionTLS12, 0},
		"from 1.2, 1.2":       {tls.VersionTLS12, 0, tls.VersionTLS12, tls.VersionTLS12},
		"from 1.2, 1.3":       {tls.VersionTLS12, 0, 0, tls.VersionTLS13},
		"from 1.2, 1.1":       {tls.VersionTLS12, 0, tls.VersionTLS11, 0},
		"up to 1.2, 1.3":      {0, tls.VersionTLS12, 0, tls.VersionTLS12},
		"up to 1.2, only 1.0": {0, tls.VersionTLS12, tls.VersionTLS10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := launchTLS(t, func(x *site, cfg *Config) { cfg.TLS.MinVersion, cfg.TLS.MaxVersion = tc.least, tc.most })
			client := x.good(t)
			client.MinVersion, client.MaxVersion = tls.VersionTLS10, tc.client
			if tc.want == 0 {
				assert.ErrorContains(t, x.refused(t, client), "protocol version")
				eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
				return
			}
			c := x.enter(t, client)
			c.call(1, []byte("hello"))
			assert.Equal(t, tc.want, c.nc.(*tls.Conn).ConnectionState().Version)
		})
	}
}

// A configuration that a function chooses may allow less than 1.2. It is not spoken.
func TestTLSOfAnOldVersionByAFunctionIsRefused(t *testing.T) {
	x := launchTLS(t, func(x *site, cfg *Config) {
		old := cfg.TLS.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		cfg.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return old, nil }
	})
	client := x.good(t)
	client.MinVersion = tls.VersionTLS10
	_ = x.refused(t, client)
	eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
	assert.Contains(t, x.log.String(), "TLS 1.2 is the least")
	assert.Zero(t, x.handled.Load())
}

// Handlers and OnOpen see the client's identity.
func TestTLSTellsTheIdentity(t *testing.T) {
	name := func(c *Conn) string { return c.TLS().VerifiedChains[0][0].Subject.CommonName }
	modes(t, func(t *testing.T, base Config) {
		opened := make(chan string, 1)
		x := launchTLS(t, func(x *site, cfg *Config) {
			cfg.Workers = base.Workers
			cfg.OnOpen = func(c *Conn) { opened <- name(c) }
			cfg.Handler = HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) { return append(dst, name(c)...), nil })
		})
		c := x.enter(t, x.good(t))
		assert.Equal(t, "caller", <-opened)
		c.send(1, nil)
		assert.Equal(t, "caller", string(c.receive().Payload))
	})
	t.Run("plain", func(t *testing.T) {
		once(t)
		plain := make(chan bool, 1)
		s := launch(t, Config{OnOpen: func(c *Conn) { plain <- c.TLS() == nil }})
		dial(t, s).call(1, nil)
		assert.True(t, <-plain)
	})
}

// Sessions are resumed, also when functions give each connection a configuration of its own.
func TestTLSResumesSessions(t *testing.T) {
	for name, change := range map[string]func(x *site, cfg *Config){
		"as it is":       nil,
		"with functions": func(x *site, cfg *Config) { cfg.TLS.VerifyConnection = func(tls.ConnectionState) error { return nil } },
		"with one that chooses": func(x *site, cfg *Config) {
			inner := cfg.TLS.Clone()
			inner.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
			cfg.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
		},
	} {
		for version, number := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			t.Run(name+"/"+version, func(t *testing.T) {
				x := launchTLS(t, func(x *site, cfg *Config) {
					cfg.TLS.MinVersion, cfg.TLS.MaxVersion = tls.VersionTLS12, number
					if change != nil {
						change(x, cfg)
					}
				})
				client := x.good(t)
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for n := range 3 {
					c := x.enter(t, client)
					c.call(1, []byte("hello")) // by then the ticket has come
					assert.Equal(t, n > 0, c.nc.(*tls.Conn).ConnectionState().DidResume, n)
					_ = c.nc.Close()
				}
			})
		}
	}
}

// A client that speaks no TLS is told so in an alert, and counted; its request reaches nobody.
func TestPlainClientOnATLSPort(t *testing.T) {
	for name, send := range map[string]func(c *client) []byte{
		"a frame":          func(c *client) []byte { return c.frame(1, []byte("secret payload")) },
		"many frames":      func(c *client) []byte { return c.pipeline(300, 60) },
		"an empty request": func(c *client) []byte { return c.frame(0, nil) },
		"HTTP":             func(*client) []byte { return []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			x := launchTLS(t, nil)
			c := dialAddr(t, net.Dialer{}, "tcp", x.Addr().String(), x.format)
			c.write(send(c))
			alert := make([]byte, len(alertPlain)+1)
			n, _ := c.nc.Read(alert)
			assert.Equal(t, alertPlain, alert[:n])
			eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.NotTLS == 1 })
			assert.Zero(t, x.Stats().BytesIn+x.Stats().Requests)
			waitFor(t, "the log", func() bool { return x.log.String() != "" })
			assert.NotContains(t, x.log.String(), "secret payload")
		})
	}
}

func TestTLSClientOnAPlainPort(t *testing.T) {
	once(t)
	s := launch(t, Config{Handler: HandlerFunc(func(*Conn, []byte, []byte) ([]byte, error) {
		t.Error("a handler was called")
		return nil, nil
	})})
	nc, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(patienceMax)))
	require.Error(t, tls.Client(nc, testTLS(t).client).Handshake())
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.TLS == 1 })
}
