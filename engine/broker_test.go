package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var bg = context.Background()

func TestSendReturnsTheReplyToItsRequest(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	for _, n := range []int{0, 1, 64, 1024, 65_531} {
		req := make([]byte, n)
		for i := range req {
			req[i] = byte(i * 7)
		}
		reply, err := b.Send(bg, req)
		require.NoError(t, err)
		require.NotNil(t, reply)
		assert.Equal(t, req, reply, "%d bytes", n)
	}
}

func TestSendIntoAppendsToTheCallersSlice(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	for _, dst := range [][]byte{nil, []byte("have "), append(make([]byte, 0, 100), "have "...)} {
		got, err := b.SendInto(bg, dst, []byte("reply"))
		require.NoError(t, err)
		assert.Equal(t, string(dst)+"reply", string(got))
	}
}

func TestRequestThatDoesNotFitIsRefusedBeforeAnythingIsSent(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	_, err := b.Send(bg, make([]byte, 65_532))
	require.ErrorIs(t, err, ErrMaxLenExceeded)
	assert.False(t, SafeToRetry(err))
	_, err = b.Send(bg, []byte("next"))
	require.NoError(t, err)
	assert.EqualValues(t, 1, b.Stats().Accepted)
}

func TestManyCallersGetTheirOwnReplies(t *testing.T) {
	for _, mem := range []Toggle{Default, Off} {
		for _, conns := range []int{1, 3} {
			t.Run(fmt.Sprintf("memory=%d/conns=%d", mem, conns), func(t *testing.T) {
				b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}, ConnsPerAddr: conns, OptimizeMemory: mem})
				manyCallers(t, b, 200, 50)
			})
		}
	}
}

// manyCallers lets callers send and check n requests each.
func manyCallers(t *testing.T, b *Broker, callers, n int) {
	var wg sync.WaitGroup
	for c := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var req [16]byte
			var dst []byte
			for i := range n {
				binary.BigEndian.PutUint64(req[:], uint64(c))
				binary.BigEndian.PutUint64(req[8:], uint64(i))
				var err error
				dst, err = b.SendInto(bg, dst[:0], req[:])
				if err != nil || string(dst) != string(req[:]) {
					t.Errorf("caller %d request %d: reply %x, error %v", c, i, dst, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

func TestGoCallsBackOnceAndMayGoAgain(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	const window, total = 64, 20_000
	var started, done, wrong atomic.Int64
	finished := make(chan struct{})
	var next func()
	next = func() {
		i := started.Add(1)
		if i > total {
			return
		}
		var req [8]byte
		binary.BigEndian.PutUint64(req[:], uint64(i))
		err := b.Go(bg, req[:], func(reply []byte, err error) {
			if err != nil || binary.BigEndian.Uint64(reply) != uint64(i) {
				wrong.Add(1)
			}
			if done.Add(1) == total {
				close(finished)
			}
			next()
		})
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	for range window {
		next()
	}
	<-finished
	assert.Zero(t, wrong.Load())
	assert.EqualValues(t, total, done.Load())
}

func TestSendBatchCallsBackForEachRequestOnce(t *testing.T) {
	for _, queue := range []int{1000, 8} {
		b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}, QueueSize: queue, MaxInFlight: 500})
		for _, n := range []int{0, 1, 100, 3000} {
			reqs := make([][]byte, n)
			for i := range reqs {
				reqs[i] = binary.BigEndian.AppendUint32(nil, uint32(i))
			}
			got := make([]int, n)
			err := b.SendBatch(bg, reqs, func(i int, reply []byte, err error) {
				if err == nil && binary.BigEndian.Uint32(reply) == uint32(i) {
					got[i]++
				}
			})
			require.NoError(t, err)
			for i, c := range got {
				require.Equal(t, 1, c, "request %d of %d, queue %d", i, n, queue)
			}
		}
	}
}

// A function that does not return costs its request only, also that of a request which is refused
// before it is sent.
func TestSendBatchGoesOnWhenItsFunctionDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("the user's mistake") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
			reqs := [][]byte{[]byte("a"), make([]byte, 1<<20), []byte("b")}
			var calls atomic.Int32
			err := b.SendBatch(bg, reqs, func(_ int, _ []byte, err error) {
				calls.Add(1)
				if err != nil {
					end()
				}
			})
			require.ErrorIs(t, err, ErrMaxLenExceeded)
			assert.EqualValues(t, 3, calls.Load())
			assert.EqualValues(t, 1, b.Stats().Panics)
		})
	}
}

// A callback that meets a full queue flushes it itself: what it waits for must not
// depend on its own return. Other submitters keep the queue full meanwhile.
func TestCallbacksThatRetryOnAFullQueueMakeProgress(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}, QueueSize: 8})
	const window, total = 300, 30_000 // in flight at once: far fewer than MaxInFlight
	var done atomic.Int64
	var all sync.WaitGroup
	send := func(fn func([]byte, error)) {
		for b.Go(bg, []byte("x"), fn) != nil {
		}
	}
	var again func([]byte, error)
	again = func(_ []byte, err error) {
		if err != nil {
			t.Error(err)
		}
		if done.Add(1) < total {
			send(again) // keeps its place in the window
			return
		}
		all.Done()
	}
	places := make(chan struct{}, window)
	all.Add(window)
	for range 3 {
		all.Go(func() {
			for range window / 3 {
				send(again)
			}
			for done.Load() < total {
				places <- struct{}{}
				send(func([]byte, error) { <-places })
			}
		})
	}
	all.Wait()
}
