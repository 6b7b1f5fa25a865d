package engine

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbered makes calls by Go, each with its number, and keeps when and how they ended.
type numbered struct {
	b *Broker

	mu    sync.Mutex
	errs  map[int]error
	ended map[int]time.Time
	made  int
}

func numberedCalls(b *Broker) *numbered {
	return &numbered{b: b, errs: map[int]error{}, ended: map[int]time.Time{}}
}

// call makes n calls.
func (k *numbered) call(t *testing.T, n int) {
	t.Helper()
	for range n {
		i := k.made
		k.made++
		err := k.b.Go(bg, fmt.Append(nil, i), func(_ []byte, err error) { k.note(i, err) })
		if err != nil {
			k.note(i, err)
		}
	}
}

func (k *numbered) note(i int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errs[i], k.ended[i] = err, time.Now()
}

// open returns how many have not ended.
func (k *numbered) open() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.made - len(k.errs)
}

// failed returns how many have failed, and one of the errors.
func (k *numbered) failed() (n int, one error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, err := range k.errs {
		if err != nil {
			n, one = n+1, err
		}
	}
	return n, one
}

// numbers returns the numbers from 0 to n-1.
func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// requireNobodyThere checks the error of a call that found no server.
func requireNobodyThere(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, ErrNoPoolsAvailable)
	require.ErrorIs(t, err, ErrDial)
	require.ErrorIs(t, err, errNobodyListens)
	require.NotErrorIs(t, err, ErrTimeout)
	require.True(t, SafeToRetry(err))
	require.ErrorContains(t, err, "one:1")
}

// leave takes the server away from a broker that is connected.
func (p *player) leave() {
	p.behave(refuses)
	p.cut()
	synctest.Wait()
}

func TestCallsWaitInTheirOrderUntilTheServerIsBack(t *testing.T) {
	for name, pause := range map[string]time.Duration{"default": 0, "an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, Config{BackoffBase: pause, BackoffMax: pause}, "one:1")
				one := s["one:1"]
				ready(t, b)
				requireServed(t, b, 1)
				one.forget()
				one.leave()
				calls := numberedCalls(b)
				for range 20 {
					calls.call(t, 5)
					pass(20 * time.Millisecond)
				}
				require.Equal(t, 100, calls.open())
				one.behave(answers)
				pass(DefaultConnectWait)
				require.Zero(t, calls.open())
				n, err := calls.failed()
				require.Zero(t, n, "%v", err)
				assert.Equal(t, numbers(100), one.asked())
			})
		})
	}
}

func TestCallsThatWaitFailAtConnectWaitAndLaterOnesAtOnce(t *testing.T) {
	for _, wait := range []time.Duration{0, 300 * time.Millisecond, 10 * time.Second} {
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, Config{ConnectWait: wait}, "one:1")
				wait := b.cfg.ConnectWait
				one := s["one:1"]
				ready(t, b)
				requireServed(t, b, 1)
				one.leave()
				lost := time.Now()
				calls := numberedCalls(b)
				for range 9 {
					calls.call(t, 2)
					pass(wait / 10)
				}
				require.Equal(t, 18, calls.open(), "all of them wait")
				pass(wait)
				require.Zero(t, calls.open())
				for i := range 18 {
					took := calls.ended[i].Sub(lost)
					assert.GreaterOrEqual(t, took, wait)
					assert.LessOrEqual(t, took, wait+coarse(b))
					requireNobodyThere(t, calls.errs[i])
				}
				for range 10 {
					began := time.Now()
					_, err := b.Send(bg, []byte("later"))
					requireNobodyThere(t, err)
					calls.call(t, 1)
					require.Zero(t, calls.open())
					require.Zero(t, time.Since(began), "at once")
					pass(100 * time.Millisecond)
				}
				one.forget()
				one.behave(answers)
				ready(t, b)
				requireServed(t, b, 10)
				assert.Len(t, one.asked(), 10)
			})
		})
	}
}

func TestConnectWaitCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{ConnectWait: -1}, "one:1")
		ready(t, b)
		requireServed(t, b, 1)
		s["one:1"].leave()
		pass(time.Second)
		began := time.Now()
		_, err := b.Send(bg, []byte("x"))
		requireNobodyThere(t, err)
		err = b.Go(bg, []byte("x"), func([]byte, error) {})
		requireNobodyThere(t, err)
		require.NoError(t, b.SendBatch(bg, nil, func(int, []byte, error) {}))
		err = b.SendBatch(bg, make([][]byte, 3), func(_ int, _ []byte, err error) { requireNobodyThere(t, err) })
		requireNobodyThere(t, err)
		requireNobodyThere(t, b.SendOneWay(bg, []byte("x")))
		assert.Zero(t, time.Since(began))
	})
}

// The last connection counts, not the first one that is lost.
func TestConnectWaitBeginsWithTheLastConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{}, "one:1", "two:1")
		ready(t, b)
		requireServed(t, b, 2)
		s["two:1"].leave()
		pass(time.Minute)
		requireServed(t, b, 10)
		s["one:1"].leave()
		lost := time.Now()
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrNoPoolsAvailable)
		took := time.Since(lost)
		assert.GreaterOrEqual(t, took, DefaultConnectWait)
		assert.LessOrEqual(t, took, DefaultConnectWait+coarse(b))
	})
}

