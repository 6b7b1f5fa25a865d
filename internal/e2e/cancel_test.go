package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/server"
)

// impatient ends most calls' contexts within two milliseconds, times slow, by cancellation
// or deadline, some before the call.
func impatient(run context.Context, nonce uint64, slow time.Duration) (context.Context, context.CancelFunc) {
	after := time.Duration(nonce>>16%2_000_000) * time.Nanosecond * slow
	switch nonce >> 8 % 8 {
	case 0:
		ctx, cancel := context.WithCancel(run)
		cancel()
		return ctx, cancel
	case 1, 2, 3:
		ctx, cancel := context.WithCancel(run)
		timer := time.AfterFunc(after, cancel)
		return ctx, func() {
			timer.Stop()
			cancel()
		}
	case 4, 5:
		return context.WithTimeout(run, after)
	default:
		return run, func() {}
	}
}

// TestCancelAndTimeoutAtRandomPoints gives calls up at every point of their life
// while the server answers late, out of order, or not at all.
func TestCancelAndTimeoutAtRandomPoints(t *testing.T) {
	requests := sized[int64](30_000, 1_000_000)
	if small() {
		requests = 15_000
	}
	t.Run("roomy", func(t *testing.T) {
		// No quarantine fills up, so connections live as long as the broker, and
		// each reply finds its request, waiting or given up.
		stats := giveUp(t, requests/2, 1<<16)
		assert.EqualValues(t, 2, stats.Dials)
		assert.Zero(t, stats.UnknownReplies)
	})
	t.Run("tight", func(t *testing.T) {
		// Unanswered requests fill the quarantine: connections are replaced.
		stats := giveUp(t, requests/2, 512)
		assert.Greater(t, stats.Dials, uint64(2))
	})
}

// giveUp is a run with impatient callers. It returns the broker's counts from
// just before it was closed. On a machine so busy that nothing comes in time it is
// repeated with more patience.
func giveUp(t *testing.T, requests int64, maxInFlight int) engine.Stats {
	for slow := time.Duration(1); ; slow *= 10 {
		before, report, stats := giveUpAt(t, requests, maxInFlight, slow)
		if (report.OK == 0 || stats.LateReplies == 0) && slow < 100 {
			continue
		}
		assert.Positive(t, report.Cancelled)
		assert.Positive(t, report.Timeouts)
		assert.Positive(t, report.OK)
		assert.Positive(t, stats.LateReplies)
		return before
	}
}

func giveUpAt(t *testing.T, requests int64, maxInFlight int, slow time.Duration) (before engine.Stats, report chaos.Report, stats engine.Stats) {
	readTimeout := 20 * time.Millisecond * slow
	h := newHarness(t, chaos.Config{
		Seed: seed(t), Requests: requests, Timeout: productTimeout,
		Context: func(run context.Context, nonce uint64) (context.Context, context.CancelFunc) {
			return impatient(run, nonce, slow)
		},
		Window: 2, // more, given up and made anew all the time, and nothing comes in time on a busy machine
	})
	ended := make(chan struct{})
	handler := func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		dst, err := h.Answer(dst, req)
		nonce, ok := chaos.Nonce(req)
		if err != nil || !ok {
			return dst, err
		}
		switch kind := nonce >> 32 % 100; {
		case kind == 0:
			return dst, server.ErrNoReply
		case kind < 2:
			pause(ended, readTimeout+time.Duration(nonce>>40%uint64(readTimeout)))
		case kind < 50:
			pause(ended, time.Duration(nonce>>40%uint64(time.Millisecond)))
		}
		return dst, nil
	}
	r := newRig(t, h,
		server.Config{Workers: 64, Handler: server.HandlerFunc(handler)},
		faultnet.Config{},
		engine.Config{ConnsPerAddr: 2, MaxInFlight: maxInFlight, ReadTimeout: readTimeout, SilenceTimeout: -1},
	)
	t.Cleanup(func() { close(ended) })
	h.Run(context.Background(), r.broker)
	r.alive()
	before = r.broker.Stats()
	report, stats = r.finish()
	return before, report, stats
}

// pause waits for d or until ended is closed.
func pause(ended <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	}
}
