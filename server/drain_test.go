package server

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	const requests = 100
	h := &heldBack{}
	release := sync.OnceFunc(func() { close(h.gate('p')) })
	s := launch(t, Config{Workers: 4, Handler: h, ShutdownTimeout: patienceMax})
	defer release() // or a test that fails would be held up as well
	c := dial(t, s)
	c.write(c.pipeline(requests, 1))
	waitFor(t, "handlers to run", func() bool { return h.inside.Load() == 4 })
	conn := only(s)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	waitFor(t, "the listener to close", func() bool { return !listening(t, s) })
	var first int64
	waitFor(t, "the connection to be found quiet", func() bool { first = conn.quietAt.Load(); return first > 0 })
	// By the second time it has been asked to finish once.
	waitFor(t, "it to be found quiet again", func() bool { return conn.quietAt.Load() > first })
	release()
	seen := make(map[taskid.ID]bool)
	for range requests {
		seen[c.receive().ID] = true
	}
	assert.Len(t, seen, requests)
	assert.Zero(t, c.closed())
	_ = c.nc.Close()
	require.NoError(t, <-down)
	st := s.Stats()
	assert.EqualValues(t, requests, st.Replies)
	assert.EqualValues(t, 1, st.Closed.Shutdown)
}

// Clients that wait for each reply before they ask again: none may miss one.
func TestShutdownUnderLoadLosesNoReply(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Loops, cfg.quietTicks, cfg.steadyTime, cfg.ShutdownTimeout = 2, 100, patienceMax, patienceMax
		s := launch(t, cfg)
		var wg sync.WaitGroup
		var asked, answered atomic.Int64
		stop := make(chan struct{})
		for range 16 {
			c := dial(t, s)
			wg.Go(func() {
				defer c.nc.Close()
				for {
					select {
					case <-stop:
						return
					default:
					}
					asked.Add(1)
					if _, err := c.nc.Write([]byte{0, 5, 0, 0, 0, 1, 'x'}); err != nil {
						t.Error("write:", err)
						return
					}
					if _, err := c.frames.ReadFrame(); err != nil {
						t.Error("read:", err)
						return
					}
					answered.Add(1)
				}
			})
		}
		eventually(t, s, "all", func(st Stats) bool { return st.Conns == 16 })
		waitFor(t, "load", func() bool { return answered.Load() > 200 })
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		more := answered.Load() + 50
		waitFor(t, "requests to be answered meanwhile", func() bool { return answered.Load() > more })
		close(stop)
		wg.Wait()
		require.NoError(t, <-down)
		assert.Equal(t, asked.Load(), answered.Load())
		assert.EqualValues(t, asked.Load(), s.Stats().Replies)
	})
}

// A client that never stops asking is cut behind a reply: everything that was
// handled has been answered. That does not take the whole time there is, and where reading
// cannot be paused, parsing stops instead.
func TestShutdownEndsAStreamBehindItsLastReply(t *testing.T) {
	waits(t)
	for name, cfg := range map[string]Config{
		"short":            {ShutdownTimeout: time.Second},
		"long":             {ShutdownTimeout: 10 * patienceMax},
		"long, no pausing": {ShutdownTimeout: 10 * patienceMax, neverPause: true},
	} {
		t.Run(name, func(t *testing.T) { modes(t, func(t *testing.T, mode Config) { testEndOfStream(t, mode, cfg) }) })
	}
}

func testEndOfStream(t *testing.T, cfg, with Config) {
	cfg.ShutdownTimeout, cfg.neverPause = with.ShutdownTimeout, with.neverPause
	s := launch(t, cfg)
	c := dial(t, s)
	const batch, window = 20, 25 // at most 500 requests are unanswered
	room := make(chan struct{}, window)
	var wg sync.WaitGroup
	wg.Go(func() {
		requests := c.pipeline(batch, 100)
		for range room {
			if _, err := c.nc.Write(requests); err != nil {
				return
			}
		}
	})
	for range window {
		room <- struct{}{}
	}
	down := make(chan error, 1)
	var got uint64
	for {
		if _, err := c.frames.ReadFrame(); err != nil {
			break
		}
		if got++; got == 500 {
			go func() { down <- s.Shutdown(context.Background()) }()
		}
		if got%batch == 0 {
			select {
			case room <- struct{}{}:
			default:
			}
		}
	}
	close(room)
	_ = c.nc.Close()
	wg.Wait()
	require.NoError(t, <-down, "it has finished in time")
	st := s.Stats()
	assert.EqualValues(t, 1, st.Closed.Shutdown, "%+v", st.Closed)
	assert.EqualValues(t, st.Requests, st.Replies)
	assert.EqualValues(t, st.Replies, got, "a reply was lost")
}

