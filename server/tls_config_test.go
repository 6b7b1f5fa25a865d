package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/internal/testca"
)

func TestABadTLSConfigurationIsAnError(t *testing.T) {
	ca := testca.New(t)
	good := ca.Server(t, "localhost")
	other := ca.Server(t, "other")
	with := func(change func(*tls.Config), all ...tls.Certificate) *tls.Config {
		c := &tls.Config{Certificates: all}
		if change != nil {
			change(c)
		}
		return c
	}
	noKey := good
	noKey.PrivateKey = nil
	notLeaf := tls.Certificate{Certificate: [][]byte{{1, 2, 3}}, PrivateKey: good.PrivateKey}
	mixed := tls.Certificate{Certificate: good.Certificate, PrivateKey: other.PrivateKey}
	for name, tc := range map[string]struct {
		cfg  *tls.Config
		want string
	}{
		"no certificate":      {with(nil), "it has no certificate; set Certificates, GetCertificate or GetConfigForClient"},
		"an empty one":        {with(nil, tls.Certificate{}), "Certificates[0]: it is empty; load it by"},
		"no key":              {with(nil, noKey), "Certificates[0]: its PrivateKey, a <nil>, cannot sign"},
		"another key":         {with(nil, mixed), `Certificates[0]: its PrivateKey is not that of the certificate of "localhost"`},
		"no leaf":             {with(nil, notLeaf), "Certificates[0]: x509"},
		"expired":             {with(nil, good, ca.Server(t, "shop", testca.Expired)), `Certificates[1]: the certificate of "shop" has expired on`},
		"not yet valid":       {with(nil, ca.Server(t, "shop", testca.NotYet)), `"shop" is not valid before`},
		"by its own clock":    {with(func(c *tls.Config) { c.Time = func() time.Time { return time.Now().Add(1e6 * time.Hour) } }, good), "has expired"},
		"no authority":        {with(func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }, good), "ClientCAs has no authority; add the clients' CA"},
		"an empty pool":       {with(func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool() }, good), "ClientCAs has no authority"},
		"an old version":      {with(func(c *tls.Config) { c.MinVersion = tls.VersionTLS11 }, good), "MinVersion is TLS 1.1; TLS 1.2 is the least"},
		"only an old version": {with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS10 }, good), "MaxVersion is TLS 1.0; TLS 1.2 is the least"},
	} {
		_, err := New(Config{Handler: HandlerFunc(echo), TLS: tc.cfg})
		if assert.ErrorContains(t, err, tc.want, name) {
			assert.ErrorContains(t, err, "server: Config.TLS: ", name)
		}
		s, err := New(Config{Handler: HandlerFunc(echo)})
		require.NoError(t, err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if err = s.ServeTLS(ln, tc.cfg); assert.ErrorContains(t, err, tc.want, name) {
			assert.ErrorContains(t, err, "server: ServeTLS: ", name)
		}
		require.NoError(t, ln.Close(), "it is not the server's")
	}
	s, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	assert.ErrorContains(t, s.ServeTLS(nil, nil), "there is none; give a *tls.Config with a certificate")
	assert.ErrorContains(t, s.ServeTLS(nil, with(nil, good)), "ServeTLS: the listener is nil")
	_, err = New(Config{Handler: HandlerFunc(echo), HandshakeTimeout: 25 * time.Hour})
	assert.ErrorContains(t, err, "Config.HandshakeTimeout is 25h0m0s")
}

func TestAConfigurationIsCopied(t *testing.T) {
	var mine *tls.Config
	x := launchTLS(t, func(_ *site, cfg *Config) { mine = cfg.TLS })
	mine.Certificates, mine.ClientCAs = nil, x509.NewCertPool()
	x.enter(t, x.good(t)).call(1, []byte("hello"))
}

func TestAListenerThatSpeaksTLSAlready(t *testing.T) {
	x := launchTLS(t, nil)
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = ln.Close() })
		return ln
	}
	twice := tls.NewListener(listen(), x.cfg.TLS)
	assert.ErrorContains(t, x.Serve(twice), "the listener speaks TLS already; give the one below it, or no TLS configuration")
	assert.ErrorContains(t, x.ServeTLS(twice, x.cfg.TLS), "server: ServeTLS: the listener speaks TLS already")

	// Without a configuration it is served, and its connections are what the others are.
	who := make(chan string, 1)
	s := launch(t, Config{OnOpen: func(c *Conn) { who <- c.TLS().PeerCertificates[0].Subject.CommonName }, HandshakeTimeout: soonTLS * 20})
	below := listen()
	require.NoError(t, s.Serve(tls.NewListener(below, x.cfg.TLS)))
	c := dialAddr(t, net.Dialer{}, "tcp", below.Addr().String(), s.format)
	c, err := x.over(t, c.nc, x.good(t))
	require.NoError(t, err)
	c.call(1, []byte("hello"))
	assert.Equal(t, "caller", <-who)

	silent := dialAddr(t, net.Dialer{}, "tcp", below.Addr().String(), s.format)
	_, err = silent.nc.Read(make([]byte, 1))
	require.Error(t, err)
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Handshake == 1 })
}

