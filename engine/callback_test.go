package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/taskid"
)

// door stands before a peer: closed, it lets nobody in until it is opened.
type door struct {
	addr    string
	refuses bool // a closed door refuses; else it lets people wait

	mu   sync.Mutex
	open chan struct{} // closed while the door is open
}

func newDoor(addr string, refuses bool) *door {
	d := &door{addr: addr, refuses: refuses, open: make(chan struct{})}
	close(d.open)
	return d
}

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = make(chan struct{})
}

func (d *door) unlock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.open)
}

func (d *door) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	if d.refuses {
		select {
		case <-open:
		default:
			return nil, errors.New("connection refused")
		}
	}
	select {
	case <-open:
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", d.addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// chains are callbacks that each send the next request and insist on it, whatever
// the error.
type chains struct {
	b       *Broker
	req     []byte
	extra   bool // each callback insists on a second request, with nothing behind it
	stop    atomic.Bool
	replies atomic.Int64
	refused atomic.Int64 // with ErrQueueFull
	running sync.WaitGroup
}

func (c *chains) start(n int) {
	c.running.Add(n)
	for range n {
		go c.insist()
	}
}

func (c *chains) insist() {
	if !c.repeat(c.next) {
		c.running.Done()
	}
}

func (c *chains) next(_ []byte, err error) {
	if err == nil {
		c.replies.Add(1)
	}
	if c.extra {
		c.running.Add(1)
		c.insist()
		if !c.repeat(func([]byte, error) { c.running.Done() }) {
			c.running.Done()
		}
		return
	}
	c.insist()
}

// repeat repeats Go until it is accepted, or until the chains shall stop.
func (c *chains) repeat(fn func([]byte, error)) bool {
	for i := 0; !c.stop.Load(); i++ {
		err := c.b.Go(bg, c.req, fn)
		if err == nil {
			return true
		}
		if errors.Is(err, ErrQueueFull) || errors.Is(err, ErrNoPoolsAvailable) {
			c.refused.Add(1)
		}
		breathe(i)
	}
	return false
}

// end stops the chains and waits until each has.
func (c *chains) end(t *testing.T) {
	t.Helper()
	c.stop.Store(true)
	mustReturn(t, "the last callback", func() bool { c.running.Wait(); return true })
}

// The callbacks of a lost connection repeat Go, more of them than the queue takes,
// while there is no connection: the goroutine that would make one must not be among those
// that run them.
func TestCallbacksThatRepeatGoDoNotStopReconnecting(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		t.Run(fmt.Sprintf("server refuses=%t", refuses), func(t *testing.T) {
			p := newPeer(t, echo)
			d := newDoor(p.addr(), refuses)
			b := newBroker(t, Config{
				Addrs: []string{"server:1"}, DialContext: d.dial, QueueSize: 8, MaxInFlight: 64,
				BackoffBase: time.Millisecond, BackoffMax: 5 * time.Millisecond, DialTimeout: -1,
			})
			c := &chains{b: b, req: []byte("x")}
			t.Cleanup(func() { c.stop.Store(true) })
			ready(t, b)
			c.start(32)
			mustCome(t, "replies", func() bool { return c.replies.Load() > 100 })
			d.shut()
			mustCome(t, "the loss", func() bool { p.reset(); return b.Stats().ConnsLost > 0 })
			if refuses {
				before := b.Stats().DialErrors
				mustCome(t, "more dials", func() bool { return b.Stats().DialErrors > before+2 })
			} else {
				before := c.refused.Load()
				mustCome(t, "a full queue", func() bool { return c.refused.Load() > before+100 })
			}
			d.unlock()
			someServed(t, b, 20)
			before := c.replies.Load()
			mustCome(t, "more replies", func() bool { return c.replies.Load() > before+100 })
			c.end(t)
			allServed(t, b, 1)
		})
	}
}

// narrowConn gives a connection small socket buffers. What receives must have room for
// some packets of the loopback interface, of 64 KiB each, or TCP waits by its timers.
func narrowConn(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		_ = tc.SetReadBuffer(128 << 10)
		_ = tc.SetWriteBuffer(32 << 10)
	}
}

// narrowListener accepts connections with small socket buffers.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		narrowConn(nc)
	}
	return nc, err
}

