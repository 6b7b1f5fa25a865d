package server

import (
	"bytes"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/taskid"
)

// heldBack lets handlers wait until their request's first byte is released.
type heldBack struct {
	mu      sync.Mutex
	release map[byte]chan struct{}
	inside  atomic.Int64
	most    atomic.Int64
	calls   atomic.Int64
}

func (h *heldBack) gate(key byte) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.release == nil {
		h.release = make(map[byte]chan struct{})
	}
	if h.release[key] == nil {
		h.release[key] = make(chan struct{})
	}
	return h.release[key]
}

func (h *heldBack) Handle(r *Request, dst []byte) ([]byte, error) {
	req := r.Payload()
	h.calls.Add(1)
	n := h.inside.Add(1)
	for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
	}
	<-h.gate(req[0])
	h.inside.Add(-1)
	return append(dst, req...), nil
}

func TestWorkersAnswerOutOfOrder(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 3, Handler: h})
	c := dial(t, s)
	for id := range byte(3) {
		c.send(uint32(id), []byte{id})
	}
	waitFor(t, "all to run at once", func() bool { return h.inside.Load() == 3 })
	assert.Equal(t, 3, s.Stats().Running)
	for _, id := range []byte{2, 0, 1} {
		close(h.gate(id))
		assert.EqualValues(t, id, c.receive().ID)
	}
}

func TestNoMoreHandlersRunThanWorkers(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 2, Handler: h})
	c := dial(t, s)
	c.write(c.pipeline(50, 1))
	waitFor(t, "the slots to be taken", func() bool { return h.inside.Load() == 2 })
	eventually(t, s, "the rest to queue", func(st Stats) bool { return st.Queued == 48 && st.Running == 2 })
	close(h.gate('p'))
	for range 50 {
		c.receive()
	}
	assert.EqualValues(t, 2, h.most.Load())
}

// A blocked handler holds up one slot, not the connection and not the others.
func TestBlockedHandlerHoldsOneSlot(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 2, Handler: h})
	close(h.gate('p'))
	blocked, other := dial(t, s), dial(t, s)
	blocked.send(1, []byte{'b'})
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	other.call(2, []byte("p"))
	blocked.call(3, []byte("p"))
	close(h.gate('b'))
	assert.EqualValues(t, 1, blocked.receive().ID)
}

// Beyond MaxInFlight no worker takes a request of one connection, while others go on.
func TestInFlightOfAConnectionIsBounded(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 20, MaxInFlight: 5, Handler: h})
	greedy, other := dial(t, s), dial(t, s)
	greedy.write(greedy.pipeline(100, 1))
	eventually(t, s, "the rest to wait", func(st Stats) bool { return st.Running == 5 && st.Queued == 95 })
	waitFor(t, "the handlers", func() bool { return h.inside.Load() == 5 })
	close(h.gate('o'))
	other.call(1, []byte("o"))
	assert.EqualValues(t, 101, s.Stats().Requests)
	assert.EqualValues(t, 5, h.inside.Load())
	close(h.gate('p'))
	for range 100 {
		greedy.receive()
	}
	assert.LessOrEqual(t, h.most.Load(), int64(6))
}

// What a connection has waiting for a worker is bounded in bytes.
func TestWhatWaitsForAWorkerIsBounded(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, MaxUnparsed: 256 << 10, Handler: h})
	c := dial(t, s)
	const n, share = 1000, (256 << 10) / pauseShare
	c.write(c.pipeline(n, 100))
	eventually(t, s, "parsing to stop", func(st Stats) bool { return st.Pauses == 1 && st.Running == 1 })
	st := s.Stats()
	const largest = 8*256 + requestBytes // the pool may lend a buffer three classes higher
	assert.GreaterOrEqual(t, s.jobBytes.Load(), int64(share))
	assert.Less(t, s.jobBytes.Load(), int64(share+largest), "one request beyond it")
	assert.Less(t, st.Requests, uint64(n/2))
	close(h.gate('p'))
	for range n {
		c.receive()
	}
}

