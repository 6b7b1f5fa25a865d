package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/taskid"
)

// skipUnlessTold skips a test where the broker cannot know that it is called by a
// callback of its own.
func skipUnlessTold(t *testing.T) {
	t.Helper()
	if goroutine.Self() == 0 {
		t.Skip("goroutines cannot be told apart on this platform")
	}
}

func TestTheFirstGoOfACallbackIsAlwaysAccepted(t *testing.T) {
	skipUnlessTold(t)
	for _, limits := range []struct{ queue, flight, conns int }{{4, 16, 1}, {1, 1, 1}, {4, 16, 2}} {
		t.Run(fmt.Sprintf("%+v", limits), func(t *testing.T) {
			b := newBroker(t, Config{
				Addrs: []string{newPeer(t, echo).addr()}, ConnsPerAddr: limits.conns,
				QueueSize: limits.queue, MaxInFlight: limits.flight,
			})
			var stop atomic.Bool
			var others sync.WaitGroup
			t.Cleanup(func() { stop.Store(true); others.Wait() })
			ready(t, b)
			for range 4 { // they keep everything full
				others.Go(func() {
					for i := 0; !stop.Load(); i++ {
						if b.Go(bg, []byte("x"), func([]byte, error) {}) != nil {
							breathe(i)
						}
					}
				})
			}
			const steps = 100
			ended := make(chan error, 1)
			var step func(left int) error
			step = func(left int) error {
				return b.Go(bg, []byte("step"), func(_ []byte, err error) {
					if err == nil && left > 0 {
						err = step(left - 1)
					}
					if err != nil || left == 0 {
						ended <- err
					}
				})
			}
			mustCome(t, "the first step", func() bool { return step(steps) == nil })
			require.NoError(t, mustReceive(t, ended, "the last step"))
			require.Positive(t, b.Stats().QueueFull, "it was full")
		})
	}
}

// blockingCalls makes every call that waits, and returns what each says. WaitReady need
// not wait while a connection is up.
func blockingCalls(b *Broker) (errs []error) {
	_, err := b.Send(bg, []byte("x"))
	errs = append(errs, err)
	_, err = b.SendInto(bg, nil, []byte("x"))
	errs = append(errs, err)
	errs = append(errs, b.SendBatch(bg, [][]byte{[]byte("x")}, func(int, []byte, error) {}))
	if err := b.WaitReady(bg); err != nil {
		errs = append(errs, err)
	}
	return append(errs, b.Shutdown(bg), b.Close())
}

// inCallback runs fn in a callback of the kind.
func inCallback(t *testing.T, b *Broker, p *peer, got <-chan struct{}, kind string, fn func()) {
	t.Helper()
	call := func([]byte, error) { fn() }
	switch kind {
	case "reply":
		require.NoError(t, b.Go(bg, []byte("x"), call))
	case "reply of a batch":
		askEach(t, b, true, 1, func(int, []byte, error) { fn() })
	case "timeout":
		require.NoError(t, b.Go(bg, noReply, call))
	case "cancellation":
		ctx, cancel := context.WithCancel(bg)
		require.NoError(t, b.Go(ctx, noReply, call))
		mustReceive(t, got, "the request")
		cancel()
	case "loss":
		require.NoError(t, b.Go(bg, noReply, call))
		mustReceive(t, got, "the request")
		p.reset()
	}
}

var callbackKinds = []string{"reply", "reply of a batch", "timeout", "cancellation", "loss"}

// quietPeer answers all but quiet requests, of which it tells.
func quietPeer(t *testing.T) (p *peer, got chan struct{}) {
	t.Helper()
	got = make(chan struct{}, 100)
	return newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if string(req) == string(noReply) {
			got <- struct{}{}
			return
		}
		c.reply(id, req)
	}), got
}

func TestCallsThatWaitFailAtOnceInACallback(t *testing.T) {
	skipUnlessTold(t)
	for _, kind := range callbackKinds {
		t.Run(kind, func(t *testing.T) {
			p, got := quietPeer(t)
			cfg := Config{Addrs: []string{p.addr()}, BackoffBase: time.Millisecond}
			if kind == "timeout" {
				cfg.ReadTimeout = 20 * time.Millisecond
			}
			b := newBroker(t, cfg)
			ready(t, b)
			said := make(chan []error, 1)
			inCallback(t, b, p, got, kind, func() { said <- blockingCalls(b) })
			for i, err := range mustReceive(t, said, "the callback") {
				assert.ErrorIs(t, err, ErrInCallback, "call %d", i)
			}
			someServed(t, b, 20) // after a loss, and with a short timeout, not all
		})
	}
}

func TestWaitReadyFailsAtOnceInACallbackWhileNothingIsUp(t *testing.T) {
	skipUnlessTold(t)
	b := newBroker(t, Config{
		Addrs: []string{"server:1"}, RequestTimeout: 20 * time.Millisecond, DialTimeout: -1,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	said := make(chan error, 1)
	require.NoError(t, b.Go(bg, nil, func([]byte, error) { said <- b.WaitReady(bg) }))
	require.ErrorIs(t, mustReceive(t, said, "the callback"), ErrInCallback)
}

func TestACallbackMayCallAnotherBrokerAndStartGoroutinesThatWait(t *testing.T) {
	for _, kind := range callbackKinds {
		t.Run(kind, func(t *testing.T) {
			p, got := quietPeer(t)
			cfg := Config{Addrs: []string{p.addr()}, BackoffBase: time.Millisecond}
			if kind == "timeout" {
				cfg.ReadTimeout = 20 * time.Millisecond
			}
			other := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
			b := newBroker(t, cfg)
			ready(t, b)
			said := make(chan error, 10)
			started := make(chan error, 1)
			inCallback(t, b, p, got, kind, func() {
				said <- other.WaitReady(bg)
				_, err := other.Send(bg, []byte("x"))
				said <- err
				said <- other.SendBatch(bg, make([][]byte, 3), func(int, []byte, error) {})
				said <- other.Shutdown(bg)
				go func() {
					for i := 0; ; i++ { // a lost connection must come back first
						_, err := b.Send(bg, []byte("x"))
						if err == nil || errors.Is(err, ErrInCallback) {
							started <- err
							return
						}
						breathe(i)
					}
				}()
			})
			for range 4 {
				require.NoError(t, mustReceive(t, said, "the callback"))
			}
			require.NoError(t, mustReceive(t, started, "the goroutine"))
		})
	}
}

// The runtime gives a new goroutine what is left of an old one.
func TestAGoroutineThatEndedInACallbackIsForgotten(t *testing.T) {
	skipUnlessTold(t)
	p, got := quietPeer(t)
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	ready(t, b)
	for range 50 {
		for _, kind := range []string{"reply", "cancellation"} {
			inside := make(chan struct{})
			inCallback(t, b, p, got, kind, func() { close(inside); runtime.Goexit() })
			mustReceive(t, inside, "the callback")
		}
		mustReturn(t, "new goroutines", func() bool { manyCallers(t, b, 20, 1); return true })
	}
}
