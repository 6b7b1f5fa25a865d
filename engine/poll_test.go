package engine

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pollable returns a connection that nobody reads but the test, with a request in
// flight, and the peer's end of it.
func pollable(t *testing.T, cfg Config) (*conn, net.Conn) {
	t.Helper()
	if !rawio.Available {
		t.Skip("no polling on this system")
	}
	cfg.Addrs = []string{rawEcho(t)}
	b := newBroker(t, cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	far, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close(); far.Close() })
	c := newConn(b.links[0])
	c.net, c.in, c.buf = nc, descriptor(nc), make([]byte, 100)
	inFlight(t, c)
	return c, far
}

func TestPollTakesWhatComes(t *testing.T) {
	c, far := pollable(t, Config{})
	for i := range 3 {
		c.pollPause = 7
		_, err := far.Write([]byte("abc"))
		require.NoError(t, err)
		until(func() bool { return c.poll() })
		require.Equal(t, 3*(i+1), c.end)
		require.EqualValues(t, i+1, c.reads.Load())
		require.EqualValues(t, i+1, c.polled.Load())
		require.Zero(t, c.pollPause, "a success ends the pauses")
	}
	require.Equal(t, "abcabcabc", string(c.buf[:c.end]))
	require.Zero(t, busypoll.Polling())
}

func TestWhoPollsWritesWhatIsSubmitted(t *testing.T) {
	c, far := pollable(t, Config{})
	c.pollFor = time.Hour
	c.raw = c.in
	c.token.Store(idle) // there is no flusher
	submit := func() {
		_, err := c.enqueue([]byte("meanwhile"), 0, func(*slot) {})
		assert.NoError(t, err)
	}
	require.NoError(t, far.SetReadDeadline(time.Now().Add(10*time.Second)))
	receive := func() {
		frame := make([]byte, 15)
		_, err := io.ReadFull(far, frame)
		assert.NoError(t, err)
		assert.Equal(t, "meanwhile", string(frame[6:]))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		until(c.gathering.Load)
		submit()
		receive()
		_, err := far.Write([]byte("x")) // ends the poll
		assert.NoError(t, err)
	}()
	require.True(t, c.poll())
	<-done
	require.False(t, c.gathering.Load())

	c.gathering.Store(true)
	submit()
	c.ungather()
	receive()
}

func TestACallerThatPollsServesOnlyItself(t *testing.T) {
	c, _ := pollable(t, Config{})
	for _, who := range []uint32{led, standing} {
		gathering := false
		c.look = func(fd uintptr) bool {
			gathering = c.gathering.Load()
			return c.lookOnce(fd)
		}
		c.reading.Store(who)
		c.pollSkip = 0
		require.False(t, c.poll())
		require.Equal(t, who == standing, gathering)
	}
}

func TestPollsInVainBecomeRare(t *testing.T) {
	const limit = 10 * time.Microsecond
	c, _ := pollable(t, Config{BusyPoll: limit})
	for _, pause := range []int{1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1023} {
		start := time.Now()
		require.False(t, c.poll())
		require.GreaterOrEqual(t, time.Since(start), limit)
		require.Equal(t, pause, c.pollSkip)
		for left := pause - 1; left >= 0; left-- {
			require.False(t, c.poll())
			require.Equal(t, left, c.pollSkip)
		}
	}
	require.Zero(t, busypoll.Polling())
	require.Zero(t, c.reads.Load())
}

func TestPollLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c, _ := pollable(t, Config{BusyPoll: time.Millisecond})
	var turns atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	until(func() bool { return turns.Load() > 0 })
	before := turns.Load()
	require.False(t, c.poll())
	assert.Greater(t, turns.Load(), before+1)
	close(stop)
	<-done
}

// ask queues n requests of callers that are never going to run, and returns them.
func ask(t *testing.T, c *conn, n int) []*slot {
	t.Helper()
	slots := make([]*slot, n)
	for i := range slots {
		s, err := c.enqueue([]byte("request"), 0, func(s *slot) { s.V.done = make(chan struct{}, 1) })
		require.NoError(t, err)
		slots[i] = s
	}
	return slots
}

// answer gives c the replies to the slots' requests.
func answer(t *testing.T, c *conn, slots []*slot) {
	t.Helper()
	var b []byte
	for _, s := range slots {
		var err error
		b, err = c.b.format.Append(b, s.ID(), []byte("reply"))
		require.NoError(t, err)
	}
	used, lent, err := c.dispatch(b)
	require.NoError(t, err)
	require.False(t, lent)
	require.Equal(t, len(b), used)
}

func TestCallersThatHaveNotRunAreCounted(t *testing.T) {
	c, far := pollable(t, Config{})
	c.raw = c.in
	c.token.Store(idle) // there is no flusher
	go func() { _, _ = io.Copy(io.Discard, far) }()
	before := c.countUntaken() // the helper's, sent past the counters
	expect := func(n int, when string) {
		t.Helper()
		require.Equal(t, n, c.countUntaken()-before, when)
	}
	slots := ask(t, c, 50)
	expect(0, "queued")
	c.sendQueued()
	expect(0, "with the peer")
	answer(t, c, slots[:20])
	expect(20, "answered")
	more := ask(t, c, 5)
	expect(20, "others queued")
	c.gathering.Store(true)
	c.holding = c.seize()
	held := ask(t, c, 7) // as a callback does
	expect(20, "others submitted under the token")
	c.ungather()
	expect(20, "others with the peer")
	for _, s := range slots[:20] {
		c.release(s)
	}
	expect(0, "taken")
	_, won, _ := c.table.Cancel(held[0].ID())
	require.True(t, won)
	c.release(held[0])
	expect(0, "given up")
	answer(t, c, held[:1])
	expect(0, "answered late")
	answer(t, c, append(append(slots[20:], more...), held[1:]...))
	expect(41, "all answered")
}