// narrowPeer is a peer behind small socket buffers, and dialNarrow goes there.
func narrowPeer(t *testing.T, answer func(*peerConn, taskid.ID, []byte)) *peer {
	t.Helper()
	p := newPeer(t, answer)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.serve(narrowListener{ln})
	return p
}

func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err == nil {
		narrowConn(nc)
	}
	return nc, err
}

// The server reads no more while nobody reads its replies, so a callback on the
// reading goroutine that waits for room waits for itself.
func TestCallbacksThatRepeatGoWithLargeRequestsGoOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		chains int
		extra  bool
		want   int64
	}{
		{"one request each", 48, false, 150},
		{"two requests each", 12, true, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := narrowPeer(t, echo)
			b := newBroker(t, Config{
				Addrs: []string{p.addr()}, DialContext: dialNarrow, QueueSize: 8, MaxInFlight: 64,
				WriteTimeout: -1, ReadTimeout: -1, RequestTimeout: -1,
			})
			ready(t, b)
			all := &chains{b: b, req: make([]byte, 60<<10), extra: c.extra}
			t.Cleanup(func() { all.stop.Store(true) })
			if goroutine.Self() == 0 {
				// The first Go of a callback is not known: it waits until the reading goes on
				// elsewhere.
				c.want /= 10
			}
			all.start(c.chains)
			mustCome(t, "replies", func() bool { return all.replies.Load() >= c.want })
			all.end(t)
			allServed(t, b, 10)
		})
	}
}

// atOnce answers the first n requests in one write, and those after them singly.
func atOnce(n int) func(*peerConn, taskid.ID, []byte) {
	var mu sync.Mutex
	var frames []byte
	got := 0
	return func(c *peerConn, id taskid.ID, req []byte) {
		mu.Lock()
		defer mu.Unlock()
		if got++; got > n {
			c.reply(id, req)
			return
		}
		frames, _ = framing.Append(frames, id, req)
		if got == n {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.Write(frames)
		}
	}
}

// askEach sends n requests, by Go or in a batch, and returns at once. Of a batch it
// tells the end by closing the channel.
func askEach(
	t *testing.T, b *Broker, batch bool, n int, fn func(i int, reply []byte, err error),
) <-chan struct{} {
	t.Helper()
	ended := make(chan struct{})
	reqs := make([][]byte, n)
	for i := range reqs {
		reqs[i] = fmt.Appendf(nil, "request %d", i)
	}
	if batch {
		go func() {
			defer close(ended) // also if fn ended this goroutine
			_ = b.SendBatch(bg, reqs, fn)
		}()
		return ended
	}
	for i, req := range reqs {
		require.NoError(t, b.Go(bg, req, func(reply []byte, err error) { fn(i, reply, err) }))
	}
	close(ended)
	return ended
}

// callbackEndings are the ways in which a callback does not return.
var callbackEndings = map[string]func(){
	"panic":  func() { panic("the user's mistake") },
	"Goexit": runtime.Goexit,
}

// A reader that finds somebody else writing promises nothing. When that one has finished,
// what callbacks submit is written on the way, and that may leave no promise behind.
func TestAReaderThatCouldNotPromiseToWriteLeavesNoPromise(t *testing.T) {
	asked := make(chan func(), 1)
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if string(req) == "first" {
			asked <- func() { c.reply(id, req) }
			return
		}
		c.reply(id, req)
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, BusyPoll: -1})
	ready(t, b)
	right := &b.routes.Load().conns[0].out.right
	const n = 40
	replies := make(chan error, n)
	require.NoError(t, b.Go(bg, []byte("first"), func(_ []byte, err error) {
		assert.NoError(t, err)
		for range n {
			assert.NoError(t, b.Go(bg, make([]byte, 1000), func(_ []byte, err error) { replies <- err }))
		}
		right.Release(never) // the other one has finished, and has seen none of it
	}))
	reply := mustReceive(t, asked, "the first request")
	until(right.Take) // we are the other one
	reply()
	for range n {
		require.NoError(t, mustReceive(t, replies, "a reply"))
	}
	_, err := b.Send(bg, []byte("later"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return right.State() == baton.Free }, time.Minute, time.Millisecond)
}