// What was read and cannot be begun in time is counted.
func TestShutdownCountsWhatItGivesUp(t *testing.T) {
	waits(t)
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, MaxUnparsed: 256 << 10, ShutdownTimeout: time.Second, Handler: h})
	c := dial(t, s)
	const n = 200
	c.write(c.pipeline(n, 1)) // in one go: what a connection that is paused has not read, nobody counts
	eventually(t, s, "all to be read", func(st Stats) bool { return st.BytesIn == n*7 && st.Pauses > 0 })
	begun := s.Stats().Requests
	go func() {
		waitFor(t, "the time to be up", func() bool { return s.Stats().Abandoned > 0 })
		close(h.gate('p'))
	}()
	require.ErrorIs(t, s.Shutdown(context.Background()), context.DeadlineExceeded)
	st := s.Stats()
	assert.EqualValues(t, n, begun+st.Abandoned)
	assert.Equal(t, begun, st.Requests)
	assert.Equal(t, begun, st.Dropped)
}

// only returns the one connection of a server.
func only(s *Server) (conn *Conn) {
	s.conns.scan(func(c *Conn) { conn = c })
	return conn
}

// listening reports whether the server's first listener is open. It does not dial: a
// shutdown serves what it finds in the accept queue, so that a connection made to find
// out would be one more of the server's.
func listening(t *testing.T, s *Server) bool {
	t.Helper()
	s.mu.Lock()
	ln := s.listeners[0].Listener.(*net.TCPListener)
	s.mu.Unlock()
	raw, err := ln.SyscallConn()
	require.NoError(t, err)
	return raw.Control(func(uintptr) {}) == nil
}

// Bytes that nobody reads any more must not reset the connection while replies are
// on their way.
func TestShutdownLosesNoReplyToLateRequests(t *testing.T) {
	s := launch(t, Config{Handler: HandlerFunc(amplify)})
	c := narrow(t, s)
	const requests = 8 // their replies fit into the kernel's buffers
	c.write(c.pipeline(requests, 0))
	eventually(t, s, "the requests", func(st Stats) bool { return st.Replies == requests })
	conn := only(s)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	waitFor(t, "the stream's end", func() bool { return conn.cutAt.Load() > 0 || s.Stats().Conns == 0 })
	c.send(requests+1, nil)
	for range requests {
		require.Len(t, c.receive().Payload, 32<<10)
	}
	assert.Zero(t, c.closed())
	require.NoError(t, <-down)
}

// Connections that wait in the accept queue have been established by the kernel,
// and perhaps sent requests: they are served.
func TestShutdownServesTheAcceptQueue(t *testing.T) {
	speaksPlain(t)
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const conns = 20
	var queued []net.Conn
	for range conns {
		nc, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		_, err = nc.Write([]byte{0, 5, 0, 0, 0, 1, 'q'})
		require.NoError(t, err)
		queued = append(queued, nc)
	}
	require.NoError(t, s.Serve(ln))
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	for _, nc := range queued {
		require.NoError(t, nc.SetDeadline(time.Now().Add(patienceMax)))
		got, err := io.ReadAll(nc)
		require.NoError(t, err)
		assert.Len(t, got, 7)
	}
	require.NoError(t, <-down)
	assert.EqualValues(t, conns, s.Stats().Replies)
	_, err = net.Dial("tcp", ln.Addr().String())
	assert.Error(t, err, "the listener is closed")
}

// Half a request is no silence.
func TestShutdownWaitsForTheRestOfAFrame(t *testing.T) {
	s := launch(t, Config{})
	c := dial(t, s)
	frame := c.frame(1, []byte("in two pieces"))
	c.write(frame[:9])
	eventually(t, s, "the first piece", func(st Stats) bool { return st.HeldBytes > 0 })
	conn := only(s)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	var first int64
	waitFor(t, "it to be found quiet", func() bool { first = conn.quietAt.Load(); return first > 0 })
	waitFor(t, "it to be found quiet again", func() bool { return conn.quietAt.Load() > first })
	c.write(frame[9:])
	assert.Equal(t, "in two pieces", string(c.receive().Payload))
	assert.Zero(t, c.closed())
	require.NoError(t, <-down)
}

// After the loops' end a wake would write to a descriptor that may be somebody
// else's.
func TestNobodyIsWokenAfterTheEnd(t *testing.T) {
	onLoops(t)
	s := launch(t, Config{})
	dial(t, s).call(1, nil)
	conn := only(s)
	require.NoError(t, s.Close())
	conn.woken.Store(false)
	conn.cutting.Store(false)
	s.wake(conn)
	s.cut(conn, reasonShutdown)
	conn.link.(*gnetLink).loop.tell(func() { assert.Fail(t, "the loop is told something") })
}

func TestShutdownEndsIdleConnections(t *testing.T) {
	s := launch(t, Config{Loops: 2})
	var all []*client
	for range 10 {
		c := dial(t, s)
		c.call(1, nil)
		all = append(all, c)
	}
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	for _, c := range all {
		assert.Zero(t, c.closed())
	}
	// Some clients never close their end.
	require.NoError(t, <-down)
	assert.EqualValues(t, 10, s.Stats().Closed.Shutdown)
}

