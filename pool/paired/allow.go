package paired

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// allowed is the set of peers that may connect; an empty one has everybody.
type allowed []netip.Prefix

// parseAllowed reads addresses and CIDR prefixes that are separated by commas or
// blanks.
func parseAllowed(text string) (set allowed, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		p, err := parsePrefix(word)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a CIDR prefix such as 10.0.0.0/8: %w", clip(word), err)
		}
		set = append(set, p)
	}
	if set == nil && text != "" {
		return nil, fmt.Errorf("%q names no address; leave it empty to let everybody in", clip(text))
	}
	return set, nil
}

func parsePrefix(word string) (netip.Prefix, error) {
	if !strings.Contains(word, "/") {
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap()
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("leave out the zone, it is not compared")
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, err
	}
	// ::ffff:10.0.0.0/104 is 10.0.0.0/8: peers are compared as IPv4.
	const mapped = 96
	if p.Addr().Is4In6() {
		if p.Bits() < mapped {
			return netip.Prefix{}, fmt.Errorf("a prefix of IPv4-mapped addresses has at least %d bits", mapped)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p, nil
}

// allows reports whether a peer may connect. One without an IP address, on a unix
// socket for example, may only if everybody may.
func (s allowed) allows(peer net.Addr) bool {
	if len(s) == 0 {
		return true
	}
	ip, ok := addrOf(peer)
	if !ok {
		return false
	}
	for _, p := range s {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// addrOf returns a peer's address as it is compared: IPv4 where it is mapped into
// IPv6, and without a zone.
func addrOf(peer net.Addr) (netip.Addr, bool) {
	if peer == nil {
		return netip.Addr{}, false
	}
	if tcp, ok := peer.(*net.TCPAddr); ok && tcp != nil {
		ip, ok := netip.AddrFromSlice(tcp.IP)
		return ip.Unmap(), ok
	}
	ap, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr().Unmap().WithZone(""), true
}
