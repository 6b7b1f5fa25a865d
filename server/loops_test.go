package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

// captive is a handler that a request can hold until release, and one that can end its
// goroutine.
type captive struct {
	heldBack
	once sync.Once
}

const (
	stay = 's' // handlers of requests that begin so wait for release
	exit = 'x' // these call runtime.Goexit
)

func (h *captive) Handle(r *Request, dst []byte) ([]byte, error) {
	req := r.Payload()
	if len(req) == 0 {
		return dst, nil
	}
	switch req[0] {
	case stay:
		return h.heldBack.Handle(r, dst)
	case exit:
		_ = append(dst, "partial reply"...)
		runtime.Goexit()
	}
	return append(dst, req...), nil
}

func (h *captive) release() { h.once.Do(func() { close(h.gate(stay)) }) }

// hold has so many loops stuck, each by a client of its own.
func (h *captive) hold(t *testing.T, s *Server, n int) (stuck []*client) {
	t.Helper()
	t.Cleanup(h.release)
	for range n {
		c := dial(t, s)
		before := h.inside.Load()
		c.send(1, []byte{stay})
		waitFor(t, "the handler", func() bool { return h.inside.Load() == before+1 })
		stuck = append(stuck, c)
	}
	return stuck
}

// launchCaptive starts a server with such a handler, and stops waiting for it when the test
// ends.
func launchCaptive(t *testing.T, cfg Config) (*Server, *captive) {
	t.Helper()
	h := new(captive)
	cfg.Handler = h
	s := launch(t, cfg)
	t.Cleanup(h.release)
	return s, h
}

func TestAStuckLoopStopsOnlyItself(t *testing.T) {
	onLoops(t)
	s, h := launchCaptive(t, Config{Loops: 4})
	var old []*client
	for range 8 {
		old = append(old, dial(t, s)) // two for each loop, unless one is too busy to open its door in time
	}
	waitFor(t, "them to be accepted", func() bool { return s.Stats().Conns == 8 })
	stuck := h.hold(t, s, 1)[0]
	loop := connOf(t, s, stuck).loop
	var behind []*client
	for _, c := range old {
		c.send(2, []byte("old"))
		if connOf(t, s, c).loop == loop {
			behind = append(behind, c)
			continue
		}
		assert.Equal(t, "old", string(c.receive().Payload))
	}
	for range 40 {
		c := dial(t, s)
		c.call(3, []byte("new"))
		require.NotSame(t, loop, connOf(t, s, c).loop)
	}
	eventually(t, s, "the loop to count as stuck", func(st Stats) bool { return st.StuckLoops == 1 })
	h.release()
	assert.EqualValues(t, stay, stuck.receive().Payload[0])
	for _, c := range behind {
		assert.Equal(t, "old", string(c.receive().Payload))
	}
	eventually(t, s, "it to go on", func(st Stats) bool { return st.StuckLoops == 0 })
	for n := s.Stats().Conns; connOf(t, s, dial(t, s)).loop != loop; n++ {
		require.Less(t, n, 100, "it has fewest connections, and gets the next again")
	}
}

// connOf returns the server's side of a connection.
func connOf(t *testing.T, s *Server, c *client) (found *Conn) {
	t.Helper()
	waitFor(t, "the connection", func() bool {
		s.conns.scan(func(conn *Conn) {
			if conn.remote.String() == c.nc.LocalAddr().String() {
				found = conn
			}
		})
		return found != nil
	})
	return found
}

func TestConnectionsWaitWhileAllLoopsAreStuck(t *testing.T) {
	onLoops(t)
	waits(t)
	s, h := launchCaptive(t, Config{Loops: 2})
	h.hold(t, s, 2)
	var waiting []*client
	for range 5 {
		c := dial(t, s)
		c.send(1, []byte("waits"))
		waiting = append(waiting, c)
	}
	eventually(t, s, "both to count as stuck", func(st Stats) bool { return st.StuckLoops == 2 })
	assert.EqualValues(t, 2, s.Stats().Accepted)
	h.release()
	for _, c := range waiting {
		assert.Equal(t, "waits", string(c.receive().Payload))
	}
	assert.Zero(t, s.Stats().AcceptErrors)
}

