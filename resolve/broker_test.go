package resolve_test

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/resolve"
	"github.com/ringwire/ringwire/server"
)

// serveName starts a server that answers each request with its name.
func serveName(t *testing.T, ln net.Listener, name string) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, _ []byte) ([]byte, error) { return append(dst, name...), nil }),
	})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return s
}

// A broker wired as the package's documentation says follows a name that moves when its server is
// killed. Between two lookups lie 24 s at least, and here only the end of the connection asks for
// one: nothing else could bring the new address within the time that is waited for.
func TestABrokerFollowsANameToAnotherServer(t *testing.T) {
	port := func(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }
	for _, tc := range []struct {
		kind   string
		second func(first net.Listener) string // where it listens
		// name is what is looked up; move has it lead to a server.
		name func(first net.Listener) string
		move func(ns *nameServer, to net.Listener)
	}{
		{
			kind:   "address",
			second: func(first net.Listener) string { return "127.0.0.2:" + strconv.Itoa(int(port(first))) },
			name:   func(first net.Listener) string { return "broker.test.:" + strconv.Itoa(int(port(first))) },
			move:   func(ns *nameServer, to net.Listener) { ns.have("broker.test", to.Addr().(*net.TCPAddr).IP.String()) },
		},
		{
			kind:   "SRV",
			second: func(net.Listener) string { return "127.0.0.1:0" },
			name:   func(net.Listener) string { return "_ringwire._tcp.broker.test." },
			move: func(ns *nameServer, to net.Listener) {
				ns.have("host.test", "127.0.0.1")
				ns.services("_ringwire._tcp.broker.test", net.SRV{Target: "host.test.", Port: port(to), Weight: 1})
			},
		},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			ln := listen(t, "127.0.0.1:0")
			first := serveName(t, ln, "first")
			moved := listen(t, tc.second(ln))
			serveName(t, moved, "second")
			ns := newNameServer(t)
			tc.move(ns, ln)
			b := followingBroker(t, newDNS(t, resolve.DNSConfig{
				Name: tc.name(ln), MinInterval: time.Millisecond, Lookup: ns.resolver(),
			}))

			reply, err := b.Send(t.Context(), []byte("who?"))
			require.NoError(t, err)
			require.Equal(t, "first", string(reply))
			require.NoError(t, first.Close())
			tc.move(ns, moved) // name servers learn late
			require.Eventually(t, func() bool {
				reply, err := b.Send(t.Context(), []byte("who?"))
				return err == nil && string(reply) == "second"
			}, 10*time.Second, time.Millisecond)
			assert.Eventually(t, func() bool {
				servers := b.AddrStats()
				return len(servers) == 1 && servers[0].Addr == moved.Addr().String()
			}, 10*time.Second, time.Millisecond, "the old server is removed")
		})
	}
}

// followingBroker returns a broker of a name, wired as in the package's documentation.
func followingBroker(t *testing.T, dns *resolve.DNS) *engine.Broker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	first, err := resolve.First(ctx, dns)
	require.NoError(t, err)
	b, err := engine.New(engine.Config{
		Addrs:        resolve.Addrs(first),
		OnDisconnect: func(string, error) { dns.Again() },
	})
	require.NoError(t, err)
	followed, seen := make(chan error, 1), make(chan struct{}, 1)
	noted := resolverFunc(func(yield func([]resolve.Endpoint, error) bool) {
		for set, err := range dns.Watch(ctx) {
			if !yield(set, err) {
				return
			}
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	})
	go func() { followed <- resolve.Follow(ctx, noted, b, resolve.FollowConfig{Have: first}) }()
	<-seen // the next lookup is that of the interval
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-followed, context.Canceled)
		assert.NoError(t, b.Close())
	})
	return b
}