// A full queue stops parsing for everybody; room in it lets a connection go on
// that has nothing in flight to wake it.
func TestQueueOfTheServerIsBounded(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, QueueSize: 2, Handler: h})
	a, b := dial(t, s), dial(t, s)
	a.write(a.pipeline(10, 1))
	eventually(t, s, "the queue to fill", func(st Stats) bool { return st.Queued == 2 && st.Running == 1 })
	b.write(b.pipeline(10, 1))
	eventually(t, s, "both to wait", func(st Stats) bool { return st.Pauses >= 2 })
	assert.EqualValues(t, 4, s.Stats().Requests, "b has one of its own")
	c, d := dial(t, s), dial(t, s)
	c.write(c.pipeline(2, 1))
	eventually(t, s, "c to wait", func(st Stats) bool { return st.Pauses >= 3 })
	d.write(d.pipeline(1, 1))
	eventually(t, s, "d to wait", func(st Stats) bool { return st.Pauses >= 4 })
	assert.Equal(t, 4, s.Stats().Queued, "twice the bound")
	close(h.gate('p'))
	for range 10 {
		a.receive()
		b.receive()
	}
	c.receive()
	c.receive()
	d.receive()
}

// One with many requests makes one with few wait for one of its own.
func TestWorkersServeConnectionsInTurn(t *testing.T) {
	const many = 60
	gate := make(chan struct{})
	var mu sync.Mutex
	var order []uint64
	s := launch(t, Config{Workers: 1, Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
		<-gate
		mu.Lock()
		defer mu.Unlock()
		order = append(order, c.ID())
		return dst, nil
	})})
	a, b := dial(t, s), dial(t, s)
	a.write(a.pipeline(many, 1))
	eventually(t, s, "the many", func(st Stats) bool { return st.Queued == many-1 && st.Running == 1 })
	b.write(b.pipeline(3, 1))
	eventually(t, s, "the few", func(st Stats) bool { return st.Queued == many+2 })
	close(gate)
	for range many {
		a.receive()
	}
	for range 3 {
		b.receive()
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, order, many+3)
	first := order[0] // the running one, a's
	for i, id := range order {
		assert.Equal(t, i < 6 && i%2 == 1, id != first, "request %d", i) // b's first is before a's second
	}
}

// Connect, ask, reset: the slots stay taken until the handlers return.
func TestResetDoesNotFreeAHandlersSlot(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 3, QueueSize: 10, Handler: h})
	for i := range uint64(20) {
		c := dial(t, s)
		c.write(c.pipeline(10, 1))
		eventually(t, s, "the requests", func(st Stats) bool { return st.BytesIn == (i+1)*70 })
		require.NoError(t, c.tcp().SetLinger(0))
		require.NoError(t, c.nc.Close())
	}
	eventually(t, s, "the resets", func(st Stats) bool { return st.Conns == 0 })
	assert.Equal(t, 3, s.Stats().Running)
	close(h.gate('p'))
	eventually(t, s, "the slots", func(st Stats) bool { return st.Running == 0 && st.Queued == 0 })
	assert.EqualValues(t, 3, h.calls.Load(), "what has not begun is not begun for nobody")
	st := s.Stats()
	assert.Equal(t, st.Requests, st.Dropped, "nobody is there to be answered")
	dial(t, s).call(1, []byte("p"))
}

func TestRepliesOfWorkersShareWrites(t *testing.T) {
	onLoops(t)
	const requests = 256
	h := &heldBack{}
	s := launch(t, Config{Workers: requests, MaxInFlight: requests, Handler: h})
	c := dial(t, s)
	c.write(c.pipeline(requests, 1))
	waitFor(t, "all to run", func() bool { return h.inside.Load() == requests })
	// Nobody can be woken, so the replies gather. One worker waits to wake.
	only(s).loop.gate.mu.Lock()
	close(h.gate('p'))
	waitFor(t, "the replies to be handed back", func() bool { return s.workers.running.Load() == 1 })
	only(s).loop.gate.mu.Unlock()
	seen := make(map[taskid.ID]bool)
	for range requests {
		seen[c.receive().ID] = true
	}
	assert.Len(t, seen, requests)
	assert.EqualValues(t, 1, s.Stats().Writes)
}

