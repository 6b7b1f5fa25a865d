package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// pipeDial connects to handlers over net.Pipe: no sockets, so that time can be
// virtual.
func pipeDial(serve func(server net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server)
		return client, nil
	}
}

// drainOnly reads and never answers.
func drainOnly(nc net.Conn) { io.Copy(io.Discard, nc) }

// answerWith serves frames with a function of the request.
func answerWith(answer func(c net.Conn, f framing.Frame)) func(net.Conn) {
	return func(nc net.Conn) {
		defer nc.Close()
		r := framing.NewReader(nc, framing.Format{})
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			answer(nc, f)
		}
	}
}

func bubbleBroker(t *testing.T, cfg Config) *Broker {
	t.Helper()
	if cfg.Addrs == nil {
		cfg.Addrs = []string{"pipe:1"}
	}
	b, err := New(oneConn(cfg))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestTimeoutsAreNeverEarlyAndHardlyLate(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     Config
		want    time.Duration
		written bool
	}{
		{"read timeout", Config{ReadTimeout: 200 * time.Millisecond}, 200 * time.Millisecond, true},
		{"request timeout", Config{RequestTimeout: 300 * time.Millisecond}, 300 * time.Millisecond, true},
		{"defaults", Config{}, DefaultReadTimeout, true},
		{"read timeout off", Config{ReadTimeout: -1, RequestTimeout: 7 * time.Second}, 7 * time.Second, true},
		{"sub-millisecond", Config{ReadTimeout: 100 * time.Microsecond}, 100 * time.Microsecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.DialContext = pipeDial(drainOnly)
				b := bubbleBroker(t, c.cfg)
				for range 3 { // also after the clock has slept
					began := time.Now()
					_, err := b.Send(bg, []byte("x"))
					took := time.Since(began)
					require.ErrorIs(t, err, ErrTimeout)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					var ne net.Error
					require.ErrorAs(t, err, &ne)
					assert.True(t, ne.Timeout())
					var op *OpError
					require.ErrorAs(t, err, &op)
					assert.Equal(t, c.written, op.Written)
					assert.False(t, SafeToRetry(err))
					assert.GreaterOrEqual(t, took, c.want)
					assert.LessOrEqual(t, took, c.want+(stepMax+3)*b.clock.tick)
					<-time.After(10 * time.Second) // virtual
				}
			})
		})
	}
}

// A user may test with synctest too, in a process that has brokers outside it. What
// has a channel and was made in a bubble must not come back outside: that would be
// fatal.
func TestBubblesShareNothing(t *testing.T) {
	ask := func(t *testing.T, b *Broker) {
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		for _, ctx := range []context.Context{bg, ctx} {
			reply, err := b.Send(ctx, []byte("one"))
			require.NoError(t, err)
			require.Equal(t, "one", string(reply))
			require.NoError(t, b.SendBatch(ctx, [][]byte{nil, nil}, func(_ int, _ []byte, err error) {
				assert.NoError(t, err)
			}))
		}
	}
	for range 20 { // under -race a sync.Pool forgets at random
		synctest.Test(t, func(t *testing.T) { ask(t, echoPipe(t)) })
		outside := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
		ask(t, outside)
		require.NoError(t, outside.Close())
	}
}

func TestTimeoutsWorkAfterALongSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
			if len(f.Payload) > 0 {
				frame, _ := framing.Append(nil, f.ID, f.Payload)
				nc.Write(frame)
			}
		}))})
		for range 3 {
			_, err := b.Send(bg, []byte("x"))
			require.NoError(t, err)
			<-time.After(time.Minute) // virtual
			require.True(t, b.clock.asleep.Load(), "nothing is in flight: the clock must rest")
			began := time.Now()
			_, err = b.Send(bg, nil)
			require.ErrorIs(t, err, ErrTimeout)
			require.GreaterOrEqual(t, time.Since(began), DefaultReadTimeout)
			require.Less(t, time.Since(began), DefaultReadTimeout+time.Second)
		}
	})
}

func TestWhatTheSocketDoesNotTakeAtOnceFollowsInOrder(t *testing.T) {
	listen := make(chan struct{})
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		<-listen
		c.reply(id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, WriteTimeout: -1, ReadTimeout: -1})
	ready(t, b)
	reqs := make([][]byte, 400)
	for i := range reqs {
		reqs[i] = make([]byte, 60_000) // 24 MB: far more than the socket's buffers
		reqs[i][0], reqs[i][59_999] = byte(i), byte(i>>8)
	}
	go func() {
		until(func() bool { return b.Stats().BytesOut > 1<<20 })
		close(listen)
	}()
	var right atomic.Int64
	require.NoError(t, b.SendBatch(bg, reqs, func(i int, reply []byte, err error) {
		if err == nil && string(reply) == string(reqs[i]) {
			right.Add(1)
		}
	}))
	assert.EqualValues(t, len(reqs), right.Load())
}

func TestRequestTimeoutCoversTheWaitForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{
			RequestTimeout: time.Second,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		began := time.Now()
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrTimeout)
		var op *OpError
		require.ErrorAs(t, err, &op)
		assert.False(t, op.Written, "it never left the queue")
		assert.Equal(t, time.Second, time.Since(began).Round(200*time.Millisecond))
	})
}

func TestContextEndsACallAtOnceAndItsLateReplyIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
			id, reply := f.ID, append([]byte("late "), f.Payload...)
			go func() {
				<-time.After(2 * time.Second) // virtual
				frame, _ := framing.Append(nil, id, reply)
				nc.Write(frame)
			}()
		}))})
		ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := b.Send(ctx, []byte("one"))
		assert.Equal(t, 500*time.Millisecond, time.Since(began))
		require.ErrorIs(t, err, ErrTimeout)

		cancelled, cancelNow := context.WithCancelCause(bg)
		why := errors.New("caller went home")
		outcome := make(chan error, 1)
		require.NoError(t, b.Go(cancelled, []byte("two"), func(_ []byte, err error) { outcome <- err }))
		synctest.Wait()
		cancelNow(why)
		err = <-outcome
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
		assert.Equal(t, 2, b.Stats().Orphans)

		<-time.After(time.Millisecond) // virtual: its reply comes after the others
		reply, err := b.Send(bg, []byte("three"))
		require.NoError(t, err)
		assert.Equal(t, "late three", string(reply))
		s := b.Stats()
		assert.EqualValues(t, 2, s.LateReplies)
		assert.EqualValues(t, 2, s.Cancelled)
		assert.Zero(t, s.Orphans)
		assert.Zero(t, s.InFlight)
	})
}

func TestEndedContextSendsNothing(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err := b.Send(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, b.Go(ctx, nil, func([]byte, error) { t.Error("called") }), context.Canceled)
	var calls atomic.Int64
	require.ErrorIs(t, b.SendBatch(ctx, make([][]byte, 3), func(_ int, _ []byte, err error) {
		assert.ErrorIs(t, err, context.Canceled)
		calls.Add(1)
	}), context.Canceled)
	assert.EqualValues(t, 3, calls.Load(), "fn runs for each request whatever happens")
	assert.Zero(t, b.Stats().Accepted)
}