func TestACallbackThatPanicsOrExitsTakesNoReplyWithIt(t *testing.T) {
	for how, end := range callbackEndings {
		for _, batch := range []bool{false, true} {
			for _, n := range []int{1, 8} {
				t.Run(fmt.Sprintf("%s/batch=%t/replies=%d", how, batch, n), func(t *testing.T) {
					log := &journal{}
					b := newBroker(t, Config{Addrs: []string{newPeer(t, atOnce(n)).addr()}, Logger: slog.New(log)})
					ready(t, b)
					calls := make([]atomic.Int32, n)
					done := make(chan int, 2*n)
					ended := askEach(t, b, batch, n, func(i int, reply []byte, err error) {
						if assert.NoError(t, err) {
							assert.Equal(t, fmt.Sprintf("request %d", i), string(reply))
						}
						calls[i].Add(1)
						done <- i
						if i == n/4 {
							end()
						}
					})
					for range n {
						mustReceive(t, done, "every callback")
					}
					mustReceive(t, ended, "the end of SendBatch")
					allServed(t, b, 20)
					for i := range calls {
						assert.EqualValues(t, 1, calls[i].Load(), "callback %d", i)
					}
					mustCome(t, "the count", func() bool { return b.Stats().Panics == 1 })
					assert.EqualValues(t, 1, b.Stats().Dials, "the connection goes on")
					if how == "panic" {
						mustCome(t, "a line in the log", func() bool {
							return log.about(slog.LevelInfo, "panic") == 1
						})
					}
				})
			}
		}
	}
}

// The goroutines of such callbacks may be the few that there are for failures, and
// what they held must come back.
func TestCallbacksOfFailuresThatPanicOrExitGiveTheirPlacesBack(t *testing.T) {
	const n = 3 * failuresAtOnce
	for how, end := range callbackEndings {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{serve: answerLate}
				b := bubbleBroker(t, Config{
					DialContext: p.dial, ReadTimeout: time.Second, MaxInFlight: n, QueueSize: n,
				})
				var calls atomic.Int64
				for round := 1; round <= 3; round++ {
					for range n {
						require.NoError(t, b.Go(bg, nil, func([]byte, error) { calls.Add(1); end() }))
					}
					<-time.After(10 * time.Second) // virtual
					synctest.Wait()
					require.EqualValues(t, round*n, calls.Load())
					require.EqualValues(t, round*n, b.Stats().Panics)
				}
			})
		})
	}
}

func TestABlockedCallbackHoldsUpNoReplyAndKeepsItsOwn(t *testing.T) {
	const n, stuck = 8, 2
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("batch=%t", batch), func(t *testing.T) {
			log := &journal{}
			b := newBroker(t, Config{Addrs: []string{newPeer(t, atOnce(n)).addr()}, Logger: slog.New(log)})
			g := newTurnstile()
			t.Cleanup(g.release)
			ready(t, b)
			done := make(chan int, n)
			kept := make(chan string, 1)
			ended := askEach(t, b, batch, n, func(i int, reply []byte, err error) {
				if i == stuck {
					<-g.open
					kept <- string(reply)
				}
				done <- i
			})
			for range n - 1 {
				require.NotEqual(t, stuck, mustReceive(t, done, "the other replies of the read"))
			}
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() { manyCallers(t, b, 4, 200) })
			}
			mustReturn(t, "other callers", func() bool { callers.Wait(); return true })
			mustCome(t, "a line in the log", func() bool {
				return log.about(slog.LevelWarn, "callback") > 0
			})
			allServed(t, b, 100)
			assert.Equal(t, 1, log.about(slog.LevelWarn, "callback"))
			assert.EqualValues(t, 1, b.Stats().Dials)
			g.release()
			assert.Equal(t, fmt.Sprintf("request %d", stuck), mustReceive(t, kept, "the blocked callback"),
				"its reply is its own until it returns")
			mustReceive(t, ended, "the end of SendBatch")
			require.Equal(t, stuck, mustReceive(t, done, "the blocked callback"))
		})
	}
}

