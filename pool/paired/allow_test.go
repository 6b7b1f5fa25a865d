package paired

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1, Zone: ""} }

// text is an address of somebody else's network.
type text string

func (text) Network() string  { return "else" }
func (s text) String() string { return string(s) }

func TestClientIPSaysWhoMayConnect(t *testing.T) {
	for _, c := range []struct {
		clientIP string
		in, out  []net.Addr
	}{
		{"", []net.Addr{tcp("192.168.1.10"), tcp("::1"), text("pipe"), nil, &net.UnixAddr{Name: "/x"}}, nil},
		{"192.168.1.10",
			[]net.Addr{tcp("192.168.1.10"), tcp("::ffff:192.168.1.10"), text("192.168.1.10:5"), text("[::ffff:192.168.1.10]:5")},
			[]net.Addr{tcp("192.168.1.11"), tcp("::1"), text("pipe"), text("192.168.1.10"), nil, (*net.TCPAddr)(nil), &net.UnixAddr{Name: "/x"}, &net.TCPAddr{}}},
		{"::ffff:192.168.1.10", []net.Addr{tcp("192.168.1.10")}, []net.Addr{tcp("192.168.1.1")}},
		{"10.0.0.0/8, 2001:db8::/32 127.0.0.1",
			[]net.Addr{tcp("10.255.0.1"), tcp("::ffff:10.0.0.1"), tcp("2001:db8:1::1"), tcp("127.0.0.1")},
			[]net.Addr{tcp("11.0.0.1"), tcp("2001:db9::1"), tcp("127.0.0.2")}},
		{"10.1.2.3/8", []net.Addr{tcp("10.9.9.9")}, []net.Addr{tcp("11.0.0.1")}},
		{"::ffff:10.0.0.0/104", []net.Addr{tcp("10.9.9.9")}, []net.Addr{tcp("11.0.0.1"), tcp("::1")}},
		{"fe80::/10", []net.Addr{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, text("[fe80::1%eth0]:5")}, []net.Addr{tcp("fec0::1")}},
		{"::/0", []net.Addr{tcp("::1"), tcp("2001::1")}, []net.Addr{tcp("10.0.0.1"), tcp("::ffff:10.0.0.1")}},
	} {
		set, err := parseAllowed(c.clientIP)
		require.NoError(t, err, c.clientIP)
		for _, a := range c.in {
			assert.True(t, set.allows(a), "%q, %v", c.clientIP, a)
		}
		for _, a := range c.out {
			assert.False(t, set.allows(a), "%q, %v", c.clientIP, a)
		}
	}
}

func TestClientIPRefusesNonsense(t *testing.T) {
	for _, bad := range []string{"localhost", "10.0.0.256", "10.0.0.0/33", "10.0.0.1,x", " ", ",", "fe80::1%eth0", "::ffff:10.0.0.0/95", "10.0.0.1:80", "/8"} {
		ln := listen(t)
		p, err := NewServerPool(ServerConfig{Listener: ln, ClientIP: bad})
		require.ErrorContains(t, err, "ServerConfig.ClientIP", bad)
		require.Nil(t, p)
		require.NoError(t, ln.Close(), "still the caller's")
	}
}

func TestTheServerClosesPeersThatAreNotAllowed(t *testing.T) {
	for _, c := range []struct {
		network, listen, dial, clientIP string
		ok                              bool
	}{
		{"tcp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.1", true},
		{"tcp4", "127.0.0.1:0", "127.0.0.1", "192.168.1.10", false},
		{"tcp", "[::]:0", "127.0.0.1", "127.0.0.0/8", true}, // arrives as ::ffff:127.0.0.1
		{"tcp", "[::]:0", "127.0.0.1", "::1", false},
		{"tcp", "[::]:0", "::1", "::1", true},
		{"tcp", "[::]:0", "::1", "127.0.0.1", false},
	} {
		t.Run(c.dial+" at "+c.listen+" for "+c.clientIP, func(t *testing.T) {
			noLeaks(t)
			ln, err := net.Listen(c.network, c.listen)
			if err != nil {
				t.Skip("no IPv6 here: ", err)
			}
			_, port, err := net.SplitHostPort(ln.Addr().String())
			require.NoError(t, err)
			server := newServer(t, ServerConfig{Listener: ln, ClientIP: c.clientIP})
			client := newClient(t, server, ClientConfig{Addr: net.JoinHostPort(c.dial, port)})
			if c.ok {
				_, near, far := take(t, server, client)
				talk(t, near, far, "hello")
				assert.Zero(t, server.Stats().IPRejects)
				return
			}
			eventually(t, "both count it", func() bool {
				return server.Stats().IPRejects > 0 && client.Stats().HandshakeErrors > 0
			})
			assert.Zero(t, server.Stats().Opened)
			assert.Positive(t, server.ErrorCount())
		})
	}
}
