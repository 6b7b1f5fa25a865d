package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

// watched is how many contexts the broker watches.
func (k *sharedContexts) watched() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.all)
}

// Callers that share a context stop waiting together when it ends, whatever they are at,
// and each has its reply or the context's error.
func TestContextOfManyCallsEndsThemAll(t *testing.T) {
	var quiet atomic.Bool
	var asked atomic.Int32
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if quiet.Load() {
			asked.Add(1)
			return
		}
		echo(c, id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, SilenceTimeout: -1})
	for round := range 8 {
		quiet.Store(false)
		asked.Store(0)
		ctx, cancel := context.WithCancel(bg)
		const callers = 32
		var wg sync.WaitGroup
		var replies, ended atomic.Int32
		for range callers {
			wg.Go(func() {
				for {
					reply, err := b.Send(ctx, []byte("x"))
					if err != nil {
						assert.ErrorIs(t, err, context.Canceled)
						ended.Add(1)
						return
					}
					assert.Equal(t, "x", string(reply))
					replies.Add(1)
				}
			})
		}
		until(func() bool { return b.contexts.watched() == 1 }) // the pool may drop waiters
		if round%2 == 0 {                                       // else in the middle of everything
			quiet.Store(true)
			until(func() bool { return asked.Load() == callers })
		}
		cancel()
		mustReturn(t, "all callers", func() bool { wg.Wait(); return true })
		require.EqualValues(t, callers, ended.Load())
		until(func() bool { return b.contexts.watched() == 0 })
	}
}

// A waiter that has gone on to another context is not given up with the first.
func TestContextOfEarlierCallsEndsNoLaterOne(t *testing.T) {
	hold, asked := make(chan struct{}), make(chan struct{}, 100)
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if string(req) == "wait" {
			asked <- struct{}{}
			<-hold
		}
		echo(c, id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	calls := func(ctx context.Context) {
		for range 2 * sharedAfter {
			_, err := b.Send(ctx, []byte("x"))
			assert.NoError(t, err)
		}
	}
	second, cancelSecond := context.WithCancel(bg)
	defer cancelSecond()
	for range 20 { // the pool of waiters may give a call another one
		first, cancel := context.WithCancel(bg)
		got := make(chan error, 1)
		go func() {
			calls(first)
			calls(second)
			_, err := b.Send(second, []byte("wait"))
			got <- err
		}()
		<-asked
		cancel()
		until(func() bool { return b.contexts.watched() <= 1 })
		hold <- struct{}{}
		require.NoError(t, <-got)
	}
}

func TestContextsAreForgotten(t *testing.T) {
	p := newPeer(t, echo)
	b, err := New(oneConn(Config{Addrs: []string{p.addr()}}))
	require.NoError(t, err)
	var cancels []context.CancelFunc
	for range sharedMax + 10 {
		ctx, cancel := context.WithTimeout(bg, time.Hour)
		cancels = append(cancels, cancel)
		for range 3 * sharedAfter {
			_, err := b.Send(ctx, []byte("x"))
			require.NoError(t, err)
		}
	}
	assert.LessOrEqual(t, b.contexts.watched(), sharedMax)
	for _, cancel := range cancels {
		cancel()
	}
	until(func() bool { return b.contexts.watched() == 0 })
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	for range 3 * sharedAfter {
		_, err := b.Send(ctx, []byte("x"))
		require.NoError(t, err)
	}
	require.NoError(t, b.Close())
	assert.Zero(t, b.contexts.watched())
}

// A context may end, and all callers that wait be told, a moment before one more begins
// to wait.
func TestWhoBeginsToWaitWhenASharedContextHasEndedIsToldToo(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, silent).addr()}, BusyPoll: -1})
	ready(t, b)
	ctx, cancel := context.WithCancel(bg)
	w := newWaiter().(*waiter)
	w.request.payload = []byte("x")
	b.prepare(ctx, w, nil)
	require.NoError(t, b.place(&w.request))
	cancel()
	w.shared = new(sharedContext)
	w.shared.end(b, ctx)
	mustReturn(t, "the call", func() bool { b.awaitShared(ctx, w); return true })
	require.ErrorIs(t, w.err, context.Canceled)
}

// While somebody tries to give a request up its caller may not make another one.
func TestWhoHasAReplyWaitsForWhoeverGivesItsRequestUp(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, silent).addr()}})
	w := newWaiter().(*waiter)
	w.shared = new(sharedContext)
	returned := make(chan struct{})
	go func() {
		b.awaitShared(bg, w)
		close(returned)
	}()
	until(func() bool { return w.state.CompareAndSwap(waiterWaits, waiterGivenUp) })
	w.reply([]byte("reply"))
	for range 10_000 {
		runtime.Gosched()
		select {
		case <-returned:
			t.Fatal("it goes on too early")
		default:
		}
	}
	w.state.Store(waiterWaits)
	mustReceive(t, returned, "the caller goes on")
}
