package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/rawio"
)

// Which clients are let in. The accept loop asks in this order, and the first that says no counts:
//
//	Deny, Allow         whose address it is
//	MaxConnsPerIP       how many its address has open
//	MaxConnRatePerIP    how fast they come from its address
//	MaxConns            how many there are
//
// Each answer takes a bounded time, whatever peers have done before. A connection that is in and
// says nothing is a newcomer, and may have to go again: newcomer.go.

// refusal says why a connection was not taken.
type refusal int

const (
	refusedNot        refusal = iota // it is taken
	refusedAddr                      // Deny, or not in Allow
	refusedPerIP                     // MaxConnsPerIP
	refusedRate                      // MaxConnRatePerIP
	refusedConns                     // MaxConns
	refusedHandshakes                // too many are not secured yet, or have not told their addresses
	refusalCount
)

var refusalText = [refusalCount]string{
	refusedNot:        "none",
	refusedAddr:       "its address is not allowed",
	refusedPerIP:      "too many connections of its address",
	refusedRate:       "too many new connections of its address",
	refusedConns:      "too many connections",
	refusedHandshakes: "too many TLS handshakes at once, or connections that do not tell their address",
}

func (r refusal) String() string { return refusalText[r] }

// door is which clients may come in, as configured.
type door struct {
	allow, deny prefixes
	sources     *sources // nil without a limit per address
	evictAt     int64    // beyond so many open connections a newcomer has to go; MaxInt64: never
}

func newDoor(cfg *Config) door {
	d := door{allow: newPrefixes(cfg.Allow), deny: newPrefixes(cfg.Deny), evictAt: math.MaxInt64}
	if cfg.MaxConnsPerIP > 0 || cfg.MaxConnRatePerIP > 0 {
		d.sources = newSources(max(cfg.MaxConnsPerIP, 0), max(cfg.MaxConnRatePerIP, 0), cfg.MaxConnBurstPerIP)
	}
	if limit := int64(cfg.MaxConns); limit >= 0 {
		d.evictAt = limit - max(1, limit/evictShare)
	}
	return d
}

// enter asks whether a connection from an address may come in, and has it counted if so: leave
// has to follow.
func (s *Server) enter(nc net.Conn, from netip.Addr) refusal {
	if _, local := nc.(*net.UnixConn); !local && !s.door.lets(from) {
		return refusedAddr
	}
	if t := s.door.sources; t != nil {
		if why := t.enter(from, time.Since(s.epoch)); why != refusedNot {
			return why
		}
	}
	open, limit := s.open.Add(1), int64(s.cfg.MaxConns)
	if open > s.door.evictAt {
		s.evict()
	}
	if limit >= 0 && open > limit {
		s.leave(from)
		return refusedConns
	}
	return refusedNot
}

// leave gives back what enter has taken.
func (s *Server) leave(from netip.Addr) {
	if t := s.door.sources; t != nil {
		t.leave(from)
	}
	s.open.Add(-1) // last: a connection that sees the room finds all of it
}

// refuse counts and closes a connection that was not let in. remote is nil if it is not known.
func (s *Server) refuse(nc net.Conn, remote net.Addr, why refusal) {
	s.failures.refused[why].Add(1)
	discard(nc)
	_ = nc.Close()
	if skipped, ok := s.due(logRefused+logKind(why), slog.LevelWarn); ok {
		s.write(slog.LevelWarn, "connection refused: "+why.String(), skipped,
			[]slog.Attr{slog.String("remote", fmt.Sprint(remote))})
	}
}

// discardBytes is how much of what a refused connection has sent is read away.
const discardBytes = 4 << 10

// discard makes one attempt to read what nc has sent: unread input makes the system end
// a connection by a reset. It waits for nothing.
func discard(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok || !rawio.Available {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		var junk [discardBytes]byte
		_ = raw.Read(func(fd uintptr) bool {
			_, _ = rawio.Read(fd, junk[:])
			return true
		})
	}
}

// lets reports whether an address may come in by Deny and Allow.
func (d *door) lets(from netip.Addr) bool {
	return !d.deny.contain(from) && (len(d.allow) == 0 || d.allow.contain(from))
}

// addrOf returns an address as it is compared: IPv4 where it is mapped into IPv6, and
// without a zone. The zero Addr is that of a client that has none, on a unix socket.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp != nil {
		ip, _ := netip.AddrFromSlice(tcp.IP)
		return ip.Unmap()
	}
	return netip.Addr{}
}

// prefixes is a set of addresses: sorted, and none within another, so that a search
// takes few steps in however long a list.
type prefixes []netip.Prefix

// mappedBits is how many bits of a mapped address come before the IPv4 address.
const mappedBits = 96

// newPrefixes returns the set of all that are in one of the prefixes, which are valid.
func newPrefixes(all []netip.Prefix) prefixes {
	sorted := make(prefixes, 0, len(all))
	for _, p := range all {
		if a := p.Addr(); a.Is4In6() {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-mappedBits)
		}
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	set := sorted[:0]
	for _, p := range sorted {
		// Two prefixes are one within the other, the wider first, or have nothing in common.
		if n := len(set); n == 0 || !set[n-1].Overlaps(p) {
			set = append(set, p)
		}
	}
	return set
}

func (s prefixes) contain(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(s, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && s[i-1].Contains(a) // only the last that begins before it can
}

// The ranges of the limits per address.
const (
	maxConnRate  = 1e6  // a second
	minConnRate  = 1e-3 // one in a quarter of an hour
	maxConnBurst = 1_000_000
)

// validateAdmission is the part of validate that is about which clients are let in.
func (c *Config) validateAdmission() error {
	for _, l := range []struct {
		field string
		all   []netip.Prefix
	}{{"Allow", c.Allow}, {"Deny", c.Deny}} {
		for i, p := range l.all {
			switch {
			case !p.IsValid():
				return fmt.Errorf("server: Config.%s[%d] is no valid prefix; make it by netip.ParsePrefix or Addr.Prefix", l.field, i)
			case p.Addr().Is4In6() && p.Bits() < mappedBits:
				return fmt.Errorf("server: Config.%s[%d] is %v; a prefix of IPv4-mapped addresses has at least %d bits, "+
					"write it as an IPv4 prefix", l.field, i, p, mappedBits)
			}
		}
	}
	if r := c.MaxConnRatePerIP; !(r <= 0) && !(r >= minConnRate && r <= maxConnRate) {
		return fmt.Errorf("server: Config.MaxConnRatePerIP is %v; it must lie in %v to %d a second, or be negative for none",
			r, minConnRate, int(maxConnRate))
	}
	switch b := c.MaxConnBurstPerIP; {
	case b != 0 && c.MaxConnRatePerIP <= 0:
		return fmt.Errorf("server: Config.MaxConnBurstPerIP is %d without a MaxConnRatePerIP; set both", b)
	case b < 0 || b > maxConnBurst:
		return fmt.Errorf("server: Config.MaxConnBurstPerIP is %d; it must lie in 1 to %d", b, maxConnBurst)
	}
	return nil
}
