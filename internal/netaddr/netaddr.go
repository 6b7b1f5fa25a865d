// Package netaddr reads the addresses that configurations name.
package netaddr

import (
	"fmt"
	"net"
	"strings"
)

// Split returns the network and the target of addr, as net.Dial and net.Listen take
// them. addr is "host:port" or "tcp://host:port", whose network is "tcp", or
// "unix:///path", whose network is "unix" and whose target is the path. The host may
// be empty and the port may be a name: neither is looked up.
//
// The error quotes addr and says what to write instead. It begins with the word
// "address", so that the caller can put its own name in front. It wraps the error of
// net.SplitHostPort if that is the reason.
func Split(addr string) (network, target string, err error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if path == "" {
			return "", "", fmt.Errorf("address %q has no path; write unix:///path/to/socket", addr)
		}
		return "unix", path, nil
	}
	target = strings.TrimPrefix(addr, "tcp://")
	if _, _, err := net.SplitHostPort(target); err != nil {
		return "", "", fmt.Errorf("address %q: %w; write host:port or unix:///path", addr, err)
	}
	return "tcp", target, nil
}
