package server

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// blockOutput has nothing parsed until the peer has read.
func blockOutput(c *Conn, l *scripted) { c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent }

// A request is as old as its bytes, however long they have waited.
func TestInputThatWaitsKeepsItsTime(t *testing.T) {
	var arrived []time.Duration
	c, l := offline(t, Config{Handler: RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		arrived = append(arrived, r.arrived)
		return dst, nil
	})})
	blockOutput(c, l)
	frame := []byte{0, 4, 0, 0, 0, 1}
	var want []time.Duration
	for range 2 {
		require.True(t, c.serve(frame))
		want = append(want, c.loop.at)
		c.input.last.at -= chunkSpan
		want[len(want)-1] -= chunkSpan
	}
	l.left = 0
	require.True(t, c.serve(frame))
	require.Len(t, arrived, 3)
	assert.Equal(t, want, arrived[:2])
	assert.Greater(t, c.loop.at, arrived[1])
}

// One read may bring more than MaxUnparsed, where nothing waits.
func TestOneReadMayWaitWhateverItsSize(t *testing.T) {
	c, l := offline(t, Config{MaxUnparsed: framing.MaxPayload + 6, Handler: HandlerFunc(echo)})
	blockOutput(c, l)
	require.True(t, c.serve(make([]byte, c.srv.cfg.MaxUnparsed+1)))
	assert.False(t, c.serve([]byte{0}))
	assert.Equal(t, reasonInput, reason(c.why.Load()))
}

// Replies that are to come later are bounded by MaxHeld too.
func TestLaterRepliesAreBoundedByWhatTheServerHolds(t *testing.T) {
	h := make(laters, 2)
	s := launch(t, Config{MaxHeld: 1 << 20, Handler: h})
	c := dial(t, s)
	c.send(1, nil)
	first := <-h
	s.jobBytes.Add(2 << 20)
	c.send(2, nil)
	eventually(t, s, "it to wait", func(st Stats) bool { return st.Pauses == 1 })
	assert.EqualValues(t, 1, s.Stats().Requests)
	s.jobBytes.Add(-2 << 20)
	require.NoError(t, (<-h).Reply(nil))
	assert.EqualValues(t, 2, c.receive().ID)
	require.NoError(t, first.Reply(nil))
	c.receive()
}

// What is done with counts no more among the bytes that a connection may have off the loop:
// after many replies and refusals two handlers still run at once, and a stop waits for nobody.
func TestWhatIsDoneWithIsNotPending(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 2, MaxInFlight: 3, MaxUnparsed: framing.MaxPayload + 6, QueueTimeout: 50 * time.Millisecond, Handler: h,
		ErrorReply: func(_ *Conn, dst, _ []byte, _ error) []byte { return append(dst, "old"...) }})
	c, other := dial(t, s), dial(t, s)
	close(h.gate('p'))
	for range 10 {
		c.write(c.pipeline(20, 1))
		for range 20 {
			c.receive()
		}
	}
	other.send(1, []byte("b"))
	other.send(2, []byte("b"))
	waitFor(t, "the workers to be busy", func() bool { return h.inside.Load() == 2 })
	for range 10 {
		c.write(c.pipeline(5, 1))
		for range 5 {
			assert.Equal(t, "old", string(c.receive().Payload))
		}
	}
	close(h.gate('b'))
	other.receive()
	other.receive()
	c.send(1, []byte("1"))
	c.send(2, []byte("2"))
	waitFor(t, "both to run", func() bool { return h.inside.Load() == 2 })
	close(h.gate('1'))
	close(h.gate('2'))
	c.receive()
	c.receive()
	require.NoError(t, s.Shutdown(t.Context()))
}

// ErrNoReply after Later is no outcome.
func TestNoReplyAfterLaterMayBeFollowedByOne(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		kept := make(chan *Later, 1)
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			kept <- r.Later()
			return dst, ErrNoReply
		})
		c := dial(t, launch(t, cfg))
		c.send(1, nil)
		require.NoError(t, (<-kept).Reply([]byte("later")))
		assert.Equal(t, "later", string(c.receive().Payload))
	})
}

func TestACallersTimeIsUpWhenItHasPassed(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)})
	c.srv.clock.Store(8) // 7 ms have passed
	assert.Equal(t, ErrExpired, c.srv.stale(c, 2*time.Millisecond, 5*time.Millisecond))
	assert.NoError(t, c.srv.stale(c, 2*time.Millisecond, 6*time.Millisecond))
	assert.NoError(t, c.srv.stale(c, 2*time.Millisecond, 0))
	left, known := (&Request{conn: c, limit: 1}).Remaining()
	assert.True(t, known)
	assert.Zero(t, left)
}

