package engine

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waysToWake are the calls that wait for a connection when there is none.
var waysToWake = map[string]func(b *Broker) error{
	"Send": func(b *Broker) error {
		_, err := b.Send(bg, []byte("x"))
		return err
	},
	"Go": func(b *Broker) error { return goAndWait(b, bg) },
	"SendBatch": func(b *Broker) error {
		return b.SendBatch(bg, make([][]byte, 3), func(int, []byte, error) {})
	},
	"SendOneWay": func(b *Broker) error { return b.SendOneWay(bg, []byte("x")) },
	"WaitReady":  func(b *Broker) error { return b.WaitReady(bg) },
}

func TestAnIdleConnectionIsClosedAndTheNextCallDialsAnew(t *testing.T) {
	const idle = 10 * time.Second
	for name, wake := range waysToWake {
		for _, addrs := range [][]string{{"one:1"}, {"one:1", "two:1"}} {
			t.Run(fmt.Sprint(name, len(addrs)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, s := onStage(t, Config{IdleTimeout: idle}, addrs...)
					for range 5 {
						requireServed(t, b, len(addrs))
						pass(idle - time.Millisecond)
						require.NotEmpty(t, b.conns(), "not yet")
						pass(idle/idleLooks + coarse(b))
						require.Empty(t, b.conns(), "it has rested for longer")
						s["one:1"].forget()
						pass(time.Hour)
						require.Empty(t, s["one:1"].dialled(), "nobody needs one")
						require.NoError(t, wake(b))
						synctest.Wait()
						require.NotEmpty(t, b.conns())
						require.Zero(t, b.Stats().Queued)
					}
					require.Zero(t, b.Stats().ConnsLost, "we have closed them")
					require.Zero(t, b.Stats().Failed)
				})
			})
		}
	}
}

func TestAConnectionInUseIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{IdleTimeout: 10 * time.Second, ReadTimeout: -1,
			RequestTimeout: -1}, "one:1")
		done := make(chan error, 1)
		go func() {
			_, err := b.Send(bg, []byte("in 1m0s"))
			done <- err
		}()
		require.NoError(t, <-done)
		for range 100 {
			requireServed(t, b, 1)
			pass(9 * time.Second)
		}
		assert.Len(t, s["one:1"].dialled(), 1)
	})
}

func TestACallToARestingBrokerThatFindsNobodyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{IdleTimeout: time.Second}, "one:1")
		requireServed(t, b, 1)
		pass(time.Minute)
		require.Empty(t, b.conns())
		s["one:1"].behave(refuses)
		began := time.Now()
		for range 10 {
			_, err := b.Send(bg, []byte("x"))
			requireNobodyThere(t, err)
		}
		assert.Zero(t, time.Since(began), "its dial has ended, and so have hopes")
		s["one:1"].behave(answers)
		sendsEvery(t, b, 100*time.Millisecond)
	})
}

// One dial at a time after a failure: the other connection's has to wait, but not busily,
// which would let no time pass here.
func TestALinkThatMayNotDialYetSleeps(t *testing.T) {
	guard := time.AfterFunc(patience, func() { panic("a link spins") })
	defer guard.Stop()
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		s := newStage("one:1")
		one := s["one:1"]
		b := bubbleBroker(t, Config{
			Addrs: []string{"one:1"}, ConnsPerAddr: 2, IdleTimeout: time.Second,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if hangs.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return s.dial(ctx, network, addr)
			},
		})
		requireServed(t, b, 2)
		one.cut()
		pass(time.Minute) // they are up again, and have not answered when they are closed
		require.Empty(t, b.conns())
		hangs.Store(true)
		began := time.Now()
		_, err := b.Send(bg, []byte("x"))
		requireNotConnected(t, err, "one:1")
		assert.Equal(t, DefaultDialTimeout, time.Since(began))
		hangs.Store(false)
		sendsEvery(t, b, 100*time.Millisecond)
	})
}

