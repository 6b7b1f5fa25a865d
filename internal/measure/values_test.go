package measure_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/server"
)

// No check has ended at the zero time: that would be 62 billion seconds before 1970.
func TestAServerThatWasNeverCheckedHasNoTimeOfThat(t *testing.T) {
	for _, tc := range []struct {
		server  httppool.ServerTarget
		checked float64
		healthy float64
	}{
		{httppool.ServerTarget{}, 0, 0},
		{httppool.ServerTarget{LastHealthCheck: time.UnixMilli(1500), IsHealthy: true}, 1.5, 1},
	} {
		tc.server.URL = &url.URL{Host: "a"}
		got := make(map[string]float64)
		measure.HTTPPoolServers().Take(func(f *measure.Family, value float64, _ ...string) { got[f.Name] = value }, &tc.server)
		assert.InDelta(t, tc.checked, got["ringwire_httppool_server_last_check_time_seconds"], 0)
		assert.InDelta(t, tc.healthy, got["ringwire_httppool_server_healthy"], 0)
	}
}

// A request is over whatever became of it.
func TestInflightIsWhatIsNotOver(t *testing.T) {
	s := server.Stats{Requests: 10_000, Replies: 1, NoReplies: 20, Unanswered: 300, Dropped: 4000}
	for _, v := range measure.Server() {
		if v.Family.Name == "ringwire_server_inflight" {
			assert.InDelta(t, 10_000-4321, v.Of(&s), 0)
			return
		}
	}
	t.Error("there is no such family")
}
