package engine

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pollable returns a connection that nobody reads but the test, with a request in
// flight, and the peer's end of it.
func pollable(t *testing.T, cfg Config) (*conn, net.Conn) {
	t.Helper()
	if !hasRawIO {
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
	require.Zero(t, pollers.Load())
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
	require.Zero(t, pollers.Load())
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

func TestNoPollWithoutReason(t *testing.T) {
	c, far := pollable(t, Config{})
	_, err := far.Write([]byte("x"))
	require.NoError(t, err)
	in := c.in
	c.in = nil
	require.False(t, c.poll(), "it cannot be polled")
	c.in = in
	pollers.Add(c.b.pollers)
	require.False(t, c.poll(), "others poll")
	pollers.Add(-c.b.pollers)
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
		"default": {Config{BusyPoll: time.Millisecond}, hasRawIO},
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