func TestAConnectionIsReplacedAtTheEndOfItsLifeAndNoCallFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = 10 * time.Second
		b, s := onStage(t, Config{MaxLifetime: lifetime}, "one:1")
		one := s["one:1"]
		var load callers
		load.start(10, 10*time.Millisecond, func() error {
			_, err := b.Send(bg, []byte("in 30ms"))
			return err
		})
		for range 300 {
			pass(100 * time.Millisecond)
			require.LessOrEqual(t, len(b.conns()), 2)
		}
		load.end()
		assert.Zero(t, load.failed.Load())
		assert.Greater(t, load.ok.Load(), int64(5_000))
		dials := gaps(one.dialled())
		require.GreaterOrEqual(t, len(dials), 2)
		for _, gap := range dials {
			assert.GreaterOrEqual(t, gap, lifetime-lifetime/lifetimeJitter)
			assert.LessOrEqual(t, gap, lifetime+time.Second)
		}

		one.behave(refuses) // a server that takes no more connections keeps those it has
		one.forget()
		for range 150 {
			requireServed(t, b, 1)
			pass(100 * time.Millisecond)
		}
		assert.NotEmpty(t, one.dialled())
		assert.Len(t, b.conns(), 1)
	})
}

// A call that has seen a connection in the routes a moment before it was replaced goes elsewhere.
func TestAConnectionThatWasReplacedTakesNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onStage(t, Config{}, "one:1")
		c := onlyConn(t, b)
		outcome := make(chan error, 1)
		require.NoError(t, b.Go(bg, []byte("in 3s"), func(_ []byte, err error) { outcome <- err }))
		c.standing.aged.Store(true)
		c.link.wakeUp()
		pass(time.Second)
		require.Equal(t, phaseRetiring, c.phase.Load())
		late := request{payload: []byte("late"), to: plainCallback(func([]byte, error) { t.Error("called") })}
		require.Equal(t, ended, c.submit(&late, true))
		require.NoError(t, <-outcome)
		pass(time.Second)
		require.Equal(t, phaseGone, c.phase.Load())
	})
}

// However often a connection is replaced that has requests, few stay.
func TestConnectionsThatWereReplacedAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onStage(t, Config{ReadTimeout: -1, RequestTimeout: -1, MaxRetries: -1}, "one:1")
		const n = 20
		lost := 0
		for range n {
			synctest.Wait()
			c := b.routes.Load().conns[0]
			require.NoError(t, b.Go(bg, []byte("in 1h"), func(_ []byte, err error) {
				if err != nil {
					lost++ // one after another, as the connections end
				}
			}))
			synctest.Wait()
			c.standing.aged.Store(true)
			c.link.wakeUp()
			pass(time.Second)
			require.LessOrEqual(t, len(b.conns()), connsPerLink)
		}
		require.Equal(t, n-(connsPerLink-2), lost, "the oldest had to end")
		requireServed(t, b, 10)
	})
}

// What was sent before a connection had its successor leaves although requests that came
// a moment too late had room reserved behind it.
func TestARequestThatComesAsItsConnectionIsReplacedLeavesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{}, "one:1")
		one := s["one:1"]
		requireServed(t, b, 1)
		one.forget()
		c := onlyConn(t, b)
		pass(time.Second)
		require.True(t, c.out.right.Take(), "nobody writes")
		calls := numberedCalls(b)
		calls.call(t, 3)
		c.table.Seal()
		notCalled := func(int, []byte, error) { t.Error("called") }
		late := request{payload: []byte("late"), to: plainCallback(func([]byte, error) { t.Error("called") })}
		require.Equal(t, ended, c.submit(&late, true))
		bt := newBatch().(*batch)
		bt.start(b, bg, [][]byte{[]byte("late too"), []byte("and this")}, notCalled, Call{})
		require.Zero(t, b.sendRun(bt, 0))
		c.out.right.Keep()
		synctest.Wait()
		require.Equal(t, numbers(3), one.asked())
		require.Zero(t, calls.open())
		c.standing.aged.Store(true)
		c.link.wakeUp()
		pass(time.Second)
		require.Len(t, one.dialled(), 1)
		require.Len(t, b.conns(), 1)
		requireServed(t, b, 10)
		n, err := calls.failed()
		require.Zero(t, n, "%v", err)
	})
}

func TestManyReplacementsUnderLoadOnRealSocketsFailNoCall(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr(), newPeer(t, echo).addr()}, MaxLifetime: 20 * time.Millisecond})
	ready(t, b)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var failed atomic.Pointer[error]
	for c := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				switch (c + i) % 3 {
				case 0:
					_, err = b.Send(bg, []byte("x"))
				case 1:
					err = goAndWait(b, bg)
				default:
					err = b.SendBatch(bg, make([][]byte, 5), func(int, []byte, error) {})
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	mustCome(t, "sixty connections", func() bool { return b.Stats().Dials >= 60 || failed.Load() != nil })
	close(stop)
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	mustCome(t, "the end of the old ones", func() bool { return len(b.conns()) <= 4 })
	require.Zero(t, b.Stats().ConnsLost)
}

