package engine

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/latency"
)

// took is a histogram of durations.
func took(all ...time.Duration) (h latency.Histogram) {
	for _, d := range all {
		h.Record(d)
	}
	return h
}

func TestLatencyIsTheTimeUntilTheOutcome(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		slow := farEnd(framing.Format{}, func(p *far, f framing.Frame) {
			switch string(f.Payload) {
			case "slow":
				p.after(300*time.Millisecond, func() { p.reply(f.ID, nil) })
			case "at once":
				p.reply(f.ID, nil)
			}
		})
		b := newBroker(t, Config{Addrs: []string{"far:1"}, DialContext: pipeDial(slow), LatencyEvery: 1})
		ready(t, b)
		for _, req := range []string{"slow", "at once"} {
			_, err := call(b, bg, []byte(req))
			require.NoError(t, err)
		}
		require.Equal(t, took(300*time.Millisecond, 0), b.Latency())
		before := b.Latency()
		ctx, cancel := context.WithTimeout(bg, 2*time.Second)
		defer cancel()
		_, err := call(b, ctx, []byte("never answered"))
		require.ErrorIs(t, err, ErrTimeout)
		after := b.Latency()
		require.Equal(t, took(2*time.Second), after.Since(&before), "a failure, too")
	})
}

// What waits in the backlog has waited since it was called.
func TestLatencyHasTheTimeInTheBacklog(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		dial := pipeDial(farEnd(framing.Format{}, farEcho))
		b := newBroker(t, Config{Addrs: []string{"far:1"}, LatencyEvery: 1,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				time.Sleep(time.Second) // virtual
				return dial(ctx, network, addr)
			}})
		_, err := call(b, bg, nil)
		require.NoError(t, err)
		require.Equal(t, took(time.Second), b.Latency())
	})
}

func TestOneOfSoManyCallsIsTimed(t *testing.T) {
	const every, callers, n = 8, 8, 1000
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}, LatencyEvery: every})
	ready(t, b)
	count := func(calls func()) int {
		before := b.Latency()
		calls()
		after := b.Latency()
		since := after.Since(&before)
		return int(since.Count())
	}
	var all sync.WaitGroup
	assert.InDelta(t, callers*n/every, count(func() {
		for range callers {
			all.Go(func() {
				for range n {
					_, _ = b.SendInto(bg, nil, nil)
				}
			})
		}
		all.Wait()
	}), 220, "seven standard deviations")
	assert.InDelta(t, callers*n/every, count(func() {
		for range callers * n {
			all.Add(1)
			for b.Go(bg, nil, func([]byte, error) { all.Done() }) != nil {
				all.Done()
				all.Wait()
				all.Add(1)
			}
		}
		all.Wait()
	}), 220)
	assert.InDelta(t, callers*n/every, count(func() {
		reqs := make([][]byte, 100)
		for range callers * n / len(reqs) {
			require.NoError(t, b.SendBatch(bg, reqs, func(int, []byte, error) {}))
		}
	}), 220)
	require.NoError(t, b.SendOneWay(bg, nil))
}

func TestLatencyIsOffAndBounded(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	for range 1000 {
		_, err := b.Send(bg, nil)
		require.NoError(t, err)
	}
	require.NoError(t, b.SendBatch(bg, make([][]byte, 100), func(int, []byte, error) {}))
	assert.Zero(t, b.Latency())
	_, err := New(Config{Addrs: []string{"a:1"}, LatencyEvery: 1<<20 + 1})
	assert.EqualError(t, err, "engine: Config.LatencyEvery is 1048577; it must lie in 0 to 1048576")
}
