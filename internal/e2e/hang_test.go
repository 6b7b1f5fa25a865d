package e2e

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/server"
)

// blockedFor is how long a callback blocks that does: longer than the client waits
// before it lets others read the replies behind it.
const blockedFor = 150 * time.Millisecond

// A nuisance is a function of the user's that now and then blocks, panics or ends its
// goroutine, each as often as the others.
type nuisance struct {
	oneIn uint64 // callbacks
	ended chan struct{}

	blocked, panicked, exited atomic.Int64
}

func (n *nuisance) callback(nonce uint64) {
	if nonce>>24%n.oneIn != 0 {
		return
	}
	switch nonce >> 8 % 3 {
	case 0:
		n.blocked.Add(1)
		pause(n.ended, blockedFor)
	case 1:
		n.panicked.Add(1)
		panic("a callback panics on purpose")
	default:
		n.exited.Add(1)
		runtime.Goexit()
	}
}

// A wave is a context that many calls have in common, so that all of them are given up
// at the same moment: when as many have joined as it takes.
type wave struct {
	size int

	mu     sync.Mutex // guards what follows
	joined int
	ctx    context.Context
	cancel context.CancelFunc
	broken int // waves
}

func (w *wave) join() context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.joined%w.size == 0 {
		w.breakNow()
		w.ctx, w.cancel = context.WithCancel(context.Background())
	}
	w.joined++
	return w.ctx
}

// end gives up those that wait for the wave to be full.
func (w *wave) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breakNow()
}

func (w *wave) breakNow() {
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
		w.broken++
	}
}

// context is for chaos.Config: a quarter of the calls is given up at a random moment of
// its life, a quarter in waves.
func (w *wave) context(run context.Context, nonce uint64) (context.Context, context.CancelFunc) {
	switch nonce >> 56 % 4 {
	case 0:
		return impatient(run, nonce, 1)
	case 1:
		return w.join(), func() {}
	default:
		return run, func() {}
	}
}

// TestChaosHangsAndBadCallbacksAndCancellations has everything at once: two of three
// servers hang now and then with their connections open, all connections are reset at
// random places, sometimes all together; callbacks block, panic and end their goroutine;
// calls are given up, one by one and many at the same moment; some replies come late or
// never. The output of a connection that hangs fills up, so when it is reset requests
// move to others.
func TestChaosHangsAndBadCallbacksAndCancellations(t *testing.T) {
	requests, hangs := sized[int64](12_000, 1_500_000), sized[uint64](1, 50)
	if small() {
		requests = 12_000
	}
	for _, front := range fronts {
		t.Run(front.name, func(t *testing.T) {
			s, n := seed(t), requests/int64(len(fronts))
			bad := &nuisance{oneIn: sized[uint64](20, 500), ended: make(chan struct{})}
			waves := &wave{size: 100}
			h := newHarness(t, chaos.Config{
				Seed: s, Requests: n, Window: 4, Timeout: productTimeout,
				Context: waves.context, Callback: bad.callback,
			})
			// What a server moves in both directions is a third of all, and less for one that hangs.
			share := 2 * bytesPerRequest * n / 3
			faults := faultnet.Config{
				SplitRate: 0.02, DelayRate: 0.02, DelayMax: time.Millisecond, DropTail: 2000,
				ResetAfter: faultnet.Range{Min: 1, Max: share / sized[int64](5, 500)},
			}
			var proxies []faultnet.Config
			for i := range uint64(3) {
				pc := faults
				pc.Seed = s + i
				if i < 2 {
					pc.HangAfter = faultnet.Range{Min: share / int64(hangs) / 5, Max: share / int64(hangs) / 2}
				}
				proxies = append(proxies, pc)
			}
			r := newFleet(t, h,
				server.Config{Workers: front.workers, Handler: forgetful(h, front.workers > 0, bad.ended)},
				proxies,
				engine.Config{
					ConnsPerAddr: 2, MaxInFlight: 512, MaxInFlightBytes: 32 << 10, DialContext: dialTiny,
					ReadTimeout: productTimeout / 2, SilenceTimeout: productTimeout / 10,
				},
			)
			stop := storm(r, s, sized(3, 100))
			h.Run(context.Background(), r.broker)
			stop()
			waves.end()
			r.alive()
			report, stats := r.finish()
			close(bad.ended)
			met := r.faults()
			t.Logf("blocked %d, panicked %d, exited %d, waves %d", bad.blocked.Load(), bad.panicked.Load(), bad.exited.Load(), waves.broken)
			assert.Equal(t, n, report.Requests)
			assert.Greater(t, report.OK, n/4, "many calls must succeed, or the rest proves little")
			assert.GreaterOrEqual(t, met.Hangs, hangs)
			assert.Positive(t, met.Resets)
			assert.Positive(t, stats.Suspected)
			assert.Positive(t, report.Timeouts)
			assert.Positive(t, report.Cancelled)
			assert.Positive(t, bad.blocked.Load())
			assert.Positive(t, bad.panicked.Load())
			assert.Positive(t, bad.exited.Load())
			assert.EqualValues(t, bad.panicked.Load()+bad.exited.Load(), stats.Panics)
		})
	}
}

// forgetful is a server that does not answer one request in a thousand, and if it may
// block answers one in a hundred late.
func forgetful(h *chaos.Harness, blocks bool, ended <-chan struct{}) server.Handler {
	return server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		dst, err := h.Answer(dst, req)
		nonce, ok := chaos.Nonce(req)
		if err != nil || !ok {
			return dst, err
		}
		switch kind := nonce >> 32 % 1000; {
		case kind == 0:
			return dst, server.ErrNoReply
		case kind < 10 && blocks:
			pause(ended, time.Duration(nonce>>40%uint64(10*time.Millisecond)))
		}
		return dst, nil
	})
}