func TestWhoPollsYieldsToACrowdThatDoesNotRun(t *testing.T) {
	for name, c := range map[string]struct {
		woken  int
		yields bool
	}{"crowd": {stranded, true}, "few": {stranded - 2, false}} {
		t.Run(name, func(t *testing.T) {
			conn, far := pollable(t, Config{BusyPoll: MaxBusyPoll})
			conn.raw = conn.in
			conn.token.Store(idle)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			conn.gathering.Store(true) // as after a crowd
			waiting := ask(t, conn, c.woken+1)
			conn.sendQueued()
			answer(t, conn, waiting[:c.woken])
			require.False(t, conn.poll(), "one reply is still due")
			require.Equal(t, c.yields, conn.yields.Load() > 0)
			if !c.yields {
				return
			}
			require.GreaterOrEqual(t, conn.untaken, stranded)

			yields := conn.yields.Load()
			_, err := far.Write([]byte{0}) // of the next reply
			require.NoError(t, err)
			until(func() bool { conn.pollSkip = 0; return conn.poll() })
			require.Greater(t, conn.yields.Load(), yields, "before it reads, too")
			for _, s := range waiting[:c.woken] {
				conn.release(s)
			}
			conn.serve()
			require.Less(t, conn.untaken, stranded, "they have run: that was the last time")
			yields = conn.yields.Load()
			conn.serve()
			require.Equal(t, yields, conn.yields.Load())

			conn.untaken = stranded
			answer(t, conn, waiting[c.woken:])
			require.Zero(t, conn.untaken, "one caller is no crowd")
		})
	}
}

func TestWhoPollsKeepsTheProcessorWhileTheCrowdSubmits(t *testing.T) {
	c, far := pollable(t, Config{})
	c.raw = c.in
	c.token.Store(idle)
	go func() { _, _ = io.Copy(io.Discard, far) }()
	c.untaken = 2 * stranded
	ask(t, c, stranded)
	c.serve()
	require.Equal(t, stranded, c.untaken)
	require.Zero(t, c.yields.Load())
	ask(t, c, 1)
	c.serve()
	require.Equal(t, stranded-1, c.untaken)
	c.serve()
	require.Zero(t, c.yields.Load(), "no crowd is left")
}

func TestNoPollWithoutReason(t *testing.T) {
	c, far := pollable(t, Config{})
	_, err := far.Write([]byte("x"))
	require.NoError(t, err)
	in := c.in
	c.in = nil
	require.False(t, c.poll(), "it cannot be polled")
	c.in = in
	for range c.b.pollers {
		require.True(t, busypoll.Enter(c.b.pollers))
	}
	require.False(t, c.poll(), "others poll")
	for range c.b.pollers {
		busypoll.Leave()
	}
	s := c.table.Acquire()
	c.table.Discard(s)
	require.Zero(t, c.pollSkip)
	until(func() bool { return c.poll() })

	idle := newConn(c.link)
	idle.in = in
	require.False(t, idle.poll(), "nothing is due") // reading would panic: there is no buffer
}

func TestPollLeavesTheEndToTheRead(t *testing.T) {
	for name, end := range map[string]func(c *conn, far net.Conn){
		"peer closes": func(_ *conn, far net.Conn) { far.Close() },
		"reset":       func(_ *conn, far net.Conn) { far.(*net.TCPConn).SetLinger(0); far.Close() },
		"we close":    func(c *conn, _ net.Conn) { c.net.Close() },
		"interrupted": func(c *conn, _ net.Conn) { c.interrupt() },
	} {
		t.Run(name, func(t *testing.T) {
			c, far := pollable(t, Config{})
			c.pollFor = time.Hour
			end(c, far)
			require.False(t, c.poll())
			require.Zero(t, c.pollPause, "that was not in vain")
			if name == "interrupted" {
				c.fill()
				require.NoError(t, c.readErr)
				require.EqualValues(t, 1, c.forgiven)
				return
			}
			c.fill()
			require.Error(t, c.readErr)
		})
	}
}

func TestRepliesArePolled(t *testing.T) {
	addr := newPeer(t, echo).addr()
	for name, c := range map[string]struct {
		cfg    Config
		polled bool
	}{
		"default": {Config{BusyPoll: time.Millisecond}, rawio.Available},
		"off":     {Config{BusyPoll: -1}, false},
		"wrapped": {Config{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return plainWrapped{wrapped{nc}}, err // its Read may do more than read
		}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Addrs = []string{addr}
			b := newBroker(t, c.cfg)
			for range 100 {
				reply, err := b.Send(bg, []byte(name))
				require.NoError(t, err)
				require.Equal(t, name, string(reply))
			}
			if !c.polled {
				require.Nil(t, onlyConn(t, b).in)
				require.Zero(t, b.Stats().Polled)
				return
			}
			until(func() bool {
				_, err := b.Send(bg, nil)
				require.NoError(t, err)
				return b.Stats().Polled > 0
			})
			require.LessOrEqual(t, b.Stats().Polled, b.Stats().Reads)
		})
	}
}
