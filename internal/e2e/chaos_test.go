package e2e

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/server"
)

// fronts are the two ways the server runs handlers: on its loops, in order, and
// on goroutines, in any order.
var fronts = []struct {
	name    string
	workers int
}{{"loops", 0}, {"workers", 16}}

// bytesPerRequest is how many bytes a request moves in each direction, on average
// and with failures counted in.
const bytesPerRequest = 580

// someContexts gives half of the calls a context that could end but does not.
func someContexts(run context.Context, nonce uint64) (context.Context, context.CancelFunc) {
	switch nonce >> 8 % 4 {
	case 0:
		return context.WithCancel(run)
	case 1:
		return context.WithTimeout(run, time.Hour)
	default:
		return run, func() {}
	}
}

// TestChaosResetsNeverMisdeliver is the test of the two promises: through any
// number of resets a reply never reaches a caller it was not made for, and every
// accepted request completes exactly once.
func TestChaosResetsNeverMisdeliver(t *testing.T) {
	requests, resets := *requestsFlag, *resetsFlag
	if requests == 0 {
		requests = sized[int64](60_000, 10_000_000)
	}
	if resets == 0 {
		resets = sized[int64](150, 10_000)
	}
	if small() {
		requests, resets = 40_000, 50
	}
	for _, front := range fronts {
		t.Run(front.name, func(t *testing.T) {
			s := seed(t)
			n, want := requests/int64(len(fronts)), resets/int64(len(fronts))
			// Both directions draw, so the mean distance between resets is a third of the
			// maximum: this makes a third more of them than wanted, and where there are few,
			// which scatter widely, twice as many.
			distance := 3 * bytesPerRequest * n / want * 3 / 4
			if small() {
				distance = 3 * bytesPerRequest * n / want / 2
			}
			r := newRig(t,
				newHarness(t, chaos.Config{Seed: s, Requests: n, Window: 4, Timeout: productTimeout, Context: someContexts}),
				server.Config{Workers: front.workers},
				faultnet.Config{
					Seed: s, SplitRate: 0.05, MergeRate: 0.05, DelayRate: 0.02, DelayMax: time.Millisecond, DropTail: 2000,
					ResetAfter: faultnet.Range{Min: 1, Max: distance},
				},
				engine.Config{ConnsPerAddr: 4},
			)
			stop := storm(r, s, sized(20, 200))
			r.h.Run(context.Background(), r.broker)
			stop()
			r.alive()
			report, stats := r.finish()
			assert.GreaterOrEqual(t, r.proxy.Stats().Resets, uint64(want), "resets")
			assert.Equal(t, n, report.Requests)
			assert.Greater(t, report.OK, n/2, "most calls must succeed, or the rest proves little")
			assert.Positive(t, report.Failed)
			assert.Positive(t, stats.ConnsLost)
		})
	}
}

// storm resets all connections at once n times, now and then, so that at times
// the broker has none. The function it returns ends it.
func storm(r *rig, seed uint64, n int) (stop func()) {
	rng := rand.New(rand.NewPCG(seed, 0xa11))
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			wait := time.NewTimer(time.Duration(100+rng.IntN(400)) * time.Millisecond)
			select {
			case <-wait.C:
				for _, p := range r.proxies {
					p.ResetAll()
				}
			case <-ended:
				wait.Stop()
				return
			}
		}
	})
	return func() {
		close(ended)
		wg.Wait()
	}
}

// TestChaosHalfClosesNeverMisdeliver ends single directions with a FIN, between
// frames and inside them: what came before it counts, what did not is an error.
func TestChaosHalfClosesNeverMisdeliver(t *testing.T) {
	requests := sized[int64](20_000, 1_000_000)
	s := seed(t)
	r := newRig(t,
		newHarness(t, chaos.Config{Seed: s, Requests: requests, Timeout: productTimeout}),
		server.Config{},
		faultnet.Config{
			Seed: s, SplitRate: 0.1, HalfCloseLinger: 200 * time.Millisecond,
			HalfCloseAfter: faultnet.Range{Min: 1, Max: 600_000},
		},
		engine.Config{ConnsPerAddr: 2},
	)
	r.h.Run(context.Background(), r.broker)
	r.alive()
	report, _ := r.finish()
	assert.Positive(t, r.proxy.Stats().HalfCloses)
	assert.Greater(t, report.OK, requests/2)
}

// TestChaosPartitionFailsCallsAtTheirDeadline stops all bytes without closing
// anything. Calls fail when their time is up, what comes after the partition is
// dropped or right, and the broker goes on.
func TestChaosPartitionFailsCallsAtTheirDeadline(t *testing.T) {
	r := newRig(t,
		newHarness(t, chaos.Config{Seed: seed(t), Requests: sized[int64](10_000, 500_000), Timeout: productTimeout}),
		server.Config{},
		faultnet.Config{},
		engine.Config{ConnsPerAddr: 2, ReadTimeout: productTimeout / 2},
	)
	stop := partitions(t, r.proxy, sized(1, 20), productTimeout)
	r.h.Run(context.Background(), r.broker)
	stop()
	r.alive()
	report, _ := r.finish()
	assert.Positive(t, report.Timeouts)
	assert.Positive(t, report.OK)
}

// partitions pauses a proxy n times for d, the first time when there is traffic. The
// function it returns waits for the last.
func partitions(t *testing.T, p *faultnet.Proxy, n int, d time.Duration) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		assert.Eventually(t, func() bool { return p.Stats().BytesDown > 0 }, testBound, time.Millisecond, "traffic")
		tick := time.NewTicker(d)
		defer tick.Stop()
		for range n {
			p.Pause()
			<-tick.C
			p.Resume()
			<-tick.C
		}
	})
	return wg.Wait
}

// TestChaosSplitsNeverChangeResults cuts and joins the stream in every way that
// TCP may: each reply must still come, and be right.
func TestChaosSplitsNeverChangeResults(t *testing.T) {
	for _, tc := range []struct {
		name       string
		requests   int64
		maxPayload int
		proxy      faultnet.Config
	}{
		{"byte by byte", 150, 200, faultnet.Config{SplitRate: 1, SplitMax: 1}},
		{"few bytes at a time", 1000, 2000, faultnet.Config{SplitRate: 1, SplitMax: 13}},
		{"merged", 4000, 65531, faultnet.Config{MergeRate: 1, MergeMax: 32 << 10}},
		{"mixed", 4000, 65531, faultnet.Config{SplitRate: 0.4, SplitMax: 300, MergeRate: 0.4, DelayRate: 0.02}},
	} {
		for _, front := range fronts {
			t.Run(tc.name+"/"+front.name, func(t *testing.T) {
				requests := tc.requests * sized[int64](1, 50)
				tc.proxy.Seed = seed(t)
				r := newRig(t,
					newHarness(t, chaos.Config{
						Seed: tc.proxy.Seed, Requests: requests, Timeout: 10 * productTimeout,
						Callers: 8, Window: 4, BatchMax: 8, MaxPayload: tc.maxPayload,
					}),
					server.Config{Workers: front.workers}, tc.proxy,
					// Slow on purpose: no deadline but the harness's.
					engine.Config{RequestTimeout: -1, ReadTimeout: -1, WriteTimeout: -1},
				)
				r.h.Run(context.Background(), r.broker)
				report, _ := r.finish()
				assert.Equal(t, requests, report.OK)
				s := r.proxy.Stats()
				assert.Equal(t, tc.proxy.SplitRate > 0, s.Splits > 0)
				assert.Equal(t, tc.proxy.MergeRate > 0, s.Merges > 0)
			})
		}
	}
}