func TestAConnectionThatNoLoopTakesIsClosedAndCounted(t *testing.T) {
	onLoops(t)
	var log lines
	s, h := launchCaptive(t, Config{Loops: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.hold(t, s, 2)
	const limit = 300 * time.Millisecond
	f, _, _ := s.parts()
	f.placing.Lock()
	require.Equal(t, placeMax, f.limit)
	f.limit = limit
	f.placing.Unlock()
	began := time.Now()
	first, second := dial(t, s), dial(t, s)
	assert.Zero(t, first.closed())
	assert.GreaterOrEqual(t, time.Since(began), limit)
	assert.Zero(t, second.closed())
	eventually(t, s, "them to be counted", func(st Stats) bool { return st.AcceptErrors == 2 })
	assert.Contains(t, log.String(), errBlocked.Error())
	assert.True(t, f.jammed.Load(), "the second has not waited for long")
	h.release()
	// A loop that comes to the question late is asked again, with patience.
	waitFor(t, "a loop to move", func() bool { return !f.jammed.Load() })
	dial(t, s).call(1, []byte("again"))
}

func TestAHandlerThatBlocksItsLoopIsNamedOnce(t *testing.T) {
	onLoops(t)
	waits(t)
	var log lines
	s, h := launchCaptive(t, Config{Loops: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.hold(t, s, 1)
	const text = "a handler blocks its event loop"
	waitFor(t, "the log", func() bool { return strings.Contains(log.String(), text) })
	eventually(t, s, "more than a line a second", func(st Stats) bool { return st.StuckLoops == 1 })
	before := s.clock.Load()
	waitFor(t, "some sweeps", func() bool { return s.clock.Load() > before+logEvery })
	got := log.String()
	assert.Equal(t, 1, strings.Count(got, text), got)
	for _, part := range []string{"level=WARN", "set Config.Workers", "for=", "conn.id=1", "conn.remote=127.0.0.1:"} {
		assert.Contains(t, got, part)
	}
}

// Few connections share the first loops; when those have enough, the fewest decide.
func TestLoopsArePacked(t *testing.T) {
	onLoops(t)
	f := &front{srv: &Server{cfg: Config{packed: 2}}}
	for range 4 {
		f.loops = append(f.loops, newLoop())
	}
	for i := range 100 {
		l := f.next()
		at := slices.Index(f.loops, l)
		switch {
		case i < 2*packSize:
			assert.Equal(t, i%2, at, "connection %d", i)
		case i < 4*packSize:
			assert.Equal(t, 2+i%2, at, "connection %d", i)
		default:
			assert.Equal(t, i%4, at, "connection %d", i)
		}
		l.conns.Add(1)
	}
	f.loops[0].conns.Store(0)
	assert.Same(t, f.loops[0], f.next())
	f.loops[0].door.Store(doorAsked)
	f.loops[1].door.Store(doorAsked)
	assert.Same(t, f.loops[2], f.next(), "the first are asked already")
}

// A turn that goes on for long, because nobody else waits, blocks nobody.
func TestALongTurnOfShortHandlersIsNotNamed(t *testing.T) {
	onLoops(t)
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)})
	f := &front{srv: c.srv, loops: []*loop{c.loop}}
	c.loop.begin(oneFrame(t, 1), c.srv)
	c.loop.mark(time.Now().Add(-turnMax)) // it has begun so long ago
	first := c.loop.since.Load()
	c.loop.lookAt = 0
	c.turnOver()
	assert.Greater(t, c.loop.since.Load(), first)
	assert.Equal(t, 1, f.busyFor(0))
	assert.Zero(t, f.busyFor(time.Minute))
	c.loop.end(c.srv)
	assert.Zero(t, f.busyFor(0))
}

// While a connection is on its way into a loop no handler runs there.
func TestAnOpenDoorHasRequestsWait(t *testing.T) {
	onLoops(t)
	var calls int
	c, l := offline(t, Config{Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		calls++
		return append(dst, "reply"...), nil
	})})
	c.loop.door.Store(doorOpen)
	require.True(t, c.serve(oneFrame(t, 1)))
	assert.Zero(t, calls)
	waitFor(t, "the connection to be called", func() bool { return l.wakes.Load() > 0 })
	c.loop.door.Store(doorShut)
	require.True(t, c.serve(nil))
	assert.Equal(t, 1, calls)
	assert.NotEmpty(t, l.out)
}

