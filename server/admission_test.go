package server

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func prefixList(text ...string) (all []netip.Prefix) {
	for _, word := range text {
		all = append(all, netip.MustParsePrefix(word))
	}
	return all
}

// from is a connection from an address, for the server's door only.
func from(ip string) net.Conn {
	addr, _ := net.ResolveTCPAddr("tcp", net.JoinHostPort(ip, "1"))
	return addressed{remote: addr}
}

// enter has a connection ask whether it may come in.
func enter(s *Server, nc net.Conn) refusal { return s.enter(nc, addrOf(nc.RemoteAddr())) }

func TestAllowAndDeny(t *testing.T) {
	allowed, denied := prefixList("10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::/32", "fe80::/10"), prefixList("10.1.0.0/16", "::ffff:10.2.0.0/112", "2001:db8:1::/48")
	for name, tc := range map[string]struct {
		allow, deny []netip.Prefix
		in, out     []string
	}{
		"everybody": {nil, nil, []string{"127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%lo"}, nil},
		"allow": {allowed, nil,
			[]string{"10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1", "192.168.1.1", "2001:db8:1::5", "fe80::1%lo", "10.1.0.1"},
			[]string{"9.255.255.255", "11.0.0.0", "192.169.0.0", "127.0.0.1", "::1", "2001:db9::", "::10.0.0.1"}},
		"deny": {nil, denied,
			[]string{"10.0.0.1", "10.3.0.0", "127.0.0.1", "::1", "2001:db8:2::"},
			[]string{"10.1.2.3", "::ffff:10.1.2.3", "10.2.0.1", "2001:db8:1::5"}},
		"deny wins": {allowed, denied,
			[]string{"10.0.0.1", "192.168.1.1", "2001:db8:2::"},
			[]string{"10.1.2.3", "2001:db8:1:2::", "127.0.0.1"}},
		"deny wins over the same": {prefixList("10.0.0.1/32"), prefixList("10.0.0.1/32"), nil, []string{"10.0.0.1"}},
		"host bits":               {prefixList("10.9.9.9/8"), nil, []string{"10.0.0.1"}, []string{"11.9.9.9"}},
		"every IPv6 address":      {prefixList("::/0"), nil, []string{"::1", "2001:db8::"}, []string{"127.0.0.1", "::ffff:127.0.0.1"}},
		"every mapped address":    {prefixList("::ffff:0.0.0.0/96"), nil, []string{"127.0.0.1", "::ffff:127.0.0.1"}, []string{"::1"}},
	} {
		s, err := New(Config{Handler: HandlerFunc(echo), Allow: tc.allow, Deny: tc.deny})
		require.NoError(t, err, name)
		for _, ip := range tc.in {
			assert.Equal(t, refusedNot, enter(s, from(ip)), "%s: %s", name, ip)
		}
		for _, ip := range tc.out {
			assert.Equal(t, refusedAddr, enter(s, from(ip)), "%s: %s", name, ip)
		}
		assert.EqualValues(t, len(tc.in), s.open.Load(), name)
	}
}

// The search finds what a look at every prefix would.
func TestPrefixesContainWhatTheirListDoes(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	address := func() netip.Addr { // few different ones, so that many are within others
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{byte(r.IntN(3)), byte(r.IntN(3)), 0, byte(r.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0x20, byte(r.IntN(3)), 7: byte(r.IntN(3)), 15: byte(r.IntN(256))})
	}
	for range 300 {
		var all []netip.Prefix
		for range r.IntN(12) {
			a := address()
			all = append(all, netip.PrefixFrom(a, r.IntN(a.BitLen()+1)))
		}
		set := newPrefixes(all)
		for range 100 {
			a, want := address(), false
			for _, p := range all {
				want = want || p.Contains(a)
			}
			if set.contain(a) != want {
				t.Fatalf("seed %d: %v in %v must be %v; the set is %v", seed, a, all, want, set)
			}
		}
	}
}

