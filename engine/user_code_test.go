package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// What these tests hold is that code of the user's, wherever the broker calls it,
// can stop nothing but itself. See callback_test.go for the callbacks of replies.

// patience bounds what must happen sooner or later. Only a test that fails spends it.
const patience = 20 * time.Second

// failuresAtOnce is how many callbacks of failed calls run at once.
const failuresAtOnce = 64

// mustReceive waits for a value and makes a failure of a hang.
func mustReceive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// mustReturn calls f, which must come back.
func mustReturn[T any](t *testing.T, what string, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	return mustReceive(t, done, what)
}

// breathe is what a loop does that repeats something for the i-th time in vain. Now and
// then it lets the processor idle, since while all are busy the runtime looks at the
// network only every 10 ms.
func breathe(i int) {
	if i%16 != 15 {
		runtime.Gosched()
		return
	}
	<-time.After(100 * time.Microsecond)
}

// mustCome is until with a bound. It is not for bubbles, where time stands still
// as long as anybody runs.
func mustCome(t *testing.T, what string, cond func() bool) {
	t.Helper()
	began := time.Now()
	for i := 0; !cond(); i++ {
		if time.Since(began) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
		breathe(i)
	}
}

// turnstile blocks a user's code that waits for open. A test releases it in a cleanup that comes before
// that of its broker, so that a failure does not become a hang.
type turnstile struct {
	open chan struct{}
	once sync.Once
}

func newTurnstile() *turnstile { return &turnstile{open: make(chan struct{})} }

func (g *turnstile) release() { g.once.Do(func() { close(g.open) }) }

// journal is a log to be looked at.
type journal struct {
	mu    sync.Mutex
	lines []slog.Record
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, r.Clone())
	return nil
}

// about counts the lines of at least this level whose message has the word.
func (j *journal) about(level slog.Level, word string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.lines {
		if r.Level >= level && strings.Contains(r.Message, word) {
			n++
		}
	}
	return n
}

// allServed makes n calls one after another, and none may fail.
func allServed(t *testing.T, b *Broker, n int) {
	t.Helper()
	require.NoError(t, mustReturn(t, "calls that succeed", func() error {
		for range n {
			if reply, err := b.Send(bg, []byte("mine")); err != nil || string(reply) != "mine" {
				return fmt.Errorf("reply %q, error %w", reply, err)
			}
		}
		return nil
	}))
}

// someServed repeats calls until n have succeeded.
func someServed(t *testing.T, b *Broker, n int) {
	t.Helper()
	last := errors.New("no call ended")
	var mu sync.Mutex
	done := make(chan struct{})
	go func() {
		defer close(done)
		began, ok := time.Now(), 0
		for i := 0; ok < n && time.Since(began) < 2*patience; i++ {
			_, err := b.Send(bg, []byte("mine"))
			if err == nil {
				ok++
				continue
			}
			mu.Lock()
			last = err
			mu.Unlock()
			breathe(i)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("the broker serves nobody; the last error: %v", last)
	}
}

// noReply marks a request that gets no reply.
var noReply = []byte("quiet")

// unlessQuiet answers every request but the quiet ones.
func unlessQuiet(nc net.Conn, f framing.Frame) {
	if string(f.Payload) != string(noReply) {
		frame, _ := framing.Append(nil, f.ID, f.Payload)
		nc.Write(frame)
	}
}

// pipes dials net.Pipe, so that time can be virtual, and cuts what it has dialled.
type pipes struct {
	serve func(net.Conn)

	mu    sync.Mutex
	ends  []net.Conn
	dials int
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.mu.Lock()
	p.ends = append(p.ends, server)
	p.dials++
	p.mu.Unlock()
	go p.serve(server)
	return client, nil
}

// cut ends every connection at the peer's side.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.ends {
		nc.Close()
	}
	p.ends = nil
}

func (p *pipes) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// timedOut makes a call that gets no reply and says how long its timeout took.
func timedOut(b *Broker) time.Duration {
	began := time.Now()
	if _, err := b.Send(bg, noReply); !errors.Is(err, ErrTimeout) {
		return -1
	}
	return time.Since(began)
}

