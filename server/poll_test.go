package server

import (
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/racedetector"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/taskid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unhurried is a stay that does not end in the middle because the machine is busy.
const unhurried = 200 * time.Millisecond

// alone returns a connection that its loop may stay with, for so long.
func alone(t *testing.T, cfg Config, busyPoll time.Duration) (*Conn, *scripted) {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = HandlerFunc(echo)
	}
	c, l := offline(t, cfg)
	c.srv.busyPoll, c.srv.pollers = busyPoll, 1
	for range aloneMin {
		c.loop.heard(c)
	}
	return c, l
}

// oneFrame is a request.
func oneFrame(t *testing.T, id uint32) []byte {
	t.Helper()
	b, err := (framing.Format{}).WithDefaults().Append(nil, taskid.ID(id), []byte("request"))
	require.NoError(t, err)
	return b
}

// feed gives the reads of l these pieces, one at a time, then nothing.
func feed(l *scripted, pieces ...[]byte) {
	l.onRead = func(p []byte) (int, error) {
		if len(pieces) == 0 {
			return 0, nil
		}
		n := copy(p, pieces[0])
		pieces = pieces[1:]
		return n, nil
	}
}

// pauses returns how many stays the loop of c leaves out, and spends them.
func pauses(c *Conn) (n int) {
	for c.loop.pause.Skip() {
		n++
	}
	return n
}

func TestTheLoopServesWhatComesDuringAStay(t *testing.T) {
	c, l := alone(t, Config{}, unhurried)
	for range 3 {
		c.loop.pause.Vain()
	}
	require.Equal(t, 7, pauses(c))
	one, two, three := oneFrame(t, 1), oneFrame(t, 2), oneFrame(t, 3)
	feed(l, one, append(two, three[:5]...), three[5:])
	require.True(t, c.poll())
	require.Equal(t, append(append(oneFrame(t, 1), oneFrame(t, 2)...), three...), l.out)
	counted := c.loop.counted()
	require.EqualValues(t, 3, counted.Polled)
	require.EqualValues(t, 3, counted.Reads)
	require.EqualValues(t, 3, counted.Replies)
	require.True(t, c.loop.stayed)
	require.Equal(t, 1, pauses(c), "the successes ended the pauses; then one was in vain")
	require.Zero(t, busypoll.Polling())
}

func TestTheLoopDoesNotStayWithoutReason(t *testing.T) {
	for name, change := range map[string]func(c *Conn){
		"switched off":    func(c *Conn) { c.srv.busyPoll = 0 },
		"not alone":       func(c *Conn) { c.loop.alone = aloneMin - 2 },
		"another's input": func(c *Conn) { c.loop.heard(&Conn{}) },
		"in vain before":  func(c *Conn) { c.loop.pause.Vain() },
		"asked":           func(c *Conn) { c.loop.asked.Store(1) },
		"others poll":     func(c *Conn) { c.srv.pollers = 0 },
		"unsent replies":  func(c *Conn) { c.unsent = 1 },
		"blocked":         func(c *Conn) { c.block = blockShared },
		"lingering":       func(c *Conn) { c.raise(phaseLingering) },
		"to be closed":    func(c *Conn) { c.raise(phaseQuieting) },
	} {
		t.Run(name, func(t *testing.T) {
			c, l := alone(t, Config{}, time.Millisecond)
			change(c)
			l.onRead = func([]byte) (int, error) { t.Error("it reads"); return 0, nil }
			require.True(t, c.poll())
			require.False(t, c.loop.stayed)
			require.Zero(t, busypoll.Polling())
			if name != "asked" && name != "in vain before" {
				return
			}
			l.onRead = nil
			c.loop.asked.Store(0)
			require.True(t, c.poll())
			require.True(t, c.loop.stayed, "that was for once")
		})
	}
}

func TestAStayEnds(t *testing.T) {
	const limit = 20 * time.Microsecond
	endless := func(l *scripted, b []byte) {
		l.onRead = func(p []byte) (int, error) { return copy(p, b), nil }
	}
	for name, arrange := range map[string]func(c *Conn, l *scripted){
		"in vain": func(*Conn, *scripted) {},
		"although input goes on": func(_ *Conn, l *scripted) {
			endless(l, oneFrame(t, 1))
		},
		"asked": func(c *Conn, l *scripted) {
			c.srv.busyPoll = time.Hour
			endless(l, oneFrame(t, 1))
			l.onWrite = func() { c.srv.wake(c) }
		},
		"cut": func(c *Conn, l *scripted) {
			c.srv.busyPoll = time.Hour
			l.onRead = func([]byte) (int, error) { c.srv.cut(c, reasonMemory); return 0, nil }
		},
		"replies are not taken": func(c *Conn, l *scripted) {
			c.srv.busyPoll = time.Hour
			endless(l, oneFrame(t, 1))
			l.onWrite = func() { l.left = 1 }
		},
		"the peer closes": func(c *Conn, l *scripted) {
			c.srv.busyPoll = time.Hour
			l.onRead = func([]byte) (int, error) { return 0, io.EOF }
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := alone(t, Config{}, limit)
			arrange(c, l)
			began := time.Now()
			require.True(t, c.poll(), "the event loop goes on with it")
			require.True(t, c.loop.stayed)
			require.Zero(t, busypoll.Polling())
			switch name {
			case "in vain":
				require.GreaterOrEqual(t, time.Since(began), limit)
				require.Equal(t, 1, pauses(c))
			case "although input goes on":
				require.GreaterOrEqual(t, time.Since(began), stayPolls*limit)
				require.Zero(t, pauses(c))
			}
		})
	}
}

func TestAStayClosesTheConnectionThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		read func(p []byte) (int, error)
		why  reason
	}{
		"reset":     {func([]byte) (int, error) { return 0, syscall.ECONNRESET }, reasonReset},
		"dead":      {func([]byte) (int, error) { return 0, syscall.ETIMEDOUT }, reasonDead},
		"bad frame": {func(p []byte) (int, error) { return copy(p, []byte{0, 1, 0}), nil }, reasonBadLength},
	} {
		t.Run(name, func(t *testing.T) {
			conn, l := alone(t, Config{}, time.Hour)
			l.onRead = c.read
			require.False(t, conn.poll())
			require.Equal(t, c.why, reason(conn.why.Load()))
			conn.end(nil)
			require.EqualValues(t, 1, conn.srv.failures.closed[c.why].Load())
			require.Nil(t, conn.loop.last, "the loop keeps nothing of it")
			require.Zero(t, busypoll.Polling())
		})
	}
}

func TestAPanicDuringAStayFailsItsRequestOnly(t *testing.T) {
	c, l := alone(t, Config{
		Handler:    HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) { panic("handler") }),
		ErrorReply: func(_ *Conn, dst, _ []byte, _ error) []byte { return append(dst, "failed"...) },
	}, unhurried)
	feed(l, oneFrame(t, 1), oneFrame(t, 2))
	require.True(t, c.poll())
	require.EqualValues(t, 2, c.loop.counted().Replies)
	require.EqualValues(t, 2, c.srv.failures.panics.Load())
	require.Zero(t, busypoll.Polling())
}

func TestStaysInVainBecomeRare(t *testing.T) {
	p := poller{alone: aloneMin, need: aloneMin}
	require.True(t, p.mayStay())
	p.pause.Vain()
	require.False(t, p.mayStay())
	require.True(t, p.mayStay())
}

func TestAConnectionThatHadToWaitMakesStaysRare(t *testing.T) {
	p := poller{need: aloneMin}
	one, two := &Conn{}, &Conn{}
	hearUntilStay := func(want int) {
		t.Helper()
		for n := 1; ; n++ {
			p.heard(one)
			if p.mayStay() {
				require.Equal(t, want, n)
				return
			}
			require.Less(t, n, want)
		}
	}
	hearUntilStay(aloneMin)
	p.heard(two)
	hearUntilStay(aloneMin) // nobody had waited
	p.stayed = true
	p.heard(two)
	hearUntilStay(2 * aloneMin)
	p.stayed = true
	p.heard(two)
	hearUntilStay(4 * aloneMin)
	for range 4 * aloneMin {
		p.stayed = true
		p.heard(one) // nobody else: it is worth more again
	}
	require.Equal(t, aloneMin, p.need)
	p.need, p.stayed = aloneMax, true
	p.heard(two)
	require.Equal(t, aloneMax, p.need)
}

func TestAStayLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c, _ := alone(t, Config{}, unhurried)
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
	waitFor(t, "the other", func() bool { return turns.Load() > 0 })
	before := turns.Load()
	require.True(t, c.poll())
	require.True(t, c.loop.stayed)
	assert.Greater(t, turns.Load(), before+1)
	close(stop)
	<-done
}

func TestPollTime(t *testing.T) {
	if !rawio.Available {
		t.Skip("no polling on this system")
	}
	for name, c := range map[string]struct {
		cfg        Config
		processors int
		want       time.Duration
	}{
		"default":       {Config{}, 2, DefaultBusyPoll},
		"set":           {Config{BusyPoll: time.Microsecond}, 8, time.Microsecond},
		"off":           {Config{BusyPoll: -1}, 2, 0},
		"workers":       {Config{Workers: 1}, 2, DefaultBusyPoll},
		"one processor": {Config{}, 1, 0},
	} {
		cfg := c.cfg.withDefaults()
		assert.Equal(t, c.want, pollTime(&cfg, c.processors), name)
	}
}

func TestRequestsArePolled(t *testing.T) {
	polls := rawio.Available && runtime.GOMAXPROCS(0) > 1 && *frontFlag != "streams"
	for name, c := range map[string]struct {
		cfg   Config
		polls bool
	}{
		"on":  {Config{BusyPoll: MaxBusyPoll}, polls},
		"off": {Config{BusyPoll: -1}, false},
		// A loop with workers only looks whether there is something to read.
		"workers": {Config{BusyPoll: MaxBusyPoll, Workers: 2}, polls && *frontFlag == "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			if racedetector.On && c.polls && c.cfg.Workers > 0 {
				t.Skip("with the race detector a round trip takes longer than a stream polls")
			}
			s := launch(t, c.cfg)
			peer := dial(t, s)
			id := uint32(0)
			for ; id < 300 || c.polls && s.Stats().Polled == 0; id++ {
				peer.call(id, []byte("payload"))
			}
			st := s.Stats()
			require.EqualValues(t, id, st.Requests)
			require.LessOrEqual(t, st.Polled, st.Reads)
			if !c.polls {
				require.Zero(t, st.Polled)
			}
		})
	}
}

func TestOthersAreServedWhileTheLoopStays(t *testing.T) {
	s := launch(t, Config{Loops: 1})
	busy := dial(t, s)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for id := uint32(1); ; id++ {
			select {
			case <-stop:
				return
			default:
				busy.call(id, []byte("busy"))
			}
		}
	}()
	eventually(t, s, "requests", func(st Stats) bool { return st.Requests > 1000 })
	for id := range uint32(50) {
		dial(t, s).call(id, []byte("another"))
	}
	close(stop)
	<-done
	require.Zero(t, s.Stats().Closed.Internal)
}
