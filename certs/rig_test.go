package certs_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/internal/testca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that must happen by itself.
const patience = 20 * time.Second

// soon is how often tests have the files read.
const soon = time.Millisecond

// load loads files until the test ends.
func load(t testing.TB, cfg certs.Config) *certs.Files {
	t.Helper()
	f, err := certs.Load(cfg)
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

// meeting is what the ends of a connection made of each other.
type meeting struct {
	server, client error
	resumed        bool
	seen           tls.ConnectionState // by the client
	by             tls.ConnectionState // by the server
}

// meet makes a handshake and has a byte come from the server, which in TLS 1.3 is when a client
// learns that it was refused.
func meet(t testing.TB, server, client *tls.Config) meeting {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	b, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	a, err := ln.Accept()
	require.NoError(t, err)
	return meetOver(a, b, server, client)
}

// meetInMemory is meet for bubbles of synctest.
func meetInMemory(server, client *tls.Config) meeting {
	a, b := net.Pipe()
	return meetOver(a, b, server, client)
}

func meetOver(a, b net.Conn, server, client *tls.Config) (m meeting) {
	for _, nc := range []net.Conn{a, b} { // a pipe has no buffer: both may wait with an alert
		_ = nc.SetDeadline(time.Now().Add(patience))
	}
	sc, cc := tls.Server(a, server), tls.Client(b, client)
	var both sync.WaitGroup
	both.Go(func() {
		defer a.Close()
		if m.server = sc.Handshake(); m.server == nil {
			m.by = sc.ConnectionState()
			_, _ = sc.Write([]byte{1})
		}
	})
	both.Go(func() {
		defer b.Close()
		if m.client = cc.Handshake(); m.client == nil {
			_, m.client = cc.Read(make([]byte, 1))
			m.seen = cc.ConnectionState()
		}
	})
	both.Wait()
	m.resumed = m.client == nil && m.seen.DidResume
	return m
}

func (m meeting) failed() bool { return m.server != nil || m.client != nil }

// told collects what OnReload is told.
type told struct {
	mu  sync.Mutex
	all []error
}

func (c *told) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, err)
}

func (c *told) now() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]error(nil), c.all...)
}

// await waits until OnReload was called n times, and returns the last that it was told.
func (c *told) await(t testing.TB, n int) error {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.now()) >= n }, patience, time.Millisecond)
	all := c.now()
	require.Len(t, all, n, "%v", all)
	return all[n-1]
}

// site is a directory with the certificates of a server and of its clients' authority.
type site struct {
	dir, cert, key, ca string
	servers, clients   *testca.CA
}

func newSite(t testing.TB) *site {
	s := &site{dir: t.TempDir(), servers: testca.New(t), clients: testca.New(t)}
	s.renew(t)
	s.ca = s.clients.File(t, s.dir)
	return s
}

// renew has another certificate of the same authority in the files.
func (s *site) renew(t testing.TB, options ...testca.Option) tls.Certificate {
	c := s.servers.Server(t, "localhost", options...)
	s.cert, s.key = testca.Files(t, s.dir, c)
	return c
}

// client returns the configuration of a client with a certificate of ca, nil for none.
func (s *site) client(t testing.TB, ca *testca.CA) *tls.Config {
	c := &tls.Config{
		RootCAs: s.servers.Pool(), ServerName: "localhost",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	if ca != nil {
		c.Certificates = []tls.Certificate{ca.Client(t, "caller")}
	}
	return c
}

// put has a file contain text, all at once.
func put(t testing.TB, dir, name, text string) string {
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

func contents(t testing.TB, path string) string {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func serial(c tls.Certificate) string { return c.Leaf.SerialNumber.String() }

func assertServed(t testing.TB, m meeting, by tls.Certificate) {
	t.Helper()
	if assert.False(t, m.failed(), "%v, %v", m.server, m.client) {
		assert.Equal(t, serial(by), m.seen.PeerCertificates[0].SerialNumber.String())
	}
}
