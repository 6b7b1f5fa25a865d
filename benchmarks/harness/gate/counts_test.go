//go:build !race && !invariant

package gate

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
	"github.com/ringwire/ringwire/engine"
)

// counts is what a run cost.
type counts struct {
	clientAllocs, serverAllocs float64 // per call, per request
	clientFrames, serverFrames float64 // per write
	clientOps, serverOps       float64 // per request
}

// counters is one look at everything that is counted.
type counters struct {
	mallocs uint64
	client  engine.Stats
	server  load.Report
}

func look(t *testing.T, broker *engine.Broker) counters {
	t.Helper()
	report, err := load.Ask(broker)
	require.NoError(t, err)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return counters{mem.Mallocs, broker.Stats(), report}
}

// since is what b's run cost between two looks.
func (after counters) since(before counters, b budget) counts {
	per := func(n uint64, of float64) float64 { return float64(n) / max(of, 1) }
	requests := float64(b.requests)
	c0, c1, s0, s1 := before.client, after.client, before.server.Server, after.server.Server
	clientWrites, serverWrites := c1.Writes-c0.Writes, s1.Writes-s0.Writes
	return counts{
		clientAllocs: per(after.mallocs-before.mallocs, b.calls()),
		serverAllocs: per(after.server.Mallocs-before.server.Mallocs, requests),
		clientFrames: per(c1.FramesOut-c0.FramesOut, float64(clientWrites)),
		serverFrames: per(s1.Replies-s0.Replies, float64(serverWrites)),
		clientOps:    per(c1.Reads-c0.Reads+clientWrites, requests),
		serverOps:    per(s1.Reads-s0.Reads+serverWrites, requests),
	}
}

// overBudget lists what is dearer than b allows.
func (c counts) overBudget(b budget) (problems []string) {
	atMost := func(what string, got, limit float64) {
		if got > limit {
			problems = append(problems, fmt.Sprintf("%s: %.5f, the budget is %.5f", what, got, limit))
		}
	}
	atLeast := func(what string, got, limit float64) {
		if got < limit {
			problems = append(problems, fmt.Sprintf("%s: %.2f, there should be at least %.2f", what, got, limit))
		}
	}
	atMost("allocations per call of the client", c.clientAllocs, b.clientAllocs+allocSlack/b.calls())
	atMost("allocations per request of the server", c.serverAllocs, b.serverAllocs+allocSlack/float64(b.requests))
	atLeast("frames per write of the client", c.clientFrames, b.clientFrames*(1-opsSlack))
	atLeast("replies per write of the server", c.serverFrames, b.serverFrames*(1-opsSlack))
	atMost("reads and writes per request of the client", c.clientOps, b.clientOps+opsSlack)
	atMost("reads and writes per request of the server", c.serverOps, b.serverOps+opsSlack)
	return problems
}

func TestRequestsStayWithinTheirBudgets(t *testing.T) {
	srv := startServer(t)
	for _, b := range budgets {
		t.Run(b.String(), func(t *testing.T) {
			// A collection in between empties the pools, which are then filled anew.
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			broker, l := connect(t, srv.Addr, b)
			fill(t, srv, broker, l, b.callers)
			before := look(t, broker)
			require.NoError(t, l.Run(b.requests))
			c := look(t, broker).since(before, b)
			t.Logf("allocations/call %.5f, server %.5f/request; frames/write %.1f, server %.1f; reads+writes/request %.4f, server %.4f",
				c.clientAllocs, c.serverAllocs, c.clientFrames, c.serverFrames, c.clientOps, c.serverOps)
			for _, problem := range c.overBudget(b) {
				t.Error(problem)
			}
		})
	}
}

func TestBudgetCheckSeesEachExcess(t *testing.T) {
	b := budget{api: load.SendInto, requests: 1_000_000, clientFrames: 10, serverFrames: 10, clientOps: 0.2, serverOps: 0.2}
	good := counts{clientFrames: 10, serverFrames: 12, clientOps: 0.2, serverOps: 0.1}
	assert.Empty(t, good.overBudget(b))
	for name, spoil := range map[string]func(*counts){
		"client allocs": func(c *counts) { c.clientAllocs = 0.01 },
		"server allocs": func(c *counts) { c.serverAllocs = 0.01 },
		"client frames": func(c *counts) { c.clientFrames = 9 },
		"server frames": func(c *counts) { c.serverFrames = 9 },
		"client ops":    func(c *counts) { c.clientOps = 0.21 },
		"server ops":    func(c *counts) { c.serverOps = 0.21 },
	} {
		bad := good
		spoil(&bad)
		assert.Len(t, bad.overBudget(b), 1, name)
	}
}