func TestNonsenseAboutAdmissionIsRefusedByName(t *testing.T) {
	for want, c := range map[string]Config{
		"Config.Allow[1] is no valid prefix":                            {Allow: append(prefixList("10.0.0.0/8"), netip.Prefix{})},
		"Config.Deny[0] is no valid prefix":                             {Deny: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33)}},
		"Config.Deny[0] is ::ffff:10.0.0.0/95; a prefix of IPv4-mapped": {Deny: prefixList("::ffff:10.0.0.0/95")},
		"Config.MaxConnRatePerIP is 0.0001; it must lie in":             {MaxConnRatePerIP: 0.0001},
		"Config.MaxConnRatePerIP is 2e+06":                              {MaxConnRatePerIP: 2e6},
		"Config.MaxConnRatePerIP is NaN":                                {MaxConnRatePerIP: math.NaN()},
		"Config.MaxConnRatePerIP is +Inf":                               {MaxConnRatePerIP: math.Inf(1)},
		"Config.MaxConnBurstPerIP is 5 without a MaxConnRatePerIP":      {MaxConnBurstPerIP: 5},
		"Config.MaxConnBurstPerIP is -1; it must lie in 1 to 1000000":   {MaxConnRatePerIP: 1, MaxConnBurstPerIP: -1},
		"Config.MaxConnBurstPerIP is 1000001":                           {MaxConnRatePerIP: 1, MaxConnBurstPerIP: 1_000_001},
		"Config.FirstFrameTimeout is 25h0m0s; it must be at most":       {FirstFrameTimeout: 25 * time.Hour},
	} {
		c.Handler = HandlerFunc(echo)
		_, err := New(c)
		assert.ErrorContains(t, err, want)
	}
	s, err := New(Config{Handler: HandlerFunc(echo), MaxConns: -1, MaxConnsPerIP: -1, MaxConnRatePerIP: -1, FirstFrameTimeout: -1})
	require.NoError(t, err)
	assert.Nil(t, s.door.sources)
	for range 100 {
		require.Equal(t, refusedNot, enter(s, from("127.0.0.1")))
	}
}

// An IPv4 client comes to a listener on [::] with an address that is mapped into IPv6.
func TestIPv4ClientOfAnIPv6Listener(t *testing.T) {
	speaksPlain(t)
	if ln, err := net.Listen("tcp", "[::]:0"); err != nil {
		t.Skip("needs IPv6:", err)
	} else {
		require.NoError(t, ln.Close())
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want func(Stats) uint64
	}{
		"denied":         {Config{Deny: prefixList("127.0.0.0/8")}, func(st Stats) uint64 { return st.Denied }},
		"not allowed":    {Config{Allow: prefixList("::/0")}, func(st Stats) uint64 { return st.Denied }},
		"allowed":        {Config{Allow: prefixList("127.0.0.1/32")}, nil},
		"allowed mapped": {Config{Allow: prefixList("::ffff:127.0.0.0/104")}, nil},
		"second":         {Config{MaxConnsPerIP: 1}, func(st Stats) uint64 { return st.RejectedPerIP }},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Addr = "[::]:0"
			s := launch(t, tc.cfg)
			_, port, err := net.SplitHostPort(s.Addr().String())
			require.NoError(t, err)
			nc, err := net.Dial("tcp4", "127.0.0.1:"+port)
			require.NoError(t, err)
			defer nc.Close()
			if tc.cfg.MaxConnsPerIP > 0 {
				eventually(t, s, "the first", func(st Stats) bool { return st.Accepted == 1 })
				again, err := net.Dial("tcp4", "127.0.0.1:"+port)
				require.NoError(t, err)
				defer again.Close()
			}
			if tc.want != nil {
				eventually(t, s, "the refusal", func(st Stats) bool { return tc.want(st) == 1 && st.Refused() == 1 })
			} else {
				eventually(t, s, "the connection", func(st Stats) bool { return st.Accepted == 1 && st.Refused() == 0 })
			}
		})
	}
}

// Each limit is set so that the connection would be refused by it; they go one by one.
func TestRefusalsComeInTheirOrder(t *testing.T) {
	cfg := Config{Handler: HandlerFunc(echo), Deny: prefixList("10.0.0.0/8"), MaxConnsPerIP: 1,
		MaxConnRatePerIP: 0.001, MaxConns: 1}
	for _, tc := range []struct {
		want refusal
		off  func()
	}{
		{refusedAddr, func() { cfg.Deny = nil }},
		{refusedPerIP, func() { cfg.MaxConnsPerIP = 0 }},
		{refusedRate, func() { cfg.MaxConnRatePerIP = 0 }},
		{refusedConns, func() { cfg.MaxConns = -1 }},
		{refusedNot, func() {}},
	} {
		deny := cfg.Deny
		cfg.Deny = nil
		s, err := New(cfg)
		require.NoError(t, err)
		require.Equal(t, refusedNot, enter(s, from("10.0.0.1")), "the first comes in")
		s.door.deny = newPrefixes(deny)
		assert.Equal(t, tc.want, enter(s, from("10.0.0.1")))
		cfg.Deny = deny
		tc.off()
	}
}

// A connection that is refused because of MaxConns has no place of its address.
func TestRefusedConnectionHoldsNothing(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo), MaxConns: 1, MaxConnsPerIP: 1})
	require.NoError(t, err)
	require.Equal(t, refusedNot, enter(s, from("10.0.0.1")))
	for range 3 {
		require.Equal(t, refusedConns, enter(s, from("10.0.0.2")))
	}
	s.leave(netip.MustParseAddr("10.0.0.1"))
	assert.Zero(t, s.open.Load())
	assert.Empty(t, s.door.sources.of)
	assert.Equal(t, refusedNot, enter(s, from("10.0.0.2")))
}

