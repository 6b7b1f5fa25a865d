package server

import (
	"crypto"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/memnet"
)

// signing is a key that counts how many use it at once, and that waits until held is closed.
type signing struct {
	crypto.Signer
	now, most, all *atomic.Int64
	held           chan struct{}
}

func (k signing) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.all.Add(1)
	n := k.now.Add(1)
	defer k.now.Add(-1)
	for m := k.most.Load(); n > m && !k.most.CompareAndSwap(m, n); m = k.most.Load() {
	}
	<-k.held
	return k.Signer.Sign(r, digest, opts)
}

// kindsOfConns returns a listener for each kind of connection that TLS is put above, and a way to it.
func kindsOfConns(t *testing.T) map[string]struct {
	ln   net.Listener
	dial func() (net.Conn, error)
} {
	t.Helper()
	tcp := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return ln
	}
	socket, below, memory := tcp(), tcp(), memnet.Listen()
	to := func(ln net.Listener) func() (net.Conn, error) {
		return func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }
	}
	return map[string]struct {
		ln   net.Listener
		dial func() (net.Conn, error)
	}{
		"socket":    {socket, to(socket)},
		"wrapped":   {wrapping{below}, to(below)},
		"in memory": {memory, func() (net.Conn, error) { return memory.DialContext(t.Context(), "", "") }},
	}
}

// Whatever the connection, few handshakes compute at a time, and those that wait for their peer
// are not among them.
func TestFewHandshakesComputeAtATime(t *testing.T) {
	for name, kind := range kindsOfConns(t) {
		t.Run(name, func(t *testing.T) {
			var now, most, all atomic.Int64
			held := make(chan struct{})
			x := launchTLS(t, func(_ *site, cfg *Config) {
				cfg.HandshakeTimeout = -1
				c := &cfg.TLS.Certificates[0]
				c.PrivateKey = signing{c.PrivateKey.(crypto.Signer), &now, &most, &all, held}
			})
			release := sync.OnceFunc(func() { close(held) })
			t.Cleanup(release)
			require.NoError(t, x.Serve(kind.ln))
			places := cap(x.shaking.compute)
			connect := func() net.Conn {
				nc, err := kind.dial()
				require.NoError(t, err)
				t.Cleanup(func() { _ = nc.Close() })
				return nc
			}
			for range 2 * places {
				connect() // and say nothing
			}
			x.shakingNow(t, int64(2*places))
			waitFor(t, "the places", func() bool { return len(x.shaking.compute) == 0 })

			n := int64(places + 10)
			var clients sync.WaitGroup
			good := x.good(t)
			for range n {
				nc := connect()
				clients.Go(func() { assert.NoError(t, tls.Client(nc, good).Handshake()) })
			}
			waitFor(t, "as many as may", func() bool { return now.Load() == int64(places) })
			x.shakingNow(t, int64(2*places)+n)
			release()
			clients.Wait()
			assert.EqualValues(t, n, all.Load())
			assert.EqualValues(t, places, most.Load())
			x.shakingNow(t, int64(2*places))
			assert.Empty(t, x.shaking.compute, "no place is lost")
		})
	}
}

// Functions of the configuration have no place on any kind of connection, and see the connection
// that was accepted.
func TestFunctionsOfTheConfigurationHaveNoPlace(t *testing.T) {
	for name, kind := range kindsOfConns(t) {
		t.Run(name, func(t *testing.T) {
			var x *site
			var asked atomic.Int64
			var accepted sync.Map
			look := func(where string, nc net.Conn) {
				asked.Add(1)
				assert.Empty(t, x.shaking.compute, where)
				if nc != nil {
					accepted.Store(where, nc)
				}
			}
			x = launchTLS(t, func(_ *site, cfg *Config) {
				chosen := cfg.TLS.Certificates[0]
				cfg.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					look("GetConfigForClient", hello.Conn)
					return nil, nil
				}
				cfg.TLS.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
					look("GetCertificate", hello.Conn)
					return &chosen, nil
				}
				cfg.TLS.VerifyConnection = func(tls.ConnectionState) error { look("VerifyConnection", nil); return nil }
			})
			require.NoError(t, x.Serve(kind.ln))
			nc, err := kind.dial()
			require.NoError(t, err)
			c, err := x.over(t, nc, x.good(t))
			require.NoError(t, err)
			c.call(1, []byte("hello"))
			assert.EqualValues(t, 3, asked.Load())
			for _, where := range []string{"GetConfigForClient", "GetCertificate"} {
				got, _ := accepted.Load(where)
				_, ours := got.(interface{ Release() })
				assert.False(t, ours, "%s sees a %T", where, got)
			}
		})
	}
}