func TestBatchEndsWithItsContext(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, silent).addr()}})
	ctx, cancel := context.WithCancel(bg)
	var calls atomic.Int64
	go func() {
		until(func() bool { return b.Stats().FramesOut == 10 })
		cancel()
	}()
	err := b.SendBatch(ctx, make([][]byte, 10), func(_ int, _ []byte, err error) {
		if errors.Is(err, context.Canceled) {
			calls.Add(1)
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualValues(t, 10, calls.Load())
}

func TestLostConnectionFailsWhatWasWrittenAndIsReplaced(t *testing.T) {
	var hold atomic.Bool
	hold.Store(true)
	got := make(chan struct{}, 100)
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if hold.Load() {
			got <- struct{}{}
			return
		}
		echo(c, id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	ready(t, b)
	errs := make(chan error, 10)
	for range 10 {
		go func() {
			_, err := b.Send(bg, []byte("x"))
			errs <- err
		}()
	}
	for range 10 {
		<-got
	}
	hold.Store(false)
	p.reset()
	for range 10 {
		err := <-errs
		require.ErrorIs(t, err, ErrConnLost)
		var op *OpError
		require.ErrorAs(t, err, &op)
		assert.True(t, op.Written)
		assert.False(t, SafeToRetry(err), "the peer may have acted on it")
	}
	reply, err := b.Send(bg, []byte("again"))
	require.NoError(t, err)
	assert.Equal(t, "again", string(reply))
	s := b.Stats()
	assert.EqualValues(t, 1, s.ConnsLost)
	assert.EqualValues(t, 10, s.Failed)
}

func TestDeadAddressFailsFastAndDoesNotHoldUpAnother(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	deadAddr := dead.Addr().String()
	dead.Close()

	lone := newBroker(t, Config{Addrs: []string{deadAddr}, BackoffBase: time.Hour, BackoffMax: time.Hour})
	for range 2 {
		_, err = lone.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrNoPoolsAvailable)
		assert.True(t, SafeToRetry(err))
	}
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	err = lone.WaitReady(ctx)
	require.ErrorIs(t, err, ErrTimeout)
	require.ErrorIs(t, err, ErrNoPoolsAvailable)

	both := newBroker(t, Config{Addrs: []string{deadAddr, newPeer(t, echo).addr()}})
	for range 50 {
		_, err := both.Send(bg, []byte("x"))
		require.NoError(t, err)
	}
}

func TestQueuedRequestSurvivesAConnectionThatEndsBeforeItIsWritten(t *testing.T) {
	p := newPeer(t, echo)
	var dials atomic.Int64
	b := newBroker(t, Config{
		Addrs:       []string{"server:1", "server:2"},
		BackoffBase: time.Millisecond,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) <= 2 {
				return nil, errors.New("first attempts fail")
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", p.addr())
		},
	})
	ok := 0
	for range 100 {
		if _, err := b.Send(bg, []byte("x")); err == nil {
			ok++
		} else {
			require.True(t, SafeToRetry(err), "%v", err)
		}
		ready(t, b)
	}
	assert.GreaterOrEqual(t, ok, 99, "only calls made while every link backs off may fail")
}

func TestFullQueueIsAnErrorAtOnceAndQueuesNothing(t *testing.T) {
	release := make(chan struct{})
	b := newBroker(t, Config{
		Addrs:        []string{"pipe:1"},
		QueueSize:    8,
		WriteTimeout: -1,
		DialContext: pipeDial(func(nc net.Conn) {
			<-release
			answerWith(func(nc net.Conn, f framing.Frame) {
				frame, _ := framing.Append(nil, f.ID, f.Payload)
				nc.Write(frame)
			})(nc)
		}),
	})
	ready(t, b)
	var accepted, replies atomic.Int64
	full := 0
	for full < 100 {
		err := b.Go(bg, []byte("x"), func(_ []byte, err error) {
			if err == nil {
				replies.Add(1)
			}
		})
		switch {
		case err == nil:
			accepted.Add(1)
		case errors.Is(err, ErrQueueFull):
			full++
			assert.True(t, SafeToRetry(err))
		default:
			t.Fatal(err)
		}
	}
	_, err := b.Send(bg, []byte("x"))
	require.ErrorIs(t, err, ErrQueueFull)
	close(release)
	require.NoError(t, b.Shutdown(bg))
	assert.Equal(t, accepted.Load(), replies.Load(), "what was accepted is answered")
	assert.EqualValues(t, accepted.Load(), b.Stats().Accepted)
}

func TestFullFlightIsAnErrorAndWaitQueueWaits(t *testing.T) {
	var mu sync.Mutex
	var held []func()
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		mu.Lock()
		held = append(held, func() { c.reply(id, req) })
		mu.Unlock()
	})
	heldNow := func() []func() {
		mu.Lock()
		defer mu.Unlock()
		h := held
		if len(h) == 3 {
			held = nil
			return h
		}
		return nil
	}
	b := newBroker(t, Config{Addrs: []string{p.addr()}, MaxInFlight: 3})
	for range 3 {
		require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {}))
	}
	require.ErrorIs(t, b.Go(bg, []byte("x"), func([]byte, error) {}), ErrQueueFull)

	var three []func()
	until(func() bool { three = heldNow(); return three != nil })
	for _, reply := range three {
		reply()
	}
	waiting := newBroker(t, Config{Addrs: []string{p.addr()}, MaxInFlight: 3, WaitQueue: true})
	var wg sync.WaitGroup
	var ok atomic.Int64
	for range 30 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := waiting.Send(bg, []byte("y")); err == nil {
				ok.Add(1)
			}
		}()
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		until(func() bool {
			for _, reply := range heldNow() {
				reply()
			}
			return ok.Load() == 30
		})
	}()
	wg.Wait()
	<-stop
	assert.EqualValues(t, 30, ok.Load())

	ctx, cancel := context.WithCancel(bg)
	for range 3 {
		require.NoError(t, waiting.Go(bg, []byte("x"), func([]byte, error) {}))
	}
	errs := make(chan error, 1)
	go func() { _, err := waiting.Send(ctx, []byte("z")); errs <- err }()
	cancel()
	require.ErrorIs(t, <-errs, context.Canceled)
}