// timeoutsInTime makes calls that time out, n at once. Only for bubbles.
func timeoutsInTime(t *testing.T, b *Broker, n int, want time.Duration) {
	t.Helper()
	took := make(chan time.Duration, n)
	for range n {
		go func() { took <- timedOut(b) }()
	}
	for range n {
		d := mustReceive(t, took, "a timeout")
		assert.GreaterOrEqual(t, d, want)
		assert.LessOrEqual(t, d, want+time.Second)
	}
}

func TestABlockedCallbackOfATimeoutDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 300 * time.Millisecond
		p := &pipes{serve: answerWith(unlessQuiet)}
		b := bubbleBroker(t, Config{
			Addrs: []string{"pipe:1", "pipe:2"}, DialContext: p.dial, ReadTimeout: timeout,
		})
		g := newTurnstile()
		t.Cleanup(g.release)
		inside := make(chan error, 4)
		for range cap(inside) {
			require.NoError(t, b.Go(bg, noReply, func(_ []byte, err error) {
				inside <- err
				<-g.open
			}))
		}
		for range cap(inside) {
			require.ErrorIs(t, mustReceive(t, inside, "the callbacks"), ErrTimeout)
		}
		allServed(t, b, 4)
		timeoutsInTime(t, b, 8, timeout)
		allServed(t, b, 4)
	})
}

func TestABlockedCallbackOfALostConnectionStopsNeitherReconnectingNorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: answerWith(unlessQuiet)}
		b := bubbleBroker(t, Config{
			DialContext: p.dial, BackoffBase: time.Millisecond, ShutdownTimeout: time.Second,
		})
		g := newTurnstile()
		t.Cleanup(g.release)
		inside := make(chan error, 1)
		require.NoError(t, b.Go(bg, noReply, func(_ []byte, err error) {
			inside <- err
			<-g.open
		}))
		synctest.Wait()
		p.cut()
		require.ErrorIs(t, mustReceive(t, inside, "the callback"), ErrConnLost)
		<-time.After(time.Second) // virtual
		allServed(t, b, 20)

		began := time.Now()
		err := mustReturn(t, "Close", b.Close)
		require.ErrorIs(t, err, ErrTimeout)
		assert.ErrorContains(t, err, "callback")
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		g.release()
		closesInTheEnd(t, b)
	})
}

// crowdOfFailures are calls whose callbacks block.
type crowdOfFailures struct {
	gate    *turnstile
	ran     []atomic.Int32 // how often each callback was called
	begun   atomic.Int64
	running atomic.Int64
	peak    atomic.Int64
}

func newCrowd(n int) *crowdOfFailures {
	return &crowdOfFailures{gate: newTurnstile(), ran: make([]atomic.Int32, n)}
}

func (c *crowdOfFailures) callback(i int) func([]byte, error) {
	return func([]byte, error) {
		c.ran[i].Add(1)
		c.begun.Add(1)
		now := c.running.Add(1)
		for peak := c.peak.Load(); now > peak && !c.peak.CompareAndSwap(peak, now); {
			peak = c.peak.Load()
		}
		<-c.gate.open
		c.running.Add(-1)
	}
}

// eachOnce checks that the first n callbacks ran exactly once.
func (c *crowdOfFailures) eachOnce(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		require.EqualValues(t, 1, c.ran[i].Load(), "callback %d", i)
	}
	require.EqualValues(t, n, c.begun.Load())
}

// answerLate answers each request after all timeouts of a test, so that no ID stays
// given out. Only for bubbles.
func answerLate(nc net.Conn) {
	type reply struct {
		due   time.Time
		frame []byte
	}
	replies, gone := make(chan reply, 1000), make(chan struct{})
	defer close(gone)
	go func() { // alone: a goroutine that waits for a lock stops the bubble's time
		for {
			select {
			case r := <-replies:
				select {
				case <-time.After(time.Until(r.due)): // virtual
					nc.Write(r.frame)
				case <-gone:
				}
			case <-gone:
				return
			}
		}
	}()
	answerWith(func(_ net.Conn, f framing.Frame) {
		frame, _ := framing.Append(nil, f.ID, f.Payload)
		replies <- reply{time.Now().Add(3 * time.Second), frame}
	})(nc)
}