// The last frame is the last, also for a client that waits for a sign of life.
func TestNoSignAfterDone(t *testing.T) {
	c, l := offline(t, Config{Extensions: true, Handler: HandlerFunc(echo)})
	c.ext.Store(&extension{wrote: -2 * signEvery, done: true})
	c.watch.Store(watchPaused)
	require.True(t, c.serve(nil))
	assert.Empty(t, l.out)
	c.ext.Load().done = false
	c.watch.Store(watchPaused)
	require.True(t, c.serve(nil))
	assert.NotEmpty(t, l.out)
}

// The direction is shut down when the peer has taken the last frame, not before.
func TestDoneIsTakenBeforeTheEnd(t *testing.T) {
	c, l := offline(t, Config{Extensions: true, Handler: HandlerFunc(echo)})
	require.True(t, c.serve(extended{&client{t: t, format: c.srv.format}}.hello()))
	l.onWrite = func() { l.left = 1 }
	require.NoError(t, c.Close())
	require.True(t, c.serve(nil)) // goaway
	l.left = 0
	require.True(t, c.serve(nil)) // done
	assert.True(t, c.ext.Load().done)
	assert.NotEqual(t, phaseLingering, c.at())
	l.left = 0
	require.True(t, c.serve(nil))
	assert.Equal(t, phaseLingering, c.at())
}

// A connection that lingers is read, or what is left unread resets its last replies away.
func TestWhoLingersIsRead(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) { return dst, c.Close() })})
	c.loop.pauses, l.pauses = true, true
	require.True(t, c.serve([]byte{0, 4, 0, 0, 0, 1}))
	assert.Equal(t, phaseLingering, c.at())
	assert.False(t, l.deaf)
}

// While the server holds too much no input of those that are blocked is read, however little;
// and one that is read again has not been idle meanwhile.
func TestWhoIsReadAgainHasNotBeenIdle(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo)})
	c.loop.pauses, l.pauses = true, true
	c.srv.held.Add(c.srv.cfg.MaxHeld + 1)
	blockOutput(c, l)
	require.True(t, c.serve([]byte{0}))
	assert.True(t, l.deaf)
	c.srv.held.Add(-c.srv.cfg.MaxHeld - 1)
	l.left = 0
	c.srv.clock.Store(1000)
	require.True(t, c.serve(nil))
	assert.False(t, l.deaf)
	assert.EqualValues(t, 1000, c.lastRead.Load())
}

func TestLoopsAreStuckAfterAWhile(t *testing.T) {
	l := newLoop()
	f := &front{loops: []*loop{l}}
	assert.Zero(t, f.busyFor(0))
	l.mark(time.Now())
	assert.Equal(t, 1, f.busyFor(0))
	assert.Zero(t, f.busyFor(time.Hour))
}

// A hook that only closes needs nothing of the client.
func TestOnOpenMayOnlyClose(t *testing.T) {
	s := launch(t, Config{ShutdownTimeout: -1, OnOpen: func(c *Conn) { _ = c.Close() }})
	assert.Zero(t, dial(t, s).closed())
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Handler == 1 })
}

// Replies that are collected several at a time all make room.
func TestRepliesCollectedTogetherMakeRoom(t *testing.T) {
	s := launch(t, Config{Workers: 2, MaxInFlight: 2, Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		return dst, errors.New("no")
	}), ErrorReply: func(_ *Conn, dst, req []byte, _ error) []byte { return append(dst, req...) }})
	c := dial(t, s)
	const n = 5000
	c.write(c.pipeline(n, 1))
	for range n {
		c.receive()
	}
}

// A client that has come just now, and has said nothing yet, has time to speak when the server stops.
func TestANewcomerHasTimeToSpeakInADrain(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)})
	came := c.lastRead.Load()
	c.raise(phaseQuieting)
	c.quietAt.Store(came + 1)
	c.srv.clock.Store(came + newcomerTime.Milliseconds() - 1)
	require.True(t, c.serve(nil))
	assert.Equal(t, phaseQuieting, c.at())
	c.srv.clock.Store(came + newcomerTime.Milliseconds())
	require.True(t, c.serve(nil))
	assert.Equal(t, phaseLingering, c.at())
}

// What was read before the reading stopped is answered, also if it has to wait for others.
func TestAnEndWaitsForRequestsThatHaveNoRoom(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), Workers: 1, QueueSize: 1})
	l.pauses, c.loop.pauses = true, true
	c.srv.workers = &workers{srv: c.srv}
	c.srv.workers.queue.n.Store(2) // others have it full
	require.True(t, c.serve([]byte{0, 5, 0, 0, 0, 1, 'x'}))
	require.Equal(t, blockShared, c.block)
	c.raise(phaseUnread)
	require.True(t, c.serve(nil))
	assert.Equal(t, phaseUnread, c.at())
	assert.True(t, l.deaf, "nothing more is read")
}