func TestGoexitInPlaceCostsItsLoopOnly(t *testing.T) {
	onLoops(t)
	var log lines
	s, _ := launchCaptive(t, Config{Loops: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var all []*client
	for range 6 {
		c := dial(t, s)
		c.call(1, []byte("x")[:0])
		all = append(all, c)
	}
	dead := connOf(t, s, all[0]).loop
	descriptors, pollers := countDescriptors(), countPollers()
	for round := range 3 {
		loop := dead
		if round > 0 {
			loop = connOf(t, s, all[0]).loop
		}
		// What was answered before has its replies.
		all[0].write(append(append(all[0].frame(1, []byte("before")), all[0].frame(2, []byte{exit})...), all[0].frame(3, []byte("after"))...))
		assert.Equal(t, "before", string(all[0].receive().Payload))
		began := time.Now()
		for i, c := range all {
			if conn := lastConnOf(c, s); conn == nil || conn.loop == loop {
				assert.Zero(t, c.closed())
				_ = c.nc.Close()
				all[i] = nil
			} else {
				c.call(9, []byte("unharmed"))
			}
		}
		assert.Less(t, time.Since(began), patienceMax/2)
		for i, c := range all {
			if c == nil {
				all[i] = dial(t, s)
				all[i].call(1, []byte("again"))
			}
		}
		f, _, _ := s.parts()
		waitFor(t, "another loop", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.loops) == 2 && !slices.Contains(f.loops, loop)
		})
		loop.gate.mu.RLock()
		require.True(t, loop.gate.shut, "nobody wakes it any more")
		loop.gate.mu.RUnlock()
		require.EqualValues(t, round+1, s.Stats().Panics)
	}
	st := s.Stats()
	assert.EqualValues(t, 3, st.Dropped)
	assert.GreaterOrEqual(t, st.Closed.Loop, uint64(3))
	assert.Equal(t, st.Closed.Loop, st.Closed.Total())
	assert.Contains(t, log.String(), "handler called runtime.Goexit and ended its event loop")
	waitFor(t, "descriptors to be closed", func() bool {
		return countDescriptors() <= descriptors && countPollers() == pollers
	})
}

// countPollers returns how many epoll instances there are, 0 where /proc does not tell.
func countPollers() (n int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target == "anon_inode:[eventpoll]" {
			n++
		}
	}
	return n
}

// lastConnOf returns the server's side of a connection, nil if it has ended.
func lastConnOf(c *client, s *Server) (found *Conn) {
	s.conns.scan(func(conn *Conn) {
		if conn.remote.String() == c.nc.LocalAddr().String() {
			found = conn
		}
	})
	return found
}

func TestGoexitInAWorkerFailsItsRequestOnly(t *testing.T) {
	onLoops(t)
	var log lines
	asked := make(chan error, 1)
	s, _ := launchCaptive(t, Config{Workers: 2, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		ErrorReply: func(_ *Conn, dst, _ []byte, err error) []byte {
			asked <- err
			return append(dst, "failed"...)
		}})
	c := dial(t, s)
	for id := range uint32(20) {
		c.send(id, []byte{exit})
		f := c.receive()
		require.Equal(t, taskid.ID(id), f.ID)
		require.Equal(t, "failed", string(f.Payload))
		err := <-asked
		require.ErrorIs(t, err, ErrGoexit)
		var p *PanicError
		require.ErrorAs(t, err, &p)
		c.call(id, []byte("goes on"))
	}
	st := s.Stats()
	assert.EqualValues(t, 20, st.Panics)
	assert.EqualValues(t, 40, st.Replies)
	waitFor(t, "all runners to leave", func() bool { return s.workers.running.Load() == 0 && s.workers.busy.Load() == 0 })
	assert.Contains(t, log.String(), "handler called runtime.Goexit")
}

