package server

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/epoll"
)

// slow echoes after it has had the processor for a quarter of a turn.
func slow(_ *Conn, dst, req []byte) ([]byte, error) {
	for began := time.Now(); time.Since(began) < turnMax/4; {
	}
	return append(dst, req...), nil
}

// onLoop returns connections whose turns on one loop the test takes itself.
func onLoop(t *testing.T, n int, cfg Config) (conns []*Conn, links []*scripted) {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	l := newLoop()
	l.pauses = true
	l.caller = time.AfterFunc(time.Hour, func() {}) // nobody is called but by the test
	t.Cleanup(func() { l.caller.Stop() })
	for range n {
		link := &scripted{pauses: true, others: true}
		c := &Conn{srv: s}
		c.begin(link, l)
		conns, links = append(conns, c), append(links, link)
		t.Cleanup(func() {
			if c.at() != phaseEnded {
				c.end(nil)
			}
		})
	}
	return conns, links
}

func manyRequests(t *testing.T, n int) []byte { return (&client{t: t}).pipeline(n, 1) }

func TestATurnEndsWhenOthersWait(t *testing.T) {
	const n, frame = 40, 7
	conns, links := onLoop(t, 1, Config{Handler: HandlerFunc(slow)})
	c, l := conns[0], links[0]
	require.True(t, c.serve(manyRequests(t, n)))
	turns := 1
	for ; c.listed; turns++ {
		require.NotEmpty(t, l.out, "each turn does something")
		require.True(t, l.deaf, "it is not read until its next turn")
		require.Same(t, c, c.loop.next.Load())
		require.Len(t, c.loop.cut, 1)
		require.True(t, c.serve(nil))
	}
	assert.GreaterOrEqual(t, turns, n/strideMax)
	assert.Len(t, l.out, n*frame, "nothing is lost")
	assert.False(t, l.deaf)
	assert.Empty(t, c.loop.cut)
	assert.False(t, c.loop.calling)
	assert.Nil(t, c.input)
}

func TestATurnGoesOnWhenNobodyWaits(t *testing.T) {
	const n, frame = 40, 7
	conns, links := onLoop(t, 1, Config{Handler: HandlerFunc(slow)})
	c, l := conns[0], links[0]
	l.others = false
	require.True(t, c.serve(manyRequests(t, n)))
	assert.Len(t, l.out, n*frame)
	assert.False(t, c.listed)
	assert.False(t, l.deaf)
}

// Whose turn was cut short is called after those whose turns were cut before, whatever
// else wakes it.
func TestThoseWhoseTurnsWereCutShortAreCalledInTurn(t *testing.T) {
	conns, links := onLoop(t, 3, Config{Handler: HandlerFunc(slow)})
	l := conns[0].loop
	for _, c := range conns {
		require.True(t, c.serve(manyRequests(t, 40)))
		require.True(t, c.listed)
	}
	had := len(links[1].out)
	require.True(t, conns[1].serve(nil), "woken by somebody else")
	require.Len(t, links[1].out, had, "it is not its turn")
	require.True(t, conns[1].listed)
	require.Same(t, conns[0], l.next.Load())
	require.True(t, conns[0].serve(nil))
	require.Same(t, conns[1], l.next.Load())
	conns[1].end(nil)
	require.Same(t, conns[2], l.next.Load(), "who has ended is not called")
	for !assert.ObjectsAreEqual(0, len(l.cut)) {
		c := l.next.Load()
		require.True(t, c.serve(nil))
	}
	assert.Equal(t, len(links[0].out), len(links[2].out))
}

