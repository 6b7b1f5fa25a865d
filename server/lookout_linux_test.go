package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/epoll"
)

// watching returns a loop of n connections whose epoll instance watches a pipe, and the end of the
// pipe that makes the instance tell something.
func watching(t *testing.T, n int, busyPoll time.Duration) (c *Conn, l *loop, told int) {
	t.Helper()
	c, _ = offline(t, Config{Handler: HandlerFunc(echo), Loops: 1})
	c.srv.busyPoll, c.srv.pollers = busyPoll, 1
	l = c.loop
	l.conns.Store(int32(n))
	instance, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	t.Cleanup(func() {
		for _, fd := range []int{instance, pipe[0], pipe[1]} {
			assert.NoError(t, unix.Close(fd))
		}
	})
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pipe[0])}
	require.NoError(t, unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, pipe[0], &event))
	l.epoll, l.pauses = epoll.Instance(instance), true
	return c, l, pipe[1]
}

func TestALoopWithAFewConnectionsStaysAwake(t *testing.T) {
	for name, end := range map[string]func(l *loop, told int) error{
		"until it is told something": func(_ *loop, told int) error { _, err := unix.Write(told, []byte{1}); return err },
		"until it is asked":          func(l *loop, _ int) error { l.asked.Store(1); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, l, told := watching(t, 2, time.Hour)
			l.vain.Vain()
			require.True(t, l.vain.Skip(), "one that was in vain has the next one left out")
			done := make(chan struct{})
			go func() {
				defer close(done)
				assert.True(t, c.poll())
			}()
			waitFor(t, "the polling", func() bool { return busypoll.Polling() > 0 })
			require.NoError(t, end(l, told))
			<-done
			assert.Zero(t, busypoll.Polling())
			assert.Equal(t, busypoll.Pause{}, l.vain)
			assert.True(t, name == "until it is asked" || l.epoll.Ready(), "the event is the event loop's")
		})
	}
}

func TestALoopStaysAwakeForBusyPollOnly(t *testing.T) {
	c, l, _ := watching(t, packSize, time.Millisecond)
	began := time.Now()
	require.True(t, c.poll())
	assert.GreaterOrEqual(t, time.Since(began), time.Millisecond)
	assert.True(t, l.vain.Skip(), "the next one is left out")
	assert.False(t, l.vain.Skip())
}

// With workers a loop does not stay with a connection that is alone: it could not see replies.
func TestALoopWithWorkersStaysAwake(t *testing.T) {
	for name, turn := range map[string]func(c *Conn){
		"after input":  func(c *Conn) { assert.True(t, c.poll()) },
		"after a wake": func(c *Conn) { assert.NoError(t, c.loop.wakeDone(nil, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, l, told := watching(t, 1, time.Hour)
			c.srv.workers, l.front = &workers{}, &front{srv: c.srv}
			defer func() { c.srv.workers = nil }()
			l.last, l.alone, l.waking = c, aloneMax, true
			done := make(chan struct{})
			go func() {
				defer close(done)
				turn(c)
			}()
			waitFor(t, "the polling", func() bool { return busypoll.Polling() > 0 })
			_, err := unix.Write(told, []byte{1})
			require.NoError(t, err)
			<-done
			assert.False(t, l.stayed)
			assert.Zero(t, l.asked.Load())
		})
	}
}

// What the event loop was asked for is counted off once, whether its connection was there or not:
// else it would never stay awake again, or not see that it is asked.
func TestWhatALoopIsAskedForIsCountedOff(t *testing.T) {
	onLoops(t)
	for _, workers := range []int{0, 2} {
		s := launch(t, Config{Workers: workers, Loops: 1, BusyPoll: -1})
		for range 3 {
			dial(t, s).call(1, []byte("hello"))
		}
		l := s.front.loops[0]
		for i, c := range s.conns.of(l) {
			for range 100 {
				s.wake(c)
			}
			c.link.wake() // beside another one
			if i > 0 {
				s.cut(c, reasonMemory)
				c.link.wake() // comes when the connection has gone
			}
		}
		waitFor(t, "the loop", func() bool { return l.asked.Load() == 0 && l.conns.Load() == 1 })
	}
}

// Where nobody or many use the loop, it sleeps: this would take an hour.
func TestALoopSleepsAtOnce(t *testing.T) {
	for name, set := range map[string]func(c *Conn, l *loop){
		"no connection":             func(_ *Conn, l *loop) { l.conns.Store(0) },
		"many connections":          func(_ *Conn, l *loop) { l.conns.Store(packSize + 1) },
		"many on other loops":       func(c *Conn, _ *loop) { c.srv.conns.conns = make([]*Conn, packSize+1) },
		"an unknown epoll instance": func(_ *Conn, l *loop) { l.pauses = false },
		"no polling":                func(c *Conn, _ *loop) { c.srv.busyPoll = 0 },
		"no processor to spare":     func(c *Conn, _ *loop) { c.srv.pollers = 0 },
		"in vain before":            func(_ *Conn, l *loop) { l.vain.Vain() },
	} {
		t.Run(name, func(t *testing.T) {
			c, l, _ := watching(t, 2, time.Hour)
			conns := c.srv.conns.conns
			set(c, l)
			require.True(t, c.poll())
			c.srv.conns.conns = conns
			assert.Zero(t, busypoll.Polling())
		})
	}
}