func TestGoexitInErrorReplyIsNotAskedTwice(t *testing.T) {
	onLoops(t)
	var calls atomic.Int64
	s := launch(t, Config{Workers: 1,
		Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			if req[0] == 'f' {
				return nil, errors.New("failed")
			}
			return append(dst, req...), nil
		}),
		ErrorReply: func(*Conn, []byte, []byte, error) []byte { calls.Add(1); runtime.Goexit(); return nil }})
	c := dial(t, s)
	c.send(1, []byte("f"))
	c.call(2, []byte("goes on"))
	st := s.Stats()
	assert.EqualValues(t, 1, calls.Load())
	assert.EqualValues(t, 1, st.Unanswered)
	assert.EqualValues(t, 1, st.HandlerErrors)
	assert.EqualValues(t, 1, st.Panics)
}

// A stop is bounded, and in order for the loops that can.
func TestStopWithStuckAndDeadLoops(t *testing.T) {
	onLoops(t)
	waits(t)
	for name, c := range map[string]struct {
		stuck, dead int
		close       bool
	}{
		"Shutdown, one stuck":      {stuck: 1},
		"Shutdown, stuck and dead": {stuck: 1, dead: 2},
		"Shutdown, all but one":    {stuck: 3},
		"Shutdown, all stuck":      {stuck: 4},
		"Shutdown, dead":           {dead: 3},
		"Close, stuck and dead":    {stuck: 2, dead: 1, close: true},
		"Close, all stuck":         {stuck: 4, close: true},
		"Close, dead":              {dead: 4, close: true},
	} {
		t.Run(name, func(t *testing.T) {
			limit := 300 * time.Millisecond
			if c.stuck == 0 {
				limit = patienceMax // all end in order
			}
			s, h := launchCaptive(t, Config{Loops: 4, ShutdownTimeout: limit})
			for range c.dead {
				x := dial(t, s)
				x.send(1, []byte{exit})
				assert.Zero(t, x.closed())
			}
			h.hold(t, s, c.stuck)
			f, _, _ := s.parts()
			f.placing.Lock()
			f.limit = time.Hour
			f.placing.Unlock()
			other := dial(t, s) // waits for a loop if all are stuck
			if c.stuck < 4 {
				other.call(1, []byte("healthy"))
			}
			pollers := countPollers()
			began := time.Now()
			var err error
			if c.close {
				err = s.Close()
			} else {
				err = s.Shutdown(context.Background())
			}
			assert.Less(t, time.Since(began), limit+closeGrace+patienceMax/4)
			assert.Zero(t, other.closed())
			if c.stuck == 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrHandlersRunning)
			assert.ErrorContains(t, err, string(rune('0'+c.stuck))+" handlers are still running")
			assert.Equal(t, c.stuck, f.busyFor(0))
			if pollers > 0 {
				assert.Equal(t, pollers-4+c.stuck, countPollers(), "those that can have stopped")
			}
			h.release()
			require.NoError(t, s.Close())
		})
	}
}

// Many come and go while handlers end loops: nothing is lost for good, nothing is left.
func TestLoopsMayEndAtAnyMoment(t *testing.T) {
	onLoops(t)
	s, _ := launchCaptive(t, Config{Loops: 3, Logger: slog.New(slog.DiscardHandler)})
	var all sync.WaitGroup
	for who := range 6 {
		all.Go(func() {
			for round := range 40 {
				nc, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				payload := byte('e')
				if (who+round)%5 == 0 {
					payload = exit
				}
				_ = nc.SetDeadline(time.Now().Add(patienceMax))
				_, _ = nc.Write([]byte{0, 5, 0, 0, 0, 1, payload})
				if _, err := nc.Read(make([]byte, 16)); err != nil {
					var timeout net.Error
					if errors.As(err, &timeout) && timeout.Timeout() {
						t.Error("it is neither answered nor closed")
					}
				}
				_ = nc.Close()
			}
		})
	}
	all.Wait()
	dial(t, s).call(1, []byte("goes on"))
	assert.Positive(t, s.Stats().Closed.Loop)
}