// A request that failed keeps its place until its callback has returned: else a
// user whose callbacks block would fill the memory with those that wait.
func TestCallbacksOfFailuresRun64AtOnceAndTheRestKeepTheirPlaces(t *testing.T) {
	const n = 100
	for _, how := range []string{"timeout", "cancellation", "loss"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// All replies are late, so only callbacks keep places in the end.
				p := &pipes{serve: answerLate}
				cfg := Config{MaxInFlight: n, QueueSize: n, DialContext: p.dial}
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				fail := cancel
				switch how {
				case "timeout":
					cfg.ReadTimeout = time.Second
					ctx, fail = bg, func() {}
				case "loss":
					ctx, fail = bg, p.cut
				}
				b := bubbleBroker(t, cfg)
				crowd := newCrowd(n)
				t.Cleanup(crowd.gate.release)
				synctest.Wait()
				for i := range n {
					require.NoError(t, b.Go(ctx, []byte("x"), crowd.callback(i)))
				}
				synctest.Wait()
				fail()
				<-time.After(10 * time.Second) // virtual
				synctest.Wait()
				assert.EqualValues(t, failuresAtOnce, crowd.running.Load())
				assert.EqualValues(t, failuresAtOnce, crowd.begun.Load())
				nothing := func([]byte, error) {}
				require.ErrorIs(t, b.Go(bg, []byte("x"), nothing), ErrQueueFull)

				crowd.gate.release()
				synctest.Wait()
				crowd.eachOnce(t, n)
				assert.EqualValues(t, failuresAtOnce, crowd.peak.Load())
				require.NoError(t, b.Go(bg, []byte("x"), nothing))
			})
		})
	}
}

func TestCallbacksThatWaitAreBoundedAcrossReconnects(t *testing.T) {
	const n = 20
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: drainOnly}
		b := bubbleBroker(t, Config{
			DialContext: p.dial, MaxInFlight: n, QueueSize: n, RequestTimeout: -1, ReadTimeout: -1,
			BackoffBase: time.Millisecond, BackoffMax: 10 * time.Millisecond,
		})
		crowd := newCrowd(10 * n)
		t.Cleanup(crowd.gate.release)
		accepted := 0
		for round := range 10 {
			for {
				err := b.Go(bg, []byte("x"), crowd.callback(accepted))
				if err != nil {
					require.ErrorIs(t, err, ErrQueueFull, "round %d", round)
					break
				}
				accepted++
				require.LessOrEqual(t, accepted, n, "round %d", round)
			}
			synctest.Wait()
			p.cut()
			<-time.After(time.Second) // virtual
			synctest.Wait()
			require.GreaterOrEqual(t, p.dialled(), round+2, "reconnecting goes on")
		}
		require.Equal(t, n, accepted)
		crowd.gate.release()
		synctest.Wait()
		crowd.eachOnce(t, n)
		require.NoError(t, b.Go(bg, []byte("x"), crowd.callback(n)))
	})
}

func TestCloseGivesUpOnBlockedCallbacksAndTheyAllRunInTheEnd(t *testing.T) {
	const n = 2 * failuresAtOnce
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: drainOnly}
		b := bubbleBroker(t, Config{DialContext: p.dial, ShutdownTimeout: time.Second})
		crowd := newCrowd(n)
		t.Cleanup(crowd.gate.release)
		for i := range n {
			require.NoError(t, b.Go(bg, []byte("x"), crowd.callback(i)))
		}
		synctest.Wait()
		began := time.Now()
		err := mustReturn(t, "Close", b.Close)
		require.ErrorIs(t, err, ErrTimeout)
		assert.ErrorContains(t, err, "callback")
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		assert.LessOrEqual(t, crowd.peak.Load(), int64(failuresAtOnce))
		crowd.gate.release()
		closesInTheEnd(t, b)
		crowd.eachOnce(t, n)
	})
}