// Replies come in one read, and time is virtual: what is slow but returns in time is
// no news, and what blocks is told of once.
func TestOnlyACallbackThatBlocksLongIsLoggedAndOnce(t *testing.T) {
	const n = 8
	synctest.Test(t, func(t *testing.T) {
		var frames []byte
		got := 0
		p := &pipes{serve: answerWith(func(nc net.Conn, f framing.Frame) {
			frames, _ = framing.Append(frames, f.ID, f.Payload)
			if got++; got%n == 0 {
				nc.Write(frames)
				frames = nil
			}
		})}
		log := &journal{}
		b := bubbleBroker(t, Config{DialContext: p.dial, Logger: slog.New(log)})
		g := newTurnstile()
		t.Cleanup(g.release)
		synctest.Wait()
		done := make(chan int, 3*n)
		slow := func(i int, _ []byte, err error) {
			assert.NoError(t, err)
			if i%4 == 0 {
				<-time.After(40 * time.Millisecond) // virtual
			}
			done <- i
		}
		askEach(t, b, false, n, slow)
		for i := range n {
			require.Equal(t, i, mustReceive(t, done, "slow callbacks"), "in the order of the replies")
		}
		require.Zero(t, log.about(slog.LevelWarn, "callback"), "nothing was blocked for long")

		askEach(t, b, false, n, func(i int, _ []byte, err error) {
			assert.NoError(t, err)
			if i == 0 {
				<-g.open
			}
			done <- i
		})
		for range n - 1 {
			require.NotZero(t, mustReceive(t, done, "the replies behind it"))
		}
		<-time.After(time.Minute) // virtual
		askEach(t, b, false, n, slow)
		for range n {
			mustReceive(t, done, "later replies")
		}
		require.Equal(t, 1, log.about(slog.LevelWarn, "callback"))
		g.release()
		require.Zero(t, mustReceive(t, done, "the blocked callback"))
	})
}

// floodUntilRefused repeats Go until it was refused often and in a row. As long as it is
// accepted it lets nobody else run, as user code may. It returns how many requests were
// accepted, and how many were seen to wait to be written at once.
func floodUntilRefused(b *Broker, req []byte) (accepted, waiting int, err error) {
	for refused := 0; refused < 300; {
		err = b.Go(bg, req, func([]byte, error) {})
		waiting = max(waiting, b.Stats().Queued)
		if err == nil {
			accepted, refused = accepted+1, 0
			continue
		}
		if !errors.Is(err, ErrQueueFull) {
			return accepted, waiting, err
		}
		refused++
		breathe(refused)
	}
	return accepted, waiting, nil
}

// undescribed is a connection without a descriptor that the broker can see.
type undescribed struct{ net.Conn }

func TestWhatAPeerDoesNotReadIsRefusedInACallbackAsOutsideOne(t *testing.T) {
	const (
		payload, queue = 20 << 10, 8
		socketsHold    = 200       // requests, and more
		outboxHolds    = 320 << 10 // bytes of frames on their way to the socket, and more
	)
	for _, c := range []struct{ inside, wrap bool }{
		{false, false}, {false, true}, {true, false}, {true, true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			g := newTurnstile()
			p := narrowPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
				if string(req) == string(noReply) {
					<-g.open
					return
				}
				c.reply(id, req)
			})
			dial := dialNarrow
			if c.wrap {
				dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					nc, err := dialNarrow(ctx, network, addr)
					return undescribed{nc}, err
				}
			}
			b := newBroker(t, Config{
				Addrs: []string{p.addr()}, DialContext: dial, QueueSize: queue, MaxInFlight: 8192,
				WriteTimeout: -1, ReadTimeout: -1, RequestTimeout: -1,
			})
			t.Cleanup(g.release)
			ready(t, b)
			type outcome struct {
				accepted, waiting int
				err               error
			}
			ended := make(chan outcome, 1)
			flooding := func() {
				err := b.Go(bg, noReply, func([]byte, error) {}) // the peer reads no more
				var o outcome
				if o.accepted, o.waiting, o.err = floodUntilRefused(b, make([]byte, payload)); err != nil {
					o.err = err
				}
				ended <- o
			}
			// Some replies first: a reader that has met callbacks prepares for more.
			var step func(left int)
			step = func(left int) {
				if left > 0 {
					assert.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) { step(left - 1) }))
				} else if c.inside {
					flooding()
				} else {
					go flooding()
				}
			}
			step(3)
			o := mustReceive(t, ended, "refusals")
			require.NoError(t, o.err)
			assert.Less(t, o.accepted, socketsHold, "beyond what the sockets may hold")
			assert.LessOrEqual(t, o.waiting, queue+outboxHolds/payload+runtime.GOMAXPROCS(0))
		})
	}
}