// told are the calls of OnConnect and OnDisconnect.
type told struct {
	mu   sync.Mutex
	what []string
	why  []error
}

func (k *told) note(what string) func(string, error) {
	return func(addr string, cause error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.what, k.why = append(k.what, what+" "+addr), append(k.why, cause)
	}
}

func TestOnConnectAndOnDisconnectTellOfEachConnectionInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k told
		b, s := onStage(t, Config{OnConnect: k.note("up"), OnDisconnect: k.note("down")}, "one:1")
		one := s["one:1"]
		synctest.Wait()
		one.cut()
		pass(time.Second)
		one.behave(shuts)
		one.cut()
		pass(100 * time.Millisecond)
		one.behave(answers)
		ready(t, b)
		require.NoError(t, b.Close())
		k.mu.Lock()
		defer k.mu.Unlock()
		require.GreaterOrEqual(t, len(k.what), 6)
		require.Zero(t, len(k.what)%2)
		for i := range k.what {
			if i%2 == 0 {
				require.Equal(t, "up one:1", k.what[i])
				require.NoError(t, k.why[i])
				continue
			}
			require.Equal(t, "down one:1", k.what[i])
			if i < len(k.what)-1 {
				require.ErrorIs(t, k.why[i], ErrConnLost)
				require.ErrorIs(t, k.why[i], io.EOF)
			} else {
				require.ErrorIs(t, k.why[i], ErrClosingBroker)
			}
		}
	})
}

func TestTheCauseOfAnEndByUsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k told
		b, _ := onStage(t, Config{OnConnect: k.note("up"), OnDisconnect: k.note("down"), IdleTimeout: time.Second}, "one:1")
		requireServed(t, b, 1)
		pass(10 * time.Second)
		k.mu.Lock()
		defer k.mu.Unlock()
		require.Equal(t, []string{"up one:1", "down one:1"}, k.what)
		require.Error(t, k.why[1])
	})
}

func TestAnOnConnectThatBlocksHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newTurnstile()
		var calls atomic.Int64
		block := func(string, error) {
			calls.Add(1)
			<-gate.open
		}
		b, s := onStage(t, Config{OnConnect: block, OnDisconnect: block, ShutdownTimeout: time.Second}, "one:1")
		t.Cleanup(gate.release)
		for range 100 {
			require.NoError(t, b.WaitReady(bg))
			requireServed(t, b, 4)
			s["one:1"].cut()
			pass(time.Second)
		}
		require.EqualValues(t, 1, calls.Load())
		began := time.Now()
		err := mustReturn(t, "Close", b.Close)
		require.ErrorIs(t, err, ErrTimeout)
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		gate.release()
		closesInTheEnd(t, b)
		assert.EqualValues(t, 1+eventsMax, calls.Load(), "so many wait, and the next are left out")
	})
}

func TestAnOnConnectThatPanicsOrExitsIsCountedAndTheNextIsCalled(t *testing.T) {
	for name, end := range map[string]func(){
		"panic":     func() { panic("in OnConnect") },
		"panic nil": func() { panic(error(nil)) },
		"Goexit":    runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var up, down atomic.Int64
				b, s := onStage(t, Config{
					OnConnect:    func(string, error) { up.Add(1); end() },
					OnDisconnect: func(string, error) { down.Add(1); end() },
				}, "one:1")
				for range 10 {
					requireServed(t, b, 4)
					s["one:1"].cut()
					pass(time.Second)
				}
				assert.EqualValues(t, 11, up.Load())
				assert.EqualValues(t, 10, down.Load())
				assert.EqualValues(t, 21, b.Stats().Panics)
				require.NoError(t, b.Close())
				assert.EqualValues(t, 11, down.Load())
			})
		})
	}
}

func TestABrokerMayBeUsedInOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage("one:1")
		var b *Broker
		var ok atomic.Int64
		set := make(chan struct{})
		b = bubbleBroker(t, Config{
			Addrs: []string{"one:1"}, DialContext: s.dial,
			OnConnect: func(string, error) {
				<-set
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				if _, err := b.Send(ctx, []byte("hello")); err == nil {
					ok.Add(1)
				}
			},
		})
		close(set)
		for range 3 {
			pass(2 * time.Second)
			s["one:1"].cut()
		}
		pass(2 * time.Second)
		assert.EqualValues(t, 4, ok.Load())
		assert.Equal(t, []string{"hello", "hello", "hello", "hello"}, s["one:1"].asked())
	})
}
