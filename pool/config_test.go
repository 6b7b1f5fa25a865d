package pool_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestNonsenseInAConfigIsAnErrorThatNamesTheField(t *testing.T) {
	for want, cfg := range map[string]pool.Config{
		"Addr":              {},
		"MaxConns":          {Addr: "a", MaxConns: -1},
		"MaxConns is":       {Addr: "a", MaxConns: pool.ConnsLimit + 1},
		"MinCapacity":       {Addr: "a", MaxConns: 2, MinCapacity: 3},
		"MinConns":          {Addr: "a", MinConns: -1},
		"MinConns is 3":     {Addr: "a", MinConns: 3, MinCapacity: 2},
		"MinIdle":           {Addr: "a", MinIdle: 17},
		"MaxDials":          {Addr: "a", MaxDials: -1},
		"Validation ":       {Addr: "a", Validation: 9},
		"MinInterval":       {Addr: "a", MinInterval: -1},
		"MaxInterval":       {Addr: "a", MinInterval: 2, MaxInterval: 1},
		"BackoffMax":        {Addr: "a", BackoffBase: 2, BackoffMax: 1},
		"ValidationTimeout": {Addr: "a", ValidationTimeout: -1},
		"needs a Ping":      {Addr: "a", Validation: pool.ValidatePing},
	} {
		_, err := pool.New(cfg)
		require.ErrorContains(t, err, want)
	}
	for _, cfg := range []pool.Config{
		{Network: "tcp"}, {KeepAlive: 1}, {TLS: &tls.Config{}},
		{Dial: func(context.Context, string) (net.Conn, error) { return nil, nil }},
		{Ping: func(context.Context, net.Conn) error { return nil }},
	} {
		_, err := pool.NewOf(pool.Source[*item]{Open: (&source{}).open}, cfg)
		require.ErrorContains(t, err, "Source")
	}
	_, err := pool.NewOf(pool.Source[*item]{}, pool.Config{})
	require.ErrorContains(t, err, "Open")
}

func TestTheZeroConfigHasTheDocumentedDefaults(t *testing.T) {
	p := newPool(t, &source{}, pool.Config{})
	assert.Equal(t, 16, p.Cap())
	assert.Equal(t, 16, p.Capacity())
	assert.Equal(t, 500*time.Millisecond, p.Interval())
	for _, cfg := range []pool.Config{
		{MaxInterval: time.Millisecond}, {MinInterval: time.Hour}, {BackoffBase: time.Hour}, {BackoffMax: time.Millisecond},
	} {
		newPool(t, &source{}, cfg) // the other bound of the pair gives way
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for r := pool.Reason(0); r <= pool.Reasons; r++ {
		seen[r.String()] = true
	}
	assert.Len(t, seen, int(pool.Reasons)+1)
}

func TestNewUsesTheNetworkAndTheDialItIsGiven(t *testing.T) {
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer ln.Close()
	p := newConnPool(t, pool.Config{Network: "unix", Addr: path})
	require.NoError(t, p.WaitReady(bg))

	var dialled string
	p = newConnPool(t, pool.Config{Addr: "somewhere", Dial: func(_ context.Context, addr string) (net.Conn, error) {
		dialled = addr
		nc, _ := net.Pipe()
		return nc, nil
	}})
	nc, err := p.GetContext(bg)
	require.NoError(t, err)
	require.Equal(t, "somewhere", dialled)
	require.NoError(t, p.Put(nc))
	again, err := p.GetContext(bg)
	require.NoError(t, err, "a pipe has nothing to peek at")
	require.True(t, nc == again)

	p = newConnPool(t, pool.Config{Addr: "a", Dial: func(context.Context, string) (net.Conn, error) { return nil, nil }})
	_, err = p.GetContext(bg)
	require.ErrorContains(t, err, "neither")
}