// hiding hides which listener lies below, as one does that limits or logs.
type hiding struct{ net.Listener }

// A listener around one that speaks TLS hides that from Serve. What it accepts is not served by
// that one's configuration, which asks less of clients than ours, and the log says what to do.
func TestWhatAListenerHasSecuredIsNotServedWhereOurTLSApplies(t *testing.T) {
	for name, serve := range map[string]func(x *site, ln net.Listener) error{
		"Serve":    func(x *site, ln net.Listener) error { return x.Serve(ln) },
		"ServeTLS": func(x *site, ln net.Listener) error { return x.ServeTLS(ln, x.cfg.TLS) },
	} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int64
			x := launchTLS(t, func(_ *site, cfg *Config) {
				cfg.MaxConnsPerIP = 1
				cfg.OnOpen = func(*Conn) { told.Add(1) }
				cfg.OnClose = func(*Conn, string) { told.Add(1) }
			})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			weak := &tls.Config{Certificates: x.cfg.TLS.Certificates}
			require.NoError(t, serve(x, hiding{tls.NewListener(ln, weak)}))
			for n := range uint64(2) { // the first gives its place back
				nc := dialAddr(t, net.Dialer{}, "tcp", ln.Addr().String(), x.format).nc
				_, err = x.over(t, nc, x.client())
				require.Error(t, err)
				eventually(t, x.Server, "the end", func(st Stats) bool { return st.AcceptErrors == n+1 && st.Conns == 0 })
			}
			waitFor(t, "the log", func() bool { return x.log.String() != "" })
			assert.Contains(t, x.log.String(), "cannot take over a connection")
			assert.Contains(t, x.log.String(), "the listener speaks TLS already; give the one below it, or no TLS configuration")
			assert.Zero(t, x.handled.Load())
			assert.Zero(t, x.Stats().Accepted)
			x.enter(t, x.good(t)).call(1, []byte("its own listener is served"))
			assert.EqualValues(t, 1, told.Load(), "no hook knows of the others")

			plain := launch(t, Config{})
			below, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, plain.Serve(hiding{tls.NewListener(below, weak)}))
			c, err := x.over(t, dialAddr(t, net.Dialer{}, "tcp", below.Addr().String(), x.format).nc, x.client())
			require.NoError(t, err)
			c.call(1, []byte("no configuration of ours applies"))
		})
	}
}

// One server, plain on one listener and secured on another.
func TestPlainAndSecuredListenersOfOneServer(t *testing.T) {
	x := launchTLS(t, nil)
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.ServeTLS(ln, x.cfg.TLS))
	c := dialAddr(t, net.Dialer{}, "tcp", ln.Addr().String(), s.format)
	c, err = x.over(t, c.nc, x.good(t))
	require.NoError(t, err)
	c.call(1, []byte("secured"))
	dial(t, s).call(1, []byte("plain"))
}

// The authority of the clients is replaced while the server runs; nobody's connection ends.
func TestCertificatesFromFiles(t *testing.T) {
	dir := t.TempDir()
	var files *certs.Files
	x := launchTLS(t, func(x *site, cfg *Config) {
		cert, key := testca.Files(t, dir, x.servers.Server(t, "localhost"))
		var err error
		files, err = certs.Load(certs.Config{Cert: cert, Key: key, CA: x.clients.File(t, dir), Interval: -1})
		require.NoError(t, err)
		cfg.TLS = files.Server()
	})
	old := x.good(t)
	old.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	before := x.enter(t, old)
	before.call(1, []byte("hello"))
	again := x.enter(t, old)
	again.call(1, []byte("hello"))
	require.True(t, again.nc.(*tls.Conn).ConnectionState().DidResume)

	former := x.clients
	x.clients = testca.New(t)
	x.clients.File(t, dir)
	require.NoError(t, files.Reload())
	_ = x.refused(t, old)
	x.enter(t, x.good(t)).call(1, []byte("hello"))
	before.call(2, []byte("hello"))
	_ = x.refused(t, x.client(former.Client(t, "caller")))
}