func TestServerThatSpeaksNonsenseLosesTheConnectionWithAClearError(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        error
	}{
		{"length 0", "\x00\x00", ErrInvalidMsgLength},
		{"length 3", "\x00\x03abc", ErrInvalidMsgLength},
		{"end between frames", "", io.EOF},
		{"end inside a frame", "\x00\x10\x00\x00\x00\x01ab", io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			var once atomic.Bool
			p := newPeer(t, func(pc *peerConn, id taskid.ID, req []byte) {
				if once.CompareAndSwap(false, true) {
					pc.Write([]byte(c.bytes))
					pc.Close()
					return
				}
				echo(pc, id, req)
			})
			b := newBroker(t, Config{Addrs: []string{p.addr()}})
			_, err := b.Send(bg, []byte("x"))
			require.ErrorIs(t, err, c.want)
			require.ErrorIs(t, err, ErrConnLost)
			_, err = b.Send(bg, []byte("x"))
			require.NoError(t, err)
		})
	}
}

func TestRepliesNobodyAskedForAreDroppedAndEndTheConnectionInTheEnd(t *testing.T) {
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		for i := range 20 {
			c.reply(id+taskid.ID(i+1)<<13, []byte("foreign")) // future generations of the slot
			c.reply(taskid.ID(i), []byte("foreign"))
		}
		c.reply(id, req)
		c.reply(id, []byte("duplicate"))
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	lostAt := 0
	for i := range 200 {
		reply, err := b.Send(bg, []byte("mine"))
		if err == nil {
			require.Equal(t, "mine", string(reply))
		} else { // else it was not written, and moved
			require.ErrorIs(t, err, errUnmatchedReplies)
		}
		if b.Stats().ConnsLost > 0 {
			lostAt = i
			break
		}
	}
	assert.Greater(t, lostAt, 10, "a few unmatched replies are tolerated")
	assert.Greater(t, b.Stats().UnknownReplies, uint64(unmatchedMax-1))
}

func TestWriteThatDoesNotEndLosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{
			WriteTimeout: time.Second, ReadTimeout: -1, BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				client, server := net.Pipe()
				context.AfterFunc(ctx, func() {})
				t.Cleanup(func() { server.Close() })
				return client, nil
			},
		})
		began := time.Now()
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrConnLost)
		require.ErrorIs(t, err, ErrTimeout)
		took := time.Since(began)
		assert.GreaterOrEqual(t, took, time.Second)
		assert.LessOrEqual(t, took, time.Second+(stepMax+3)*b.clock.tick)
	})
}

func TestConnectionFullOfOrphansIsReplaced(t *testing.T) {
	var quiet atomic.Bool
	quiet.Store(true)
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if !quiet.Load() {
			echo(c, id, req)
		}
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, MaxInFlight: 16, ReadTimeout: 20 * time.Millisecond,
		SilenceTimeout: -1})
	for range 4 {
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrTimeout)
	}
	quiet.Store(false)
	until(func() bool { return b.Stats().Dials == 2 })
	_, err := b.Send(bg, []byte("x"))
	require.NoError(t, err)
	until(func() bool { return b.Stats().Orphans == 0 })
}

// A request that was given up while it waited to be written costs the peer nothing, and
// its ID is free again.
func TestWhatWasGivenUpBeforeItWasWrittenIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, got := make(chan struct{}), make(chan string, 10)
		b := bubbleBroker(t, Config{WriteTimeout: -1, DialContext: pipeDial(func(nc net.Conn) {
			<-gate
			answerWith(func(nc net.Conn, f framing.Frame) {
				got <- string(f.Payload)
				frame, _ := framing.Append(nil, f.ID, f.Payload)
				nc.Write(frame)
			})(nc)
		})})
		ready(t, b)
		answered := make(chan error, 10)
		fn := func(_ []byte, err error) { answered <- err }
		require.NoError(t, b.Go(bg, []byte("one"), fn))
		synctest.Wait() // its write waits for the peer
		ctx, cancel := context.WithCancel(bg)
		require.NoError(t, b.Go(ctx, []byte("given up"), fn))
		require.NoError(t, b.Go(bg, []byte("two"), fn))
		<-time.After(time.Second) // virtual
		cancel()
		require.ErrorIs(t, <-answered, context.Canceled)
		close(gate)
		require.NoError(t, <-answered)
		require.NoError(t, <-answered)
		require.Equal(t, "one", <-got)
		require.Equal(t, "two", <-got)
		require.Empty(t, got)
		require.Zero(t, b.Stats().Orphans)
	})
}
