package e2e

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
)

const shutdownTimeout = 500 * time.Millisecond

// A trap is a state in which a broker is closed.
type trap struct {
	name string
	// serve is the server's side of a connection; nil does not read.
	serve func(h *chaos.Harness) func(net.Conn)
	// tune sets what makes the state. release is closed after Close returned.
	tune func(cfg *engine.Config, release <-chan struct{})
	// queueFull: calls must meet ErrQueueFull. In every trap some must be open
	// when the broker is closed.
	queueFull bool
	// hungDial: Close cannot wait for the dial and may say so.
	hungDial bool
}

// answering is an honest server by hand.
func answering(h *chaos.Harness) func(net.Conn) {
	return func(c net.Conn) {
		in, out := framing.NewReader(c, framing.Format{}), framing.NewWriter(c, framing.Format{})
		for {
			f, err := in.ReadFrame()
			if err != nil {
				return
			}
			reply, err := h.Answer(nil, f.Payload)
			if err != nil || out.WriteFrame(f.ID, reply) != nil {
				return
			}
			if in.Buffered() == 0 && out.Flush() != nil {
				return
			}
		}
	}
}

// mute reads and never answers, deaf does not even read until its peer closed it.
func mute(*chaos.Harness) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) }
}

func deaf(release <-chan struct{}) func(*chaos.Harness) func(net.Conn) {
	return func(*chaos.Harness) func(net.Conn) {
		return func(c net.Conn) {
			_ = c.(*net.TCPConn).SetReadBuffer(tinyBuffer)
			<-release
		}
	}
}

// tinyBuffer makes writes block after a few requests.
const tinyBuffer = 4 << 10

func dialTiny(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(tinyBuffer)
	}
	return c, err
}

// reluctant answers a few requests, then closes with some unread, which resets.
func reluctant(h *chaos.Harness) func(net.Conn) {
	return func(c net.Conn) {
		answering(h)(&limitedConn{Conn: c, left: io.LimitReader(c, 20_000)})
	}
}

// limitedConn reads no more than its limit.
type limitedConn struct {
	net.Conn
	left io.Reader
}

func (c *limitedConn) Read(p []byte) (int, error) { return c.left.Read(p) }

var traps = []trap{
	{name: "load", serve: answering},
	{name: "load, one call at a time", serve: answering, tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.MaxInFlight, cfg.WaitQueue = 1, true
	}},
	{name: "connections come and go", serve: reluctant},
	{name: "no replies", serve: mute},
	{name: "no replies, nothing in flight allowed", serve: mute, tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.MaxInFlight, cfg.WaitQueue = 4, true
	}},
	{name: "server stopped reading", tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.WaitQueue, cfg.DialContext = true, dialTiny
	}},
	{name: "queue full", queueFull: true, tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.QueueSize, cfg.DialContext = 8, dialTiny
	}},
	{name: "dial hangs until its context ends", serve: mute, tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}},
	{name: "dial hangs and ignores its context", hungDial: true, serve: mute, tune: func(cfg *engine.Config, release <-chan struct{}) {
		cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			<-release
			return c, err // comes too late: the broker must close it
		}
	}},
	{name: "dial fails", serve: mute, tune: func(cfg *engine.Config, _ <-chan struct{}) {
		cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
	}},
}

// count returns how many calls have met the trap.
func (t *trap) count(stats engine.Stats) uint64 {
	if t.queueFull {
		return stats.QueueFull
	}
	return stats.Failed
}

// furtherRounds is how many more rounds a trap gets at most in which no call was caught.
const furtherRounds = 20

