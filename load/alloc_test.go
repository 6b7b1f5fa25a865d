//go:build !race

package load

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
)

// mirror is a backend that sends every byte back and allocates nothing for it.
func mirror(t testing.TB) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	target, err := ParseTarget(l.Addr().String())
	require.NoError(t, err)
	return target
}

// A run of many more requests allocates no more than a short one.
func TestRequestsAllocNothing(t *testing.T) {
	const few, many = 2_000, 102_000
	for name, change := range map[string]func(Config) Config{
		"closed loop": func(c Config) Config { return c },
		"open loop":   func(c Config) Config { return atRate(c, 200_000, time.Minute) },
		"no IDs": func(c Config) Config {
			c.Codec = codecOf(t, "fifo")
			return c
		},
		"messages": func(c Config) Config {
			c.Codec = codecOfMessages(t, "11,41")
			c.Mix = mixOf(t, "02105020000000800000"+"16${rand:16}"+"000000001000"+"${stan}"+"TERM0001", "echo")
			return c
		},
		"watched": func(c Config) Config {
			c.Log = func(in *Interval) { in.Status() }
			return c
		},
		"repeated bytes": func(c Config) Config {
			c.Mix = mixOf(t, "n ${seq:8} and ${rand:8}", "repeats:off=2,len=8")
			return c
		},
		"flows": func(c Config) Config {
			c.Mix = mixOfKinds(t, flowOf(t, []string{"${seq:8}", "again ${v}"}, []request.Extract{at("v", 6, 8)}))
			return c
		},
	} {
		mallocs := func(n int64) float64 {
			cfg := change(Config{Targets: []Target{mirror(t)}, Codec: codecOf(t, "anet"),
				Mix: mixOf(t, "n ${seq:8} and ${rand:8}", "echo"), Conns: 2, InFlight: 64, Requests: n})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			res, err := Run(t.Context(), cfg)
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			require.EqualValues(t, n, res.Total.Counts.OK())
			return float64(after.Mallocs - before.Mallocs)
		}
		mallocs(few) // warms the runtime up
		short, long := mallocs(few), mallocs(many)
		assert.Less(t, (long-short)/(many-few), 0.01, "%s: %v allocations for %d requests, %v for %d", name, short, few, long, many)
	}
}
