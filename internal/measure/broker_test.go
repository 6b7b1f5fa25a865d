package measure_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/measure"
)

// A server that was removed and is back is there twice, and is one: its numbers are sums.
func TestWhatIsMergedIsTheSumOfBoth(t *testing.T) {
	stats := func(n uint64) engine.Stats {
		return engine.Stats{
			Conns: int(n), InFlight: int(2 * n), Replies: 3 * n, Failed: 4 * n, Timeouts: 5 * n, Cancelled: 6 * n,
			Dials: 7 * n, DialErrors: 8 * n, ConnsLost: 9 * n,
		}
	}
	all := measure.Merged([]engine.AddrStats{
		{Addr: "a", State: engine.AddrLeaving, Weight: 3, Share: 100, Failures: 7, Stats: stats(1)},
		{Addr: "b", State: engine.AddrDown, Weight: 1, Failures: 1, Stats: stats(100)},
		{Addr: "a", State: engine.AddrDown, Weight: 5, Share: 25, Failures: 4, Stats: stats(1000)},
	})
	servers := measure.BrokerServers()
	got := make(map[string]float64)
	for _, s := range all {
		servers.Take(func(f *measure.Family, value float64, labels ...string) {
			name := strings.TrimPrefix(f.Name, "ringwire_client_server_")
			if name != "state" || value != 0 {
				got[name+" "+strings.Join(labels, " ")] = value
			}
		}, &s)
	}
	assert.Equal(t, map[string]float64{
		"state a down": 1, "weight a": 5, "share_ratio a": 0.25, "failures a": 4, "connections a": 1001, "inflight a": 2002,
		"requests_total a replied": 3003, "requests_total a connection_lost": 4004,
		"requests_total a timeout": 5005, "requests_total a cancelled": 6006,
		"dials_total a": 7007, "dial_errors_total a": 8008, "connections_lost_total a": 9009,
		"state b down": 1, "weight b": 1, "share_ratio b": 0, "failures b": 1, "connections b": 100, "inflight b": 200,
		"requests_total b replied": 300, "requests_total b connection_lost": 400,
		"requests_total b timeout": 500, "requests_total b cancelled": 600,
		"dials_total b": 700, "dial_errors_total b": 800, "connections_lost_total b": 900,
	}, got)
}

func TestStateWeightAndShareOfWhatIsMergedAreOfTheOneThatStays(t *testing.T) {
	for _, tc := range []struct {
		first, second, both engine.AddrState
		weight, share       int // the first's are 1 and 10, the second's 2 and 20
	}{
		{engine.AddrLeaving, engine.AddrDown, engine.AddrDown, 2, 20},
		{engine.AddrDown, engine.AddrLeaving, engine.AddrDown, 1, 10},
		{engine.AddrLeaving, engine.AddrUp, engine.AddrUp, 2, 20},
		{engine.AddrUp, engine.AddrLeaving, engine.AddrUp, 1, 10},
		{engine.AddrLeaving, engine.AddrLeaving, engine.AddrLeaving, 2, 20},
	} {
		got := measure.Merged([]engine.AddrStats{
			{Addr: "a", State: tc.first, Weight: 1, Share: 10}, {Addr: "a", State: tc.second, Weight: 2, Share: 20},
		})
		assert.Equal(t, []engine.AddrStats{{Addr: "a", State: tc.both, Weight: tc.weight, Share: tc.share}}, got, "%v", tc)
	}
}