// TestCloseAtAnyMoment closes brokers in every state, at a random moment, by
// Close and by Shutdown: every call ends, Close returns in time, nothing stays.
func TestCloseAtAnyMoment(t *testing.T) {
	checkLeaks(t)
	s := seed(t)
	rounds := sized(200, 1000)
	if small() {
		rounds = 40
	}
	// Several at a time: most of a round is waiting.
	next := make(chan int)
	var wg sync.WaitGroup
	caught := make([]atomic.Uint64, len(traps))
	for range 8 {
		wg.Go(func() {
			for round := range next {
				i := round % len(traps)
				caught[i].Add(traps[i].count(closeOnce(t, traps[i], s, round)))
			}
		})
	}
	for round := range rounds {
		next <- round
	}
	close(next)
	wg.Wait()
	// On a busy machine a broker may be closed before it has a call.
	for round := rounds; round < rounds+furtherRounds*len(traps); round++ {
		if i := round % len(traps); caught[i].Load() == 0 {
			caught[i].Add(traps[i].count(closeOnce(t, traps[i], s, round)))
		}
	}
	for i := range traps {
		assert.Positive(t, caught[i].Load(), "%s: no call met it", traps[i].name)
	}
}

// closeOnce is one round. It runs off the test's goroutine.
func closeOnce(t *testing.T, trap trap, seed uint64, round int) (stats engine.Stats) {
	rng := rand.New(rand.NewPCG(seed, uint64(round)))
	release := make(chan struct{})
	h, err := chaos.New(chaos.Config{
		Seed: seed + uint64(round), Requests: 1 << 24, Callers: 8, Window: 8,
		Timeout: time.Minute, Unwritten: unwritten,
		// Calls must be ended by Close, not by a context that ends with the run.
		Context: func(_ context.Context, nonce uint64) (context.Context, context.CancelFunc) {
			return someContexts(context.Background(), nonce)
		},
	})
	if !assert.NoError(t, err) {
		return stats
	}
	serve := trap.serve
	if serve == nil {
		serve = deaf(release)
	}
	ln := newPeer(t, serve(h))
	cfg := engine.Config{
		Addrs: []string{ln.addr()}, ConnsPerAddr: 1 + rng.IntN(2), ShutdownTimeout: shutdownTimeout,
		RequestTimeout: time.Minute, ReadTimeout: -1, WriteTimeout: -1, DialTimeout: -1,
		BackoffBase: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	}
	if trap.tune != nil {
		trap.tune(&cfg, release)
	}
	b, err := engine.New(cfg)
	if !assert.NoError(t, err) {
		return stats
	}
	run, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		h.Run(run, b)
	}()
	moment := time.NewTimer(time.Duration(rng.IntN(30_000)) * time.Microsecond)
	<-moment.C

	closing := time.Now()
	endBroker(t, b, rng.IntN(3), trap)
	took := time.Since(closing)
	cancel()
	limit := time.NewTimer(shutdownTimeout + time.Second - took)
	defer limit.Stop()
	select {
	case <-over:
	case <-limit.C:
		stacks := make([]byte, 1<<20)
		t.Errorf("%s, round %d: calls still open %v after Close\n%s", trap.name, round, time.Since(closing),
			stacks[:runtime.Stack(stacks, true)])
		return stats
	}
	assert.Less(t, took, shutdownTimeout+time.Second, "%s, round %d: Close", trap.name, round)
	close(release)
	ln.close()
	report := h.Report()
	assert.NoError(t, report.Err(), "%s, round %d", trap.name, round)
	stats = b.Stats()
	assert.Equal(t, stats.Accepted, stats.Replies+stats.Failed+stats.Timeouts+stats.Cancelled,
		"%s, round %d: %+v", trap.name, round, stats)
	assert.Zero(t, stats.InFlight, "%s, round %d", trap.name, round)
	_, err = b.Send(context.Background(), nil)
	assert.ErrorIs(t, err, net.ErrClosed, "%s, round %d", trap.name, round)
	return stats
}

// endBroker closes a broker in one of three ways.
func endBroker(t *testing.T, b *engine.Broker, way int, trap trap) {
	switch way {
	case 0:
		err := b.Close()
		assert.True(t, err == nil || trap.hungDial, "%s: Close: %v", trap.name, err)
	case 1: // several at once
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = b.Close() })
		}
		wg.Wait()
	default:
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		err := b.Shutdown(ctx)
		assert.True(t, err == nil || trap.hungDial || errors.Is(err, context.DeadlineExceeded), "%s: Shutdown: %v", trap.name, err)
	}
}
