package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringwire/ringwire/server"
	"github.com/spf13/cobra"
)

// admissionFlags are the flags of "ringwire serve" that say which clients are let in.
type admissionFlags struct {
	allow, deny       []string
	maxConns          int
	maxConnsPerIP     int
	connRatePerIP     float64
	connBurstPerIP    int
	firstFrameTimeout time.Duration
}

func (f *admissionFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.allow, "allow", nil, "addresses that may connect, such as 10.0.0.0/8 or ::1, separated by commas (default: all)")
	flags.StringSliceVar(&f.deny, "deny", nil, "addresses that may not connect, even if --allow names them")
	flags.IntVar(&f.maxConns, "max-conns", 0, "connections accepted at once; 0 is the server's default")
	flags.IntVar(&f.maxConnsPerIP, "max-conns-per-ip", 0, "connections of one client address at once, an IPv6 /64 being one; 0 is no limit")
	flags.Float64Var(&f.connRatePerIP, "conn-rate-per-ip", 0, "new connections a second of one client address; 0 is no limit")
	flags.IntVar(&f.connBurstPerIP, "conn-burst-per-ip", 0, "how many of these may come at once; 0 is the rate")
	flags.DurationVar(&f.firstFrameTimeout, "first-frame-timeout", 0, "close a connection that has not sent a whole frame by then; 0 lets it be silent")
}

// apply sets the fields of c.
func (f *admissionFlags) apply(c *server.Config) (err error) {
	if c.Allow, err = parsePrefixes("--allow", f.allow); err != nil {
		return err
	}
	if c.Deny, err = parsePrefixes("--deny", f.deny); err != nil {
		return err
	}
	c.MaxConns, c.MaxConnsPerIP = f.maxConns, f.maxConnsPerIP
	c.MaxConnRatePerIP, c.MaxConnBurstPerIP = f.connRatePerIP, f.connBurstPerIP
	c.FirstFrameTimeout = f.firstFrameTimeout
	return nil
}

// parsePrefixes reads the words of a flag: prefixes, or addresses.
func parsePrefixes(flag string, words []string) (all []netip.Prefix, err error) {
	for _, word := range words {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if err != nil {
			addr, notOne := netip.ParseAddr(word)
			if notOne != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%s: %q is neither an IP address without a zone nor a prefix such as 10.0.0.0/8", flag, word)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}
