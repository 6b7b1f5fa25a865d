package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

func TestCloseFailsWhatIsPendingOnce(t *testing.T) {
	got := make(chan struct{}, 100)
	p := newPeer(t, func(*peerConn, taskid.ID, []byte) { got <- struct{}{} })
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	var calls atomic.Int64
	for range 20 {
		require.NoError(t, b.Go(bg, []byte("x"), func(_ []byte, err error) {
			if errors.Is(err, ErrClosingBroker) && errors.Is(err, net.ErrClosed) {
				calls.Add(1)
			}
		}))
	}
	sent := make(chan error, 1)
	go func() { _, err := b.Send(bg, []byte("y")); sent <- err }()
	for range 21 {
		<-got
	}
	require.NoError(t, b.Close())
	assert.EqualValues(t, 20, calls.Load())
	require.ErrorIs(t, <-sent, ErrClosingBroker)
	require.NoError(t, b.Close(), "Close may be called again")
	_, err := b.Send(bg, nil)
	require.ErrorIs(t, err, ErrQuit)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, b.WaitReady(bg), ErrQuit)
	require.ErrorIs(t, b.Shutdown(bg), ErrQuit)
}

func TestShutdownWaitsForReplies(t *testing.T) {
	hold := make(chan struct{})
	got := make(chan struct{}, 10)
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		got <- struct{}{}
		go func() {
			<-hold
			c.reply(id, req)
		}()
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	var ok atomic.Int64
	for range 5 {
		require.NoError(t, b.Go(bg, []byte("x"), func(_ []byte, err error) {
			if err == nil {
				ok.Add(1)
			}
		}))
	}
	for range 5 {
		<-got
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Shutdown(bg) }()
	for b.state.Load() == uint32(running) {
		runtime.Gosched()
	}
	_, err := b.Send(bg, nil)
	require.ErrorIs(t, err, ErrClosingBroker)
	close(hold)
	require.NoError(t, <-ended)
	assert.EqualValues(t, 5, ok.Load())
}

func TestShutdownThatRunsOutOfTimeSaysHowManyAreLeft(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, silent).addr()}})
	var failed atomic.Int64
	for range 3 {
		require.NoError(t, b.Go(bg, nil, func(_ []byte, err error) {
			if errors.Is(err, ErrClosingBroker) {
				failed.Add(1)
			}
		}))
	}
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	err := b.Shutdown(ctx)
	require.ErrorIs(t, err, ErrTimeout)
	assert.ErrorContains(t, err, "3 requests")
	assert.EqualValues(t, 3, failed.Load())
}

// A Close ends a Shutdown that waits. Whether the Shutdown still sees the requests is chance.
func TestShutdownThatCloseCutsShortSaysSo(t *testing.T) {
	for range 20 {
		b := newBroker(t, Config{Addrs: []string{newPeer(t, silent).addr()}})
		require.NoError(t, b.Go(bg, nil, func([]byte, error) { time.Sleep(2 * drainPoll) }))
		down := make(chan error, 1)
		go func() { down <- b.Shutdown(bg) }()
		until(func() bool { return b.state.Load() == uint32(draining) })
		require.NoError(t, b.Close())
		if err := <-down; err != nil {
			require.ErrorIs(t, err, ErrQuit)
			require.ErrorContains(t, err, "1 requests")
		}
	}
}

// TestCloseAtAnyMomentCompletesEveryCaller closes brokers in the middle of
// dialling, sending, reconnecting and while queue and flight are full.
func TestCloseAtAnyMomentCompletesEveryCaller(t *testing.T) {
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if len(req)%3 != 0 {
			echo(c, id, req)
		}
	})
	dials := []func(ctx context.Context, network, addr string) (net.Conn, error){
		nil,
		func(ctx context.Context, _, _ string) (net.Conn, error) { // hangs as long as it may
			<-ctx.Done()
			return nil, ctx.Err()
		},
		func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") },
		pipeDial(func(nc net.Conn) { buf := make([]byte, 1); nc.Read(buf) }), // stops reading
	}
	rounds := 200
	if testing.Short() {
		rounds = 40
	}
	for round := range rounds {
		cfg := Config{
			Addrs: []string{p.addr()}, QueueSize: 1 << (round % 6), MaxInFlight: 1 + round%40, WaitQueue: round%2 == 0,
			DialContext: dials[round%len(dials)], BackoffBase: time.Millisecond, ShutdownTimeout: 5 * time.Second,
		}
		b := newBroker(t, cfg)
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := 0; ; i++ {
					var err error
					switch (c + i) % 3 {
					case 0:
						_, err = b.Send(bg, make([]byte, i%10))
					case 1:
						done := make(chan error, 1)
						if err = b.Go(bg, make([]byte, i%10), func(_ []byte, err error) { done <- err }); err == nil {
							err = <-done
						}
					default:
						err = b.SendBatch(bg, make([][]byte, 5), func(int, []byte, error) {})
					}
					if errors.Is(err, ErrClosingBroker) || errors.Is(err, ErrQuit) {
						return
					}
					if err != nil {
						runtime.Gosched() // on one processor the others want their turn
					}
				}
			}()
		}
		if round%5 == 0 {
			p.reset()
		}
		for range rand.IntN(30) {
			runtime.Gosched()
		}
		began := time.Now()
		require.NoError(t, b.Close(), "round %d", round)
		wg.Wait()
		require.Less(t, time.Since(began), 6*time.Second, "round %d", round)
	}
}

func TestCloseReportsACallbackThatBlocks(t *testing.T) {
	b, err := New(Config{Addrs: []string{newPeer(t, echo).addr()}, ConnsPerAddr: 1, ShutdownTimeout: 20 * time.Millisecond})
	require.NoError(t, err)
	inside, leave := make(chan struct{}), make(chan struct{})
	require.NoError(t, b.Go(bg, nil, func([]byte, error) { close(inside); <-leave }))
	<-inside
	err = b.Close()
	require.ErrorIs(t, err, ErrTimeout)
	assert.ErrorContains(t, err, "callback")
	close(leave)
	require.NoError(t, b.Close())
}

func TestDialThatIgnoresItsContextDoesNotHoldUpClose(t *testing.T) {
	dialling, leave := make(chan struct{}), make(chan struct{})
	closed := make(chan struct{})
	b, err := New(Config{Addrs: []string{"server:1"}, ConnsPerAddr: 1, DialContext: func(context.Context, string, string) (net.Conn, error) {
		close(dialling)
		<-leave
		client, server := net.Pipe()
		go func() {
			server.Read(make([]byte, 1))
			close(closed)
		}()
		return client, nil
	}})
	require.NoError(t, err)
	<-dialling
	require.NoError(t, b.Close())
	close(leave)
	<-closed // what it returned in the end was closed
}