func TestUnixSocketsHaveNoAddressToRefuse(t *testing.T) {
	s := launch(t, Config{Addr: "unix://" + filepath.Join(t.TempDir(), "s"), Allow: prefixList("10.0.0.0/8"),
		Deny: prefixList("0.0.0.0/0", "::/0"), MaxConnsPerIP: 1, MaxConnRatePerIP: 0.001})
	for range 3 {
		dial(t, s).call(1, []byte("x"))
	}
	assert.Zero(t, s.Stats().Refused())
}

// A client that has sent before it was refused reads an end, not a reset.
func TestRefusedPeerSeesAnOrdinaryEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what it has sent cannot be read away")
	}
	s := launch(t, Config{Deny: prefixList("127.0.0.0/8")})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var clients []net.Conn
	for range 20 {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		_, err = nc.Write([]byte{0, 5, 0, 0, 0, 1, 'x'})
		require.NoError(t, err)
		clients = append(clients, nc)
	}
	require.NoError(t, s.Serve(ln))
	for _, nc := range clients {
		require.NoError(t, nc.SetDeadline(time.Now().Add(patienceMax)))
		_, err := nc.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	}
	assert.EqualValues(t, len(clients), s.Stats().Denied)
}

// loopback returns a dialler from an address of the loopback network, which has all of
// 127.0.0.0/8 on Linux only.
func loopback(t *testing.T, last byte) net.Dialer {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs several addresses")
	}
	return net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}
}

// Refused connections that their clients keep open are in nobody's way.
func TestFloodOfRefusedConnectionsKeepsNobodyOut(t *testing.T) {
	flood := loopback(t, 2)
	s := launch(t, Config{Deny: prefixList("127.0.0.2/32"), MaxConnsPerIP: 1, MaxConns: 2})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var held []net.Conn
			for !stop.Load() {
				nc, err := flood.Dial("tcp", s.Addr().String())
				if err != nil {
					continue
				}
				_, _ = nc.Write(make([]byte, 64<<10))
				if held = append(held, nc); len(held) > 50 {
					_ = held[0].Close()
					held = held[1:]
				}
			}
			for _, nc := range held {
				_ = nc.Close()
			}
		})
	}
	eventually(t, s, "the flood", func(st Stats) bool { return st.Denied > 100 })
	for i := range 20 {
		c := dial(t, s)
		c.call(uint32(i), nil)
		require.NoError(t, c.nc.Close())
		eventually(t, s, "the end", func(st Stats) bool { return st.Conns == 0 })
	}
	stop.Store(true)
	wg.Wait()
}

func TestAcceptedAndRefusedAreAllThatConnected(t *testing.T) {
	const clients, each = 5, 60
	denied := loopback(t, 1)
	s := launch(t, Config{Deny: prefixList("127.0.0.1/32"), MaxConns: 20, MaxConnsPerIP: 8, MaxConnRatePerIP: 1, MaxConnBurstPerIP: 20})
	var wg sync.WaitGroup
	for i := range clients {
		d := denied
		if i > 0 {
			d = loopback(t, byte(i+1))
		}
		wg.Go(func() {
			var held []net.Conn
			for range each {
				nc, err := d.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				if held = append(held, nc); len(held) == each/4 {
					for _, nc := range held {
						_ = nc.Close()
					}
					held = nil
				}
			}
		})
	}
	wg.Wait()
	eventually(t, s, "all", func(st Stats) bool { return st.Accepted+st.Refused() == clients*each && st.Conns == 0 })
	st := s.Stats()
	assert.EqualValues(t, each, st.Denied)
	assert.Positive(t, st.RejectedPerIP+st.RejectedRate)
	assert.Equal(t, st.Accepted, st.Closed.Total())
	assert.LessOrEqual(t, st.Accepted, uint64((clients-1)*(20+patienceMax/time.Second)), "a burst each, and one a second")
	s.door.sources.mu.Lock()
	defer s.door.sources.mu.Unlock()
	assert.LessOrEqual(t, len(s.door.sources.of), clients-1)
	for _, src := range s.door.sources.of {
		assert.Zero(t, src.conns)
	}
}

func TestEachRefusalIsLoggedOnceASecondWithItsAddress(t *testing.T) {
	var log lines
	s, err := New(Config{Handler: HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	for why := refusedAddr; why < refusalCount; why++ {
		for range 5 {
			nc := closing{from(fmt.Sprintf("10.0.0.%d", why))}
			s.refuse(nc, nc.RemoteAddr(), why)
		}
	}
	said := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, said, int(refusalCount)-1)
	for i, line := range said {
		assert.Contains(t, line, refusal(i+1).String())
		assert.Contains(t, line, fmt.Sprintf("remote=10.0.0.%d:1", i+1))
	}
	st := s.Stats()
	assert.Equal(t, [5]uint64{5, 5, 5, 5, 5},
		[5]uint64{st.Denied, st.RejectedPerIP, st.RejectedRate, st.Rejected, st.RejectedHandshakes})
	assert.EqualValues(t, 25, st.Refused())
}

// closing is a connection that can be closed.
type closing struct{ net.Conn }

func (closing) Close() error { return nil }