func TestShutdownIsBoundedByItsContext(t *testing.T) {
	waits(t)
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, Handler: h})
	c := dial(t, s)
	c.send(1, []byte("p"))
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Shutdown(ctx)
	require.ErrorIs(t, err, ErrHandlersRunning)
	assert.Contains(t, err.Error(), "1 handlers")
	close(h.gate('p'))
	require.NoError(t, s.Close(), "the handler has returned")
	assert.ErrorIs(t, s.Shutdown(context.Background()), context.DeadlineExceeded, "a connection was cut")
}

func TestShutdownSaysThatItCut(t *testing.T) {
	s := launch(t, Config{ShutdownTimeout: 300 * time.Millisecond, WriteTimeout: -1, Handler: HandlerFunc(amplify)})
	deaf := narrow(t, s)
	deaf.write(deaf.pipeline(1000, 0))
	backUp(t, s, 1)
	err := s.Shutdown(context.Background())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Contains(t, err.Error(), "finished: 1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.Error(t, s.Shutdown(ctx), "again")
}

func TestStuckHandlerDoesNotHoldUpClose(t *testing.T) {
	waits(t)
	modes(t, func(t *testing.T, cfg Config) {
		h := &heldBack{}
		cfg.Handler, cfg.ShutdownTimeout, cfg.Loops = h, 50*time.Millisecond, 2
		s := launch(t, cfg)
		stuck, other := dial(t, s), dial(t, s)
		other.write([]byte{0}) // its loop gets it
		stuck.send(1, []byte("p"))
		waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
		start := time.Now()
		err := s.Close()
		took := time.Since(start)
		require.ErrorIs(t, err, ErrHandlersRunning)
		assert.Contains(t, err.Error(), "server: 1 handlers are still running")
		assert.Less(t, took, 5*time.Second)
		assert.Zero(t, other.closed(), "the other loop is not held up")
		close(h.gate('p'))
		require.NoError(t, s.Close())
	})
}

func TestCloseCutsAtOnce(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		s := launch(t, cfg)
		c := dial(t, s)
		c.call(1, nil)
		require.NoError(t, s.Close())
		assert.Zero(t, c.closed())
		assert.EqualValues(t, 1, s.Stats().Closed.Shutdown)
		_, err := net.Dial("tcp", s.Addr().String())
		assert.Error(t, err)
	})
}

func TestCloseHurriesAShutdown(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, ShutdownTimeout: -1, Handler: h})
	c := dial(t, s)
	c.send(1, []byte("p"))
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	down := make(chan error, 2)
	go func() { down <- s.Shutdown(context.Background()) }()
	waitFor(t, "the shutdown", s.isClosing)
	go func() { down <- s.Close() }()
	assert.Zero(t, c.closed(), "cut although its handler runs")
	close(h.gate('p'))
	first, second := <-down, <-down
	if first == nil {
		first = second
	}
	assert.ErrorIs(t, first, context.DeadlineExceeded, "Shutdown tells, Close does not")
}

func TestEndMayBeAskedForByManyAtAnyMoment(t *testing.T) {
	for round := range 30 {
		s := launch(t, Config{Loops: 1 + round%3, Workers: round % 2 * 3})
		var wg sync.WaitGroup
		for who := range 6 {
			wg.Go(func() {
				nc, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					return // closed already
				}
				defer nc.Close()
				_, _ = nc.Write([]byte{0, 5, 0, 0, 0, 1, 'x', 0, 5})
				switch (who + round) % 3 {
				case 0:
					_ = s.Shutdown(context.Background())
				case 1:
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				case 2:
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Error(err)
						return
					}
					if err := s.Serve(ln); err != nil {
						_ = ln.Close()
						if !errors.Is(err, ErrServerClosed) {
							t.Error(err)
						}
					}
					_ = s.Stats()
				}
			})
		}
		wg.Wait()
		require.NoError(t, s.Close())
	}
}

func TestLifecycleErrors(t *testing.T) {
	checkLeaks(t)
	s, err := New(Config{Addr: "127.0.0.1:0", Handler: HandlerFunc(echo), Workers: 2})
	require.NoError(t, err)
	assert.Nil(t, s.Addr())
	assert.Zero(t, s.Stats())
	require.NoError(t, s.Close(), "before Start")
	require.NoError(t, s.Close())
	require.NoError(t, s.Shutdown(context.Background()))
	err = s.Start()
	require.ErrorIs(t, err, ErrServerClosed)
	require.ErrorIs(t, err, net.ErrClosed)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.ErrorIs(t, s.Serve(ln), ErrServerClosed)

	taken, err := New(Config{Addr: ln.Addr().String(), Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	assert.ErrorContains(t, taken.Start(), "server: listen")
	require.NoError(t, taken.Close())

	nowhere, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	assert.ErrorContains(t, nowhere.Start(), "Config.Addr is empty")
}
