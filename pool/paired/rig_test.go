package paired

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/internal/testca"
)

// patience is how long a test waits for what must happen. No test waits for what
// must not.
const patience = 20 * time.Second

var bg = context.Background()

// noLeaks checks at the end of the test, after everything registered later, that no
// goroutine and no descriptor is left.
func noLeaks(t *testing.T) {
	t.Helper()
	listen(t).Close() // the poller opens descriptors of its own, once
	goroutines, before := goleak.IgnoreCurrent(), descriptors(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t, goroutines)
		assert.LessOrEqual(t, descriptors(t), before, "descriptors are left open")
	})
}

// descriptors counts those of the process, where that is possible.
func descriptors(t *testing.T) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func newServer(t *testing.T, c ServerConfig) *Pool {
	t.Helper()
	if c.Listener == nil {
		c.Listener = listen(t)
	}
	p, err := NewServerPool(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// newClient makes a pool that dials server.
func newClient(t *testing.T, server *Pool, c ClientConfig) *Pool {
	t.Helper()
	if c.Addr == "" && c.Dial == nil {
		c.Addr = server.server.listener.Addr().String()
	}
	if c.MinInterval == 0 {
		c.MinInterval, c.MaxInterval = 5*time.Millisecond, 50*time.Millisecond
	}
	p, err := NewClientPool(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// within returns a context that ends when the test's patience does.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(bg, patience)
	t.Cleanup(cancel)
	return ctx
}

// lookOnly is a context that makes a get a mere look.
func lookOnly() context.Context {
	ctx, cancel := context.WithCancel(bg)
	cancel()
	return ctx
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond, what)
}

// take takes a connection at the server and its half at the client.
func take(t *testing.T, server, client *Pool) (id string, s, c net.Conn) {
	t.Helper()
	id, s, err := server.ServerGet(within(t))
	require.NoError(t, err)
	c, err = client.ClientGet(within(t), id)
	require.NoError(t, err)
	return id, s, c
}

// talk sends a message through a connection, from a to b.
func talk(t *testing.T, a, b net.Conn, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := a.Write([]byte(text)); sent <- err }()
	got := make([]byte, len(text))
	require.NoError(t, b.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.ReadFull(b, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
	require.NoError(t, <-sent)
}

// issue makes a certificate for both directions that names host or 127.0.0.1.
func issue(t *testing.T, ca *testca.CA, host string, until time.Time) tls.Certificate {
	both := testca.Usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	return ca.Server(t, host, both, func(c *x509.Certificate) {
		c.NotAfter, c.IPAddresses = until, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
}

// anyCertificate is one for paired.test, for a server that clients do not verify.
func anyCertificate(t *testing.T) tls.Certificate { return testca.New(t).Server(t, "paired.test") }

// memory is a listener whose connections are net.Pipes, for tests in a bubble of
// their own time.
type memory struct {
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newMemory() *memory { return &memory{queue: make(chan net.Conn, 100), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case nc := <-m.queue:
		return nc, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Net: "memory", Name: "memory"} }

// Dial is what ClientConfig.Dial wants.
func (m *memory) Dial(ctx context.Context, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.queue <- far:
		return near, nil
	case <-m.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
