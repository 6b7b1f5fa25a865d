package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

func TestOneWayRequestsArriveInOrderAndTakeNoPlace(t *testing.T) {
	for _, size := range []int{0, 100, 60_000, 300_000} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := make(chan framing.Frame, 100)
				b := bubbleBroker(t, Config{
					Framing: wide, MaxInFlight: 1,
					DialContext: pipeDial(farEnd(wide, func(_ *far, f framing.Frame) { got <- f })),
				})
				conn := onlyConn(t, b)
				<-time.After(time.Minute) // virtual: the clock has slept, and no slot was ever used
				for i := range cap(got) {
					require.NoError(t, b.SendOneWay(bg, append(make([]byte, size), byte(i))))
					if i%7 == 0 {
						<-time.After(time.Second) // virtual
					}
					synctest.Wait()
					require.Zero(t, conn.table.InUse())
				}
				for i := range cap(got) {
					f := <-got
					require.Equal(t, taskid.Nobody, f.ID)
					require.Len(t, f.Payload, size+1)
					require.Equal(t, byte(i), f.Payload[size])
				}
				s := b.Stats()
				require.EqualValues(t, cap(got), s.OneWay)
				require.EqualValues(t, cap(got), s.FramesOut)
				require.Zero(t, s.Accepted)
				require.Zero(t, s.InFlight)
				require.Zero(t, conn.out.unanswered())
			})
		})
	}
}

// They need no place, so they go although the only one is taken.
func TestOneWayRequestsGoWhereNoPlaceIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got atomic.Int64
		b := bubbleBroker(t, Config{
			MaxInFlight: 1, RequestTimeout: -1, ReadTimeout: -1, SilenceTimeout: -1,
			DialContext: pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
				if f.ID == taskid.Nobody {
					got.Add(1)
				}
			})),
		})
		ready(t, b)
		require.NoError(t, b.Go(bg, nil, func([]byte, error) {}))
		require.ErrorIs(t, b.Go(bg, nil, func([]byte, error) {}), ErrQueueFull)
		for range 500 { // fewer than QueueSize, should nobody write meanwhile
			require.NoError(t, b.SendOneWay(bg, []byte("x")))
		}
		synctest.Wait()
		require.EqualValues(t, 500, got.Load())
	})
}

func TestRepliesToOneWayRequestsAreDroppedAndCountedAndEndNothing(t *testing.T) {
	const n = 100_000
	synctest.Test(t, func(t *testing.T) {
		pushed := make(chan uint32, n)
		b := bubbleBroker(t, Config{
			OnPush:      func(_ string, id uint32, _ []byte) { pushed <- id },
			DialContext: pipeDial(farEnd(framing.Format{}, farEcho)),
		})
		ready(t, b)
		for i := range n {
			require.NoError(t, b.SendOneWay(bg, []byte("x")))
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		reply, err := b.Send(bg, []byte("mine"))
		require.NoError(t, err)
		require.Equal(t, "mine", string(reply))
		s := b.Stats()
		require.EqualValues(t, n, s.OneWay)
		require.EqualValues(t, n, s.OneWayReplies)
		require.Zero(t, s.UnknownReplies)
		require.Zero(t, s.LateReplies)
		require.Empty(t, pushed, "a reply is not a push")
		require.EqualValues(t, 1, s.Dials)
		require.Equal(t, s.Accepted, s.Replies)
	})
}

// Over a socket the replies come between those that a lone caller reads itself.
func TestRepliesToOneWayRequestsDoNotDisturbALoneCaller(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	ready(t, b)
	for i := range 2000 {
		require.NoError(t, b.SendOneWay(bg, []byte("one way")))
		want := fmt.Sprintf("request %d", i)
		reply, err := b.Send(bg, []byte(want))
		require.NoError(t, err)
		require.Equal(t, want, string(reply))
	}
	mustCome(t, "the replies", func() bool { return b.Stats().OneWayReplies == 2000 })
	assert.EqualValues(t, 2000, b.Stats().OneWay)
	assert.EqualValues(t, 1, b.Stats().Dials)
}

func TestSendOneWayFailsAsDocumented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		p := &pipes{serve: func(nc net.Conn) {}} // reads nothing
		b := bubbleBroker(t, Config{
			QueueSize: 3, WriteTimeout: -1, ConnectWait: time.Second, BackoffBase: time.Hour,
			BackoffMax: time.Hour,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if refuse.Load() {
					return nil, net.ErrClosed
				}
				return p.dial(ctx, network, addr)
			},
		})
		ready(t, b)
		require.ErrorIs(t, b.SendOneWay(bg, make([]byte, framing.MaxPayload+1)), ErrMaxLenExceeded)
		ctx, cancel := context.WithCancel(bg)
		cancel()
		require.ErrorIs(t, b.SendOneWay(ctx, nil), context.Canceled)
		require.Zero(t, b.Stats().OneWay)
		require.NoError(t, b.SendOneWay(bg, nil)) // its write waits
		synctest.Wait()
		sent := 1
		var err error
		for ; sent < 100; sent++ {
			if err = b.SendOneWay(bg, nil); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, ErrQueueFull)
		var op *OpError
		require.ErrorAs(t, err, &op)
		assert.Equal(t, "submit", op.Op)
		assert.True(t, SafeToRetry(err))
		require.EqualValues(t, 1, b.Stats().QueueFull)

		refuse.Store(true)
		p.cut()
		<-time.After(time.Minute) // virtual
		require.ErrorIs(t, b.SendOneWay(bg, nil), ErrNoPoolsAvailable)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.SendOneWay(bg, nil), ErrQuit)
		s := b.Stats()
		require.Zero(t, s.InFlight)
		require.Equal(t, s.Accepted, s.Replies+s.Failed+s.Timeouts+s.Cancelled)
	})
}

func TestSendOneWayIsRefusedDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(drainOnly)})
		ready(t, b)
		require.NoError(t, b.Go(bg, nil, func([]byte, error) {}))
		ended := make(chan error, 1)
		go func() { ended <- b.Shutdown(bg) }()
		synctest.Wait()
		require.ErrorIs(t, b.SendOneWay(bg, nil), ErrClosingBroker)
		require.Error(t, <-ended)
	})
}

// A one-way request that waits in the backlog until RequestTimeout is dropped; nobody is told.
func TestAOneWayRequestWaitsForAConnectionUntilRequestTimeout(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, time.Minute} {
		t.Run(wait.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got atomic.Int64
				b := bubbleBroker(t, Config{
					DialTimeout: -1,
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						<-time.After(wait) // virtual
						return pipeDial(farEnd(framing.Format{}, func(*far, framing.Frame) { got.Add(1) }))(ctx, network, addr)
					},
				})
				require.NoError(t, b.SendOneWay(bg, []byte("x")))
				<-time.After(2 * time.Minute) // virtual
				synctest.Wait()
				s := b.Stats()
				require.Zero(t, s.InFlight)
				if wait < DefaultRequestTimeout {
					require.EqualValues(t, 1, got.Load())
					require.EqualValues(t, 1, s.OneWay)
					return
				}
				require.Zero(t, got.Load())
				require.EqualValues(t, 1, s.Timeouts)
			})
		})
	}
}

// The clock must see a write that waits for the peer although nothing else is going on.
func TestAOneWayRequestThatThePeerDoesNotReadMeetsWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := make(chan error, 1)
		b := bubbleBroker(t, Config{
			WriteTimeout: time.Second, DialContext: dialDeaf, BackoffBase: time.Hour, BackoffMax: time.Hour,
			OnDisconnect: func(_ string, cause error) { lost <- cause },
		})
		ready(t, b)
		<-time.After(time.Minute) // virtual
		require.True(t, b.clock.asleep.Load())
		began := time.Now()
		require.NoError(t, b.SendOneWay(bg, []byte("x")))
		select {
		case cause := <-lost:
			require.ErrorContains(t, cause, "WriteTimeout")
			require.LessOrEqual(t, time.Since(began), time.Second+lateTicks*b.clock.tick)
		case <-time.After(time.Minute): // virtual
			t.Error("nobody has noticed that the peer reads nothing")
		}
	})
}

// The place of the request that a callback was called for is for the first Go in it.
func TestAOneWayRequestTakesNoPlaceInACallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := newTurnstile()
		t.Cleanup(open.release)
		got := make(chan framing.Frame, 1<<16)
		serve := farEnd(framing.Format{}, func(p *far, f framing.Frame) {
			got <- f
			farEcho(p, f)
		})
		b := bubbleBroker(t, Config{
			QueueSize: 2, WriteTimeout: -1, ReadTimeout: -1,
			DialContext: pipeDial(func(nc net.Conn) { // answers one request, and then reads no more
				f, err := framing.NewReader(onlyBytes{nc, 6}, framing.Format{}).ReadFrame()
				if err != nil {
					return
				}
				<-time.After(time.Second) // virtual
				frame, _ := framing.Append(nil, f.ID, nil)
				_, _ = nc.Write(frame)
				<-open.open
				serve(nc)
			}),
		})
		conn := onlyConn(t, b)
		type refused struct {
			err   error
			inUse int
		}
		results := make(chan refused, 1)
		require.NoError(t, b.Go(bg, nil, func([]byte, error) {
			before := conn.table.InUse()
			var r refused
			for range 3 {
				r.err = b.SendOneWay(bg, []byte("one way"))
			}
			r.inUse = conn.table.InUse() - before
			results <- r
		}))
		synctest.Wait()
		for b.Go(bg, nil, func([]byte, error) {}) == nil { // until there is room for nobody
		}
		r := <-results
		require.ErrorIs(t, r.err, ErrQueueFull)
		require.Zero(t, r.inUse)
		open.release()
		<-time.After(time.Second) // virtual
		synctest.Wait()
		s := b.Stats()
		require.Zero(t, s.InFlight)
		require.Equal(t, s.Accepted, s.Replies)
		require.EqualValues(t, 1, s.Dials)
	})
}

// onlyBytes reads at most so many bytes at a time.
type onlyBytes struct {
	net.Conn
	n int
}

func (o onlyBytes) Read(b []byte) (int, error) { return o.Conn.Read(b[:min(len(b), o.n)]) }
