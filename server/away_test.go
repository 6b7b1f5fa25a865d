package server

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The time for which a handler keeps its loop from its peers is not the peers'.

// Handlers in place may block. A peer that has sent half a frame, or nothing, is cut for it neither while a
// handler runs nor when the loop is back.
func TestTheTimeOfAHandlerInPlaceIsNotThePeers(t *testing.T) {
	waits(t)
	const limit = time.Second
	h := &heldBack{}
	s := launch(t, Config{Loops: 1, Handler: h, FrameTimeout: limit, IdleTimeout: limit})
	close(h.gate('o'))
	slow, half, idle := dial(t, s), dial(t, s), dial(t, s)
	one, two, other := slow.frame(1, []byte("slow")), slow.frame(2, []byte("one")), half.frame(1, []byte("other"))
	sent := func(what string, n int) {
		t.Helper()
		eventually(t, s, what, func(st Stats) bool { return st.BytesIn == uint64(n) })
	}
	first := len(idle.frame(1, []byte("o")))
	idle.call(1, []byte("o"))
	half.write(other[:5])
	sent("half a frame", first+5)
	slow.write(one[:5]) // so that the time of a frame has begun
	sent("another half", first+5+5)
	slow.write(append(one[5:], two[:5]...))
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	began := s.clock.Load()
	waitFor(t, "time to pass", func() bool { return s.clock.Load()-began > 2*limit.Milliseconds() })
	if *frontFlag == "loops" { // else the others are not held up, and rightly cut
		assert.Zero(t, s.Stats().Closed.Total())
	}
	close(h.gate('s'))
	assert.EqualValues(t, 1, slow.receive().ID)
	slow.write(two[5:])
	if *frontFlag == "loops" {
		half.write(other[5:])
		idle.call(2, []byte("o"))
		assert.EqualValues(t, 1, half.receive().ID)
	}
	assert.EqualValues(t, 2, slow.receive().ID)
}

// Nor is it when a peer has replies to take.
func TestProgressIsNotExpectedWhileTheLoopIsAway(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), WriteTimeout: time.Second})
	l.left = 5
	require.True(t, c.serve(oneFrame(t, 1)))
	for range 3 { // each time the loop was away for ten seconds
		l.cameBack = c.srv.clock.Add(10_000)
		require.True(t, c.serve(nil))
		require.Equal(t, phaseUp, c.at())
	}
	c.srv.clock.Add(10_000) // now it was there
	c.serve(nil)
	require.Equal(t, reasonSlowReader, reason(c.why.Load()))
}

// The turns that come afterwards know of it.
func TestALongTurnIsKnownInTheNext(t *testing.T) {
	long := make(chan struct{})
	var back atomic.Int64
	s := launch(t, Config{WriteTimeout: 20 * time.Millisecond, Handler: RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		if string(r.Payload()) == "long" {
			<-long
		}
		c := r.Conn()
		back.Store(c.link.back(c.srv.clock.Load()))
		return dst, nil
	})})
	c := dial(t, s)
	c.send(1, []byte("long"))
	began := s.clock.Load()
	waitFor(t, "time to pass", func() bool { return s.clock.Load()-began > 10*s.interval.Milliseconds() })
	ended := s.clock.Load()
	close(long)
	c.receive()
	for range 3 {
		c.send(2, nil)
		c.receive()
		require.GreaterOrEqual(t, back.Load(), ended)
	}
}

func TestATurnThatIsLongIsNoticed(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)})
	l, s := c.loop, c.srv
	interval := s.interval.Milliseconds()
	turn := func(lasts int64) {
		l.begin(nil, s)
		s.clock.Add(lasts)
		l.end(s)
	}
	turn(interval)
	require.Zero(t, l.back(s.clock.Load(), s.interval), "the clock may have been about to move")
	turn(interval + 1)
	at := s.clock.Load()
	require.Equal(t, at, l.back(at, s.interval))
	turn(interval)
	require.Equal(t, at, l.back(s.clock.Load(), s.interval))
	l.begin(nil, s)
	l.since.Add(-int64(time.Minute)) // it goes on for so long
	require.Equal(t, at+1000, l.back(at+1000, s.interval))
}

// Nor is it forgotten when the turn goes on, since nobody else waits.
func TestALongHandlerIsKnownWhileItsTurnGoesOn(t *testing.T) {
	onLoops(t)
	var c *Conn
	var back []int64
	c, _ = offline(t, Config{Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		back = append(back, c.loop.back(c.srv.clock.Load(), c.srv.interval))
		c.srv.clock.Add(10_000)
		c.loop.mark(time.Now().Add(-time.Minute)) // it has lasted for so long
		return dst, nil
	})})
	began := c.srv.clock.Load()
	require.True(t, c.serve(append(oneFrame(t, 1), oneFrame(t, 2)...)))
	require.Equal(t, []int64{0, began + 10_000}, back)
}

// The sweep may ask while a turn ends: then it is long still, or the loop is back.
func TestALongTurnIsKnownWhileItEnds(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)}) // so that nothing but the test moves the clock
	s := c.srv
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	st := newStream(newStreams(s), near, &Conn{srv: s})
	var known atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50_000 {
			st.awaitTurn()
			st.turn(func(l *loop) bool {
				l.begin(nil, s)
				l.mark(time.Now().Add(-time.Minute)) // it has lasted for so long
				known.Store(s.clock.Add(10_000))
				l.end(s)
				return true
			})
		}
	}()
	for {
		least := known.Load()
		assert.GreaterOrEqual(t, st.back(s.clock.Load()), least)
		select {
		case <-done:
			return
		default:
		}
		if t.Failed() {
			<-done
			return
		}
	}
}