// closesInTheEnd closes a broker once more, now that nothing is in its way. Only for
// bubbles.
func closesInTheEnd(t *testing.T, b *Broker) {
	t.Helper()
	require.NoError(t, mustReturn(t, "Close", b.Close))
	<-time.After(time.Second) // virtual: for what the first Close left waiting
}

// stubborn is a connection whose Close blocks.
type stubborn struct {
	net.Conn
	closing *atomic.Int64
	gate    *turnstile
}

func (s stubborn) Close() error {
	s.closing.Add(1)
	<-s.gate.open
	return s.Conn.Close()
}

func TestAConnectionWhoseCloseBlocksHoldsUpNothingElse(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, how := range []string{"the peer closes", "a write times out"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var closing, dials, told atomic.Int64
				g := newTurnstile()
				first := &pipes{serve: answerWith(unlessQuiet)}
				if how == "a write times out" {
					first.serve = func(net.Conn) {} // reads nothing
				}
				later := &pipes{serve: answerWith(unlessQuiet)}
				dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
					from := later
					if addr == "pipe:1" && dials.Add(1) == 1 {
						from = first
					}
					nc, err := from.dial(ctx, network, addr)
					return stubborn{nc, &closing, g}, err
				}
				b := bubbleBroker(t, Config{
					Addrs: []string{"pipe:1", "pipe:2"}, DialContext: dial, ReadTimeout: timeout,
					WriteTimeout: time.Second, BackoffBase: time.Millisecond, ShutdownTimeout: time.Second,
				})
				t.Cleanup(g.release)
				t.Cleanup(first.cut)
				synctest.Wait()
				for range 8 { // some of them to either server
					require.NoError(t, b.Go(bg, noReply, func([]byte, error) { told.Add(1) }))
				}
				synctest.Wait()
				if how == "the peer closes" {
					first.cut()
				}
				<-time.After(3 * time.Second) // virtual
				synctest.Wait()
				require.Positive(t, closing.Load(), "it was closed")
				require.NotZero(t, b.Stats().ConnsLost)
				require.GreaterOrEqual(t, dials.Load(), int64(2), "and dialled again")
				require.EqualValues(t, 8, told.Load(), "and who used it was told")
				allServed(t, b, 8)
				timeoutsInTime(t, b, 8, timeout)

				began := time.Now()
				_ = mustReturn(t, "Close", b.Close) // may report what it did not wait for
				assert.LessOrEqual(t, time.Since(began), 2*time.Second)
				g.release()
				closesInTheEnd(t, b)
			})
		})
	}
}

// stuckLog is a slog.Handler that never gets rid of a line.
type stuckLog struct {
	gate  *turnstile
	calls *atomic.Int64
}

func (l stuckLog) Enabled(context.Context, slog.Level) bool { return true }
func (l stuckLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l stuckLog) WithGroup(string) slog.Handler            { return l }

func (l stuckLog) Handle(context.Context, slog.Record) error {
	l.calls.Add(1)
	<-l.gate.open
	return nil
}

func TestALogThatBlocksHoldsUpNothing(t *testing.T) {
	const timeout = 300 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		g := newTurnstile()
		p := &pipes{serve: answerWith(unlessQuiet)}
		b := bubbleBroker(t, Config{
			DialContext: p.dial, ReadTimeout: timeout, Logger: slog.New(stuckLog{g, &calls}),
			BackoffBase: time.Millisecond, BackoffMax: 10 * time.Millisecond, ShutdownTimeout: time.Second,
		})
		t.Cleanup(g.release)
		for round := range 20 {
			allServed(t, b, 4)
			timeoutsInTime(t, b, 2, timeout)
			p.cut()
			<-time.After(time.Second) // virtual
			synctest.Wait()
			require.GreaterOrEqual(t, p.dialled(), round+2, "reconnecting goes on")
		}
		allServed(t, b, 4)
		require.Positive(t, calls.Load(), "it was asked to log")
		began := time.Now()
		_ = mustReturn(t, "Close", b.Close) // may report what it did not wait for
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		g.release()
		closesInTheEnd(t, b)
	})
}