// A job queued while the last runner leaves must find a runner all the same.
func TestNoJobIsLeftBehindByALeavingRunner(t *testing.T) {
	const rounds = 15_000
	s, err := New(Config{Handler: HandlerFunc(echo), Workers: 1})
	require.NoError(t, err)
	s.workers, err = newWorkers(s)
	require.NoError(t, err)
	defer s.workers.stop()
	c := &Conn{srv: s, link: &scripted{}, loop: newLoop()}
	c.desk.Store(newDesk(1))
	c.desk.Load().limit = rounds + 1 // nobody collects
	c.woken.Store(true)              // nobody to wake
	c.raise(phaseEnded)              // so that the worker settles the job itself
	deadline := time.Now().Add(patienceMax)
	newJob := func() *Request {
		r := requestPool.Get().(*Request)
		r.conn, r.desk, r.buf = c, c.desk.Load(), bytepool.Get(0)
		return r
	}
	next := newJob()
	for round := range uint64(rounds) {
		s.workers.submit(next)
		next = newJob() // now, because it takes longer than the moment in question
		for spins := 1; s.failures.dropped.Load() <= round; spins++ {
			if spins%1000 > 0 {
				continue // because the runner leaves at once
			}
			if time.Now().After(deadline) {
				t.Fatalf("the job of round %d is left behind", round)
			}
			runtime.Gosched()
		}
		// The next comes a little later each time, so that some round hits the
		// moment between the last look at the queue and the slot's return.
		for range round % 256 {
			_ = s.failures.dropped.Load()
		}
	}
	s.free(next)
}

// The wake that tells a loop of a reply must never be lost, whichever goroutine is late.
func TestNoReplyIsForgotten(t *testing.T) {
	const conns, rounds = 4, 400
	s := launch(t, Config{Workers: 4, Loops: 2, MaxInFlight: 3, QueueSize: 4,
		Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			if req[0]%3 == 0 {
				runtime.Gosched()
			}
			return append(dst, req...), nil
		})})
	var wg sync.WaitGroup
	for range conns {
		c := dial(t, s)
		wg.Go(func() {
			for round := range rounds {
				// One to seven at once, then all of them back: the ring runs empty
				// each time, which is when a wake could get lost.
				n := 1 + round%7
				b := bytes.Repeat([]byte{0, 5, 0, 0, 0, byte(round), byte(round)}, n)
				if _, err := c.nc.Write(b); err != nil {
					t.Error(err)
					return
				}
				for range n {
					f, err := c.frames.ReadFrame()
					if err != nil || f.Payload[0] != byte(round) {
						t.Errorf("round %d: %v %v", round, f, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// Buffers of requests whose connection ends at any moment find their way back;
// launch compares.
func TestConnectionsMayEndAtAnyMoment(t *testing.T) {
	s := launch(t, Config{Workers: 4, Loops: 2})
	var wg sync.WaitGroup
	for who := range 4 {
		wg.Go(func() {
			for round := range 50 {
				nc, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				b := bytes.Repeat([]byte{0, 6, 0, 0, 0, 1, 'x', 'y'}, 1+round%40)
				_, _ = nc.Write(b)
				if (round+who)%3 > 0 {
					_, _ = nc.Read(make([]byte, 1+round%100))
				}
				if round%2 == 0 {
					_ = nc.(*net.TCPConn).SetLinger(0)
				}
				_ = nc.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, s, "the ends", func(st Stats) bool { return st.Conns == 0 && st.Closed.Total() == 200 })
	eventually(t, s, "the jobs", func(st Stats) bool { return st.Queued == 0 && st.Running == 0 })
	waitFor(t, "the bytes", func() bool { return s.jobBytes.Load() == 0 })
}

// A ring costs some kilobytes; a connection gives it up when it has no use for it.
func TestIdleConnectionGivesUpItsRing(t *testing.T) {
	s := launch(t, Config{Workers: 1})
	c := dial(t, s)
	c.call(1, []byte("x"))
	var conn *Conn
	s.conns.scan(func(c *Conn) { conn = c })
	eventually(t, s, "the ring to be known", func(Stats) bool { return conn.watch.Load()&watchDesk != 0 })
	// Ten seconds ago, without waiting for them.
	conn.lastRead.Store(s.clock.Load() - deskIdle.Milliseconds() - 1)
	eventually(t, s, "the ring to go", func(Stats) bool { return conn.watch.Load()&watchDesk == 0 })
	c.call(2, []byte("y"))
}

func TestBytesInTheHandsOfWorkersAreBounded(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, MaxHeld: 100_000, MaxUnparsed: 1 << 20, Handler: h})
	c := dial(t, s)
	go func() { _, _ = c.nc.Write(c.pipeline(30, 10_000)) }()
	backUp(t, s, 1)
	assert.Less(t, s.jobBytes.Load(), int64(100_000+2*10_000+100+bytepool.MaxRetained))
	assert.Less(t, s.Stats().Requests, uint64(30))
	close(h.gate('p'))
}
