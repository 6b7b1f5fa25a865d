// Package netaddr reads the addresses that configurations name.
package netaddr

import (
	"fmt"
	"net"
	"strconv"
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
	_, port, err := net.SplitHostPort(target)
	if err != nil {
		return "", "", fmt.Errorf("address %q: %w; write host:port or unix:///path", addr, err)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > 65_535) {
		return "", "", fmt.Errorf("address %q: port %d must lie in 0 to 65535", addr, n)
	}
	return "tcp", target, nil
}
