package faultnet

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc/self/fd: %v", err)
	}
	return len(entries)
}

// TestCloseLeavesNothing closes proxies whose connections are waiting at every
// place: for bytes, for a slow reader, in a delay, at the gate, in a half-close.
func TestCloseLeavesNothing(t *testing.T) {
	deaf := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { hold(c) }).Addr().String()
	before := descriptors(t)
	for name, cfg := range map[string]Config{
		"idle":        {},
		"delayed":     {DelayRate: 1, DelayMax: 10 * time.Second},
		"throttled":   {BytesPerSecond: 1},
		"half-closed": {HalfCloseAfter: Range{1, 1}, HalfCloseLinger: time.Minute},
		"merging":     {MergeRate: 1, MergeWait: 10 * time.Second},
		"hung":        {HangAfter: Range{1, 1}, HangMax: time.Minute},
	} {
		cfg.Target = deaf
		p, err := New(cfg)
		require.NoError(t, err)
		var conns []net.Conn
		for range 4 {
			c := dial(t, p)
			_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = c.Write(make([]byte, 1<<20)) // ends with the deadline or the proxy's buffers
			conns = append(conns, c)
		}
		p.Pause()
		conns = append(conns, dial(t, p))
		begin := time.Now()
		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
		assert.Less(t, time.Since(begin), 5*time.Second, name)
		assert.Zero(t, p.Stats().Active, name)
		for _, c := range conns {
			_ = c.Close()
		}
	}
	assert.Eventually(t, func() bool { return descriptors(t) == before }, bound, time.Millisecond)
}

func TestBadConfigIsRefusedByName(t *testing.T) {
	for name, cfg := range map[string]Config{
		"Target":             {},
		"SplitRate":          {Target: "x", SplitRate: 1.1},
		"MergeRate":          {Target: "x", SplitRate: 0.6, MergeRate: 0.6},
		"DelayRate":          {Target: "x", DelayRate: -0.1},
		"SplitMax":           {Target: "x", SplitMax: -1},
		"MergeMax":           {Target: "x", MergeMax: 1 << 20},
		"BytesPerSecond":     {Target: "x", BytesPerSecond: -1},
		"ResetAfter.Min":     {Target: "x", ResetAfter: Range{2, 1}},
		"HalfCloseAfter.Min": {Target: "x", HalfCloseAfter: Range{-1, 1}},
		"HangAfter.Min":      {Target: "x", HangAfter: Range{2, 1}},
		"HangMax":            {Target: "x", HangMax: -time.Second},
		"DropTail":           {Target: "x", DropTail: -1},
		"MaxConns":           {Target: "x", MaxConns: -1},
		"DialTimeout":        {Target: "x", DialTimeout: -time.Second},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, name)
	}
}
