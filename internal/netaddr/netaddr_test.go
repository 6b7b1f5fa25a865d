package netaddr_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/netaddr"
)

func TestSplitReturnsWhatToDial(t *testing.T) {
	for addr, want := range map[string][2]string{
		"host:80":                {"tcp", "host:80"},
		":0":                     {"tcp", ":0"},
		"host:http":              {"tcp", "host:http"},
		"tcp://host:80":          {"tcp", "host:80"},
		"[::1]:80":               {"tcp", "[::1]:80"},
		"tcp://[fe80::1%lo0]:80": {"tcp", "[fe80::1%lo0]:80"},
		"unix:///run/server":     {"unix", "/run/server"},
		"unix://relative":        {"unix", "relative"},
		"unix://tcp://host:80":   {"unix", "tcp://host:80"},
	} {
		network, target, err := netaddr.Split(addr)
		require.NoError(t, err, addr)
		assert.Equal(t, want, [2]string{network, target}, addr)
	}
}

func TestSplitNamesThePathThatIsMissing(t *testing.T) {
	_, _, err := netaddr.Split("unix://")
	require.EqualError(t, err, `address "unix://" has no path; write unix:///path/to/socket`)
}

func TestSplitSaysWhatToWriteInsteadOfNonsense(t *testing.T) {
	for _, addr := range []string{"", "host", "tcp://", "tcp://host", "::1:80", "udp://host:80"} {
		network, target, err := netaddr.Split(addr)
		var why *net.AddrError
		require.ErrorAs(t, err, &why, addr)
		assert.ErrorContains(t, err, `address "`+addr+`": `)
		assert.ErrorContains(t, err, "; write host:port or unix:///path")
		assert.Empty(t, network, addr)
		assert.Empty(t, target, addr)
	}
}