// One connection's flood of requests that take a while.
func TestAFloodLetsItsNeighboursBy(t *testing.T) {
	for _, pause := range []bool{true, false} {
		s := launch(t, Config{Loops: 1, neverPause: !pause, Handler: HandlerFunc(slow)})
		flood, neighbour := dial(t, s), dial(t, s)
		neighbour.call(1, []byte("x"))
		const n, rounds = 8000, 2 // a read may hold half of them
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := flood.nc.Write(flood.pipeline(n, 10)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for i := range n {
				if f, err := flood.frames.ReadFrame(); err != nil || int(f.ID) != i+1 {
					t.Errorf("reply %d: %d, %v", i+1, f.ID, err)
					return
				}
			}
		})
		eventually(t, s, "the flood", func(st Stats) bool { return st.Requests > 100 })
		for i := range uint32(rounds) {
			neighbour.call(i, []byte("x"))
		}
		assert.Less(t, s.Stats().Requests, uint64(n), "the neighbour had its turns before the flood was over")
		wg.Wait()
	}
}

// An honest client may send as fast as it can, as long as it reads: it is slowed.
func TestAClientThatPipelinesAndReadsIsSlowedAndNotCut(t *testing.T) {
	if !epoll.Available {
		t.Skip("reading cannot be paused on " + runtime.GOOS)
	}
	for name, cfg := range map[string]Config{
		"in place": {},
		"workers":  {Workers: 2, MaxInFlight: 16, MaxUnparsed: 1 << 20},
		"queue":    {Workers: 1, QueueSize: 4, MaxUnparsed: 1 << 20},
		"memory":   {Workers: 2, MaxInFlight: 64, MaxHeld: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			var busy atomic.Int64
			cfg.Handler = HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
				for busy.Add(1); cfg.Workers > 0 && busy.Load()%8 == 0; busy.Add(1) {
					runtime.Gosched()
				}
				return append(dst, req...), nil
			})
			s := launch(t, cfg)
			const conns, n, size = 3, 120, 16 << 10 // 6 MiB
			var wg sync.WaitGroup
			for range conns {
				c := dial(t, s)
				all := c.pipeline(n, size)
				wg.Go(func() {
					if _, err := c.nc.Write(all); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					for range n {
						if f, err := c.frames.ReadFrame(); err != nil || len(f.Payload) != size {
							t.Error("a reply is lost:", err)
							return
						}
					}
				})
			}
			wg.Wait()
			st := s.Stats()
			assert.EqualValues(t, conns*n, st.Replies)
			assert.Zero(t, st.Closed.Input+st.Closed.Memory+st.Closed.SlowReader)
		})
	}
}

// What a client sends that is not read does not pile up: while output is pending too,
// though gnet begins to read again whenever output blocks or drains.
func TestInputWaitsInTheKernelWhileOutputIsPending(t *testing.T) {
	if !epoll.Available {
		t.Skip("reading cannot be paused on " + runtime.GOOS)
	}
	const unsent, unparsed = 64 << 10, 1 << 20
	s := launch(t, Config{Handler: HandlerFunc(amplify), MaxUnsent: unsent, MaxUnparsed: unparsed, WriteTimeout: -1})
	c := narrow(t, s)
	const n, size = 4000, 4 << 10 // 16 MiB, of which a sixteenth may be held
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.nc.Write(c.pipeline(n, size)); err != nil {
			t.Error(err)
		}
	})
	most := int64(0)
	for i := range n {
		if f := c.receive(); int(f.ID) != i+1 {
			t.Fatalf("reply %d is %d", i+1, f.ID)
		}
		most = max(most, s.Stats().HeldBytes)
	}
	wg.Wait()
	assert.Less(t, most, int64(unparsed), "bytes held")
	assert.EqualValues(t, n, s.Stats().Replies)
}

// What had arrived at a shutdown while the connection was not read is answered.
func TestShutdownAnswersWhatWaitsInTheKernel(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, MaxInFlight: 2, MaxUnparsed: 128 << 10, Handler: h, ShutdownTimeout: patienceMax})
	c := dial(t, s)
	const n = 200
	c.write(c.pipeline(n, 1000))
	eventually(t, s, "the pause", func(st Stats) bool { return st.Pauses > 0 })
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	waitFor(t, "the listener to close", func() bool { return !listening(t, s) })
	close(h.gate('p'))
	for range n {
		c.receive()
	}
	assert.Zero(t, c.closed())
	_ = c.nc.Close()
	require.NoError(t, <-down)
	assert.EqualValues(t, n, s.Stats().Replies)
}