// slowDials lets dials to two players take a second and three.
func slowDials(t *testing.T, cfg Config) (*Broker, stage) {
	s := newStage("one:1", "two:1")
	cfg.Addrs = []string{"one:1", "two:1"}
	cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := time.Second
		if addr == "two:1" {
			d = 3 * time.Second
		}
		select {
		case <-time.After(d): // virtual
			return s.dial(ctx, network, addr)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return bubbleBroker(t, cfg), s
}

func TestAtTheStartCallsWaitForTheFirstDialToEachAddress(t *testing.T) {
	for _, last := range []manner{answers, refuses} {
		t.Run(fmt.Sprint(last), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := slowDials(t, Config{BackoffBase: time.Hour, BackoffMax: time.Hour, ConnectWait: -1})
				s["one:1"].behave(refuses)
				s["two:1"].behave(last)
				began := time.Now()
				calls := numberedCalls(b)
				for range 29 {
					calls.call(t, 1)
					pass(100 * time.Millisecond)
				}
				require.Equal(t, 29, calls.open())
				pass(200 * time.Millisecond)
				require.Zero(t, calls.open())
				n, err := calls.failed()
				if last == answers {
					require.Zero(t, n, "%v", err)
					assert.Equal(t, numbers(29), s["two:1"].asked())
					return
				}
				require.Equal(t, 29, n)
				requireNobodyThere(t, err)
				for i := range 29 {
					assert.Equal(t, 3*time.Second, calls.ended[i].Sub(began))
				}
				_, err = b.Send(bg, []byte("later"))
				requireNobodyThere(t, err)
				assert.Equal(t, 3100*time.Millisecond, time.Since(began))
			})
		})
	}
}

// sendsEvery makes a call after each pause, and returns when one has succeeded.
func sendsEvery(t *testing.T, b *Broker, pause time.Duration) {
	t.Helper()
	for began := time.Now(); ; pass(pause) {
		if _, err := b.Send(bg, []byte("x")); err == nil {
			return
		}
		require.Less(t, time.Since(began), time.Minute, "nobody looks for the server")
	}
}

func TestACallHurriesTheDialAndAnIdleBrokerDoesNot(t *testing.T) {
	for name, cfg := range map[string]Config{
		"ConnectWait":    {},
		"no ConnectWait": {ConnectWait: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg.BackoffBase, cfg.BackoffMax = time.Hour, time.Hour
				b, s := onStage(t, cfg, "one:1")
				one := s["one:1"]
				for range 10 {
					one.behave(answers)
					ready(t, b)
					requireServed(t, b, 1)
					one.leave()
					one.forget()
					pass(5 * time.Minute)
					require.LessOrEqual(t, len(one.dialled()), 8, "nobody waits: the pause is up to an hour")
					for began := time.Now(); time.Since(began) < 10*time.Second; pass(100 * time.Millisecond) {
						_, err := b.Send(bg, []byte("x"))
						require.ErrorIs(t, err, ErrNoPoolsAvailable)
					}
					require.GreaterOrEqual(t, len(one.dialled()), 5, "a dial every one to two seconds")
					require.LessOrEqual(t, len(one.dialled()), 20)
					one.behave(answers)
					back := time.Now()
					sendsEvery(t, b, 100*time.Millisecond)
					require.LessOrEqual(t, time.Since(back), hurryMax+100*time.Millisecond)
				}
			})
		})
	}
}

// One that waits is enough. Nobody else makes calls that would have the server looked for
// again when the first dial has failed.
func TestACallThatWaitsHurriesEachDial(t *testing.T) {
	for name, wait := range map[string]func(b *Broker) error{
		"Send": func(b *Broker) error {
			_, err := b.Send(bg, []byte("x"))
			return err
		},
		"Go": func(b *Broker) error {
			done := make(chan error, 1)
			if err := b.Go(bg, []byte("x"), func(_ []byte, err error) { done <- err }); err != nil {
				return err
			}
			return <-done
		},
		"SendBatch": func(b *Broker) error {
			return b.SendBatch(bg, make([][]byte, 3), func(int, []byte, error) {})
		},
		"WaitReady": func(b *Broker) error {
			ctx, cancel := context.WithTimeout(bg, 30*time.Second)
			defer cancel()
			return b.WaitReady(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, Config{BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour,
					ConnectWait: 25 * time.Second}, "one:1")
				one := s["one:1"]
				ready(t, b)
				requireServed(t, b, 1)
				one.leave()
				one.forget()
				time.AfterFunc(8*time.Second, func() { one.behave(answers) })
				began := time.Now()
				require.NoError(t, wait(b), "%d dials", len(one.dialled()))
				assert.LessOrEqual(t, time.Since(began), 8*time.Second+hurryMax)
				assert.LessOrEqual(t, len(one.dialled()), 11)
			})
		})
	}
}
