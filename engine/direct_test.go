package engine

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/taskid"
)

// repeat keeps window requests in flight from their own callbacks until each has
// been sent times times, and checks every reply.
func repeat(t *testing.T, b *Broker, window, times int) (done *sync.WaitGroup) {
	done = &sync.WaitGroup{}
	done.Add(window)
	for w := range window {
		var req [16]byte
		left := times
		var fn func([]byte, error)
		fn = func(reply []byte, err error) {
			if err != nil || string(reply) != string(req[:]) {
				t.Errorf("reply %x to %x, error %v", reply, req, err)
			}
			if left--; left == 0 {
				done.Done()
				return
			}
			binary.BigEndian.PutUint64(req[:], uint64(w))
			binary.BigEndian.PutUint64(req[8:], uint64(left))
			if err := b.Go(bg, req[:], fn); err != nil {
				t.Error(err)
				done.Done()
			}
		}
		require.NoError(t, b.Go(bg, req[:], fn))
	}
	return done
}

// expectCallbacks makes the reader expect that the next replies, too, are for
// callbacks. The requests may fail.
func expectCallbacks(b *Broker) {
	for range 2 {
		answered := make(chan struct{})
		if b.Go(bg, []byte("x"), func([]byte, error) { close(answered) }) == nil {
			<-answered
		}
	}
}

// settled waits until nobody holds the connection's token.
func settled(c *conn) { until(func() bool { return c.token.Load() == idle }) }

func TestCallbacksAndBatchesSubmitUnderTheToken(t *testing.T) {
	if goroutine.Self() == 0 {
		t.Skip("goroutines cannot be told apart here: the queue is used instead")
	}
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	ready(t, b)
	c := b.conns()[0]
	repeat(t, b, 100, 100).Wait()
	settled(c)
	held := c.acceptedHeld.Load()
	assert.Greater(t, held, uint64(5_000), "of 10,000 requests, most from callbacks")

	reqs := make([][]byte, 1000)
	require.NoError(t, b.SendBatch(bg, reqs, func(int, []byte, error) {}))
	settled(c)
	assert.GreaterOrEqual(t, c.acceptedHeld.Load()-held, uint64(900), "of a batch of 1000")
	assert.Zero(t, c.holder.Load())
	assert.Zero(t, c.table.InUse(), "every slot came back to the table")
}

func TestOthersHaveTheirTurnWhileCallbacksSubmit(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one connection":    {Addrs: []string{newPeer(t, echo).addr()}},
		"three connections": {Addrs: []string{newPeer(t, echo).addr()}, ConnsPerAddr: 3},
		"no descriptor": {Addrs: []string{"pipe:1"}, DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
			frame, _ := framing.Append(nil, f.ID, f.Payload)
			nc.Write(frame)
		}))},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, cfg)
			ready(t, b)
			done := repeat(t, b, 64, 300)
			manyCallers(t, b, 50, 50)
			reqs := [][]byte{[]byte("a"), []byte("bc"), nil}
			for range 50 {
				err := b.SendBatch(bg, reqs, func(i int, reply []byte, err error) {
					assert.NoError(t, err)
					assert.Equal(t, string(reqs[i]), string(reply))
				})
				require.NoError(t, err)
			}
			done.Wait()
		})
	}
}

// Thousands of callers that find each other at the queue are no overload.
func TestBurstOfCallersIsNotAFullQueue(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	ready(t, b)
	manyCallers(t, b, 4*DefaultQueueSize, 5)
	assert.Zero(t, b.Stats().QueueFull)
}

func TestBadRequestOfACallbackIsRefusedAlone(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	ready(t, b)
	expectCallbacks(b)
	refused := make(chan error, 1)
	var after sync.WaitGroup
	after.Add(2)
	good := func(reply []byte, err error) {
		assert.NoError(t, err)
		assert.Equal(t, "good", string(reply))
		after.Done()
	}
	require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
		assert.NoError(t, b.Go(bg, []byte("good"), good))
		refused <- b.Go(bg, make([]byte, 65_532), func([]byte, error) { t.Error("was refused") })
		assert.NoError(t, b.Go(bg, []byte("good"), good))
	}))
	require.ErrorIs(t, <-refused, ErrMaxLenExceeded)
	after.Wait()
}

func TestRequestsOfACallbackWhoseConnectionEndsCompleteOnce(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}, BackoffBase: time.Microsecond})
	for range 30 {
		ready(t, b)
		expectCallbacks(b)
		c := b.links[0].current.Load()
		if c == nil {
			continue
		}
		const more = 200
		var completed [more]atomic.Int32
		var open sync.WaitGroup
		open.Add(1)
		err := b.Go(bg, []byte("x"), func([]byte, error) {
			defer open.Done()
			for i := range completed {
				if i == more/2 {
					c.fail("read", lost(errors.New("test")))
				}
				open.Add(1)
				if b.Go(bg, []byte("y"), func([]byte, error) { completed[i].Add(1); open.Done() }) != nil {
					completed[i].Add(1)
					open.Done()
				}
			}
		})
		if err != nil {
			continue // the last connection's end was still being dealt with
		}
		open.Wait()
		for i := range completed {
			require.EqualValues(t, 1, completed[i].Load())
		}
	}
}

// While the peer reads nothing, callbacks may fill the queue's size, no more.
func TestCallbacksMeetAFullQueueWhenThePeerDoesNotRead(t *testing.T) {
	stop := make(chan struct{})
	var asked atomic.Int32
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if asked.Add(1) == 3 {
			c.reply(id, req)
			<-stop // reads no more
			return
		}
		c.reply(id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, QueueSize: 8, WriteTimeout: -1})
	ready(t, b)
	expectCallbacks(b)
	accepted, refused := make(chan int, 1), make(chan error, 1)
	var open sync.WaitGroup
	require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
		large := make([]byte, 60_000)
		for n := 0; ; n++ {
			open.Add(1)
			if err := b.Go(bg, large, func([]byte, error) { open.Done() }); err != nil {
				open.Done()
				accepted <- n
				refused <- err
				return
			}
		}
	}))
	assert.Less(t, <-accepted, DefaultMaxInFlight/2, "the socket's buffers, one write buffer and QueueSize")
	require.ErrorIs(t, <-refused, ErrQueueFull)
	close(stop)
	open.Wait()
}
