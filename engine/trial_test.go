package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onTrial returns a broker for two players, of which the second one is on trial: its
// connection was lost, and is up again. Only for bubbles.
func onTrial(t *testing.T, cfg Config) (b *Broker, sound, tried *player) {
	t.Helper()
	cfg.SlowStart = -1
	b, s := onStage(t, cfg, "sound:1", "tried:1")
	s["tried:1"].cut()
	pass(time.Second)
	require.Len(t, s["tried:1"].dialled(), 2)
	require.Len(t, b.routes.Load().conns, 1)
	require.Len(t, b.routes.Load().trials, 1)
	return b, s["sound:1"], s["tried:1"]
}

// waysToCall are the methods that wait for replies, each as n calls at once that return
// before their replies have come.
var waysToCall = map[string]func(b *Broker, n int, fn func(error)) error{
	"Send": func(b *Broker, n int, fn func(error)) error {
		for range n {
			go func() {
				_, err := b.Send(bg, []byte("x"))
				fn(err)
			}()
		}
		return nil
	},
	"Go": func(b *Broker, n int, fn func(error)) error {
		for range n {
			if err := b.Go(bg, []byte("x"), func(_ []byte, err error) { fn(err) }); err != nil {
				return err
			}
		}
		return nil
	},
	"SendBatch": func(b *Broker, n int, fn func(error)) error {
		go b.SendBatch(bg, make([][]byte, n), func(_ int, _ []byte, err error) { fn(err) })
		return nil
	},
}

func TestOnTrialAnAddressGetsOneRequestUntilItsReply(t *testing.T) {
	for name, call := range waysToCall {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, sound, tried := onTrial(t, Config{SilenceTimeout: -1, ReadTimeout: -1})
				tried.behave(swallows)
				var served atomic.Int64
				note := func(err error) {
					if err == nil {
						served.Add(1)
					}
				}
				for range 10 {
					require.NoError(t, call(b, 10, note))
					synctest.Wait()
				}
				require.Len(t, tried.asked(), 1)
				require.Len(t, sound.asked(), 99)
				require.EqualValues(t, 99, served.Load())

				tried.behave(answers)
				tried.relent()
				synctest.Wait()
				require.EqualValues(t, 100, served.Load())
				for range 10 {
					require.NoError(t, call(b, 10, note))
					synctest.Wait()
				}
				assert.InDelta(t, 51, len(tried.asked()), 10, "it has its share in turn; a batch's is uneven")
				assert.EqualValues(t, 200, served.Load())
			})
		})
	}
}

func TestATrialThatIsAnsweredAtOnceMakesTheShareFull(t *testing.T) {
	for name, call := range waysToCall {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, sound, tried := onTrial(t, Config{})
				for range 100 { // one after another
					require.NoError(t, call(b, 2, func(err error) { assert.NoError(t, err) }))
					synctest.Wait()
				}
				assert.InDelta(t, 100, len(tried.asked()), 2)
				assert.InDelta(t, 100, len(sound.asked()), 2)
			})
		})
	}
}

// A server that leaves out one reply, the first after it is back, and whose callers do not wait for it,
// is not left out for good.
func TestATrialThatIsNeverAnsweredIsFollowedByAnother(t *testing.T) {
	for _, limit := range []time.Duration{300 * time.Millisecond, -1} {
		t.Run(fmt.Sprint("ReadTimeout ", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _, tried := onTrial(t, Config{SilenceTimeout: -1, ReadTimeout: limit})
				tried.behave(swallows)
				for range 2 { // one is the trial
					ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
					_, _ = b.Send(ctx, []byte("impatient"))
					cancel()
				}
				require.Len(t, tried.asked(), 1)
				tried.behave(answers)
				requireServed(t, b, 10) // by the other one
				require.Len(t, tried.asked(), 1)
				pass(DefaultReadTimeout + time.Second)
				requireServed(t, b, 10)
				assert.Greater(t, len(tried.asked()), 1, "another trial")
				assert.Empty(t, b.routes.Load().trials, "and it was answered")
			})
		})
	}
}

// What is sent one way proves nothing, and stands in the way of no trial.
func TestOneWayRequestsDoNotUseATrialUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, tried := onTrial(t, Config{})
		for range 3 {
			require.NoError(t, b.SendOneWay(bg, []byte("x")))
		}
		pass(time.Minute) // the clock has slept
		requireServed(t, b, 1)
		pass(time.Second)
		requireServed(t, b, 9)
		assert.GreaterOrEqual(t, len(tried.asked()), 4)
		assert.Empty(t, b.routes.Load().trials)
	})
}

// The peer takes no bytes for a while, so that the trial still lies in the outbox when its
// caller gives up.
func TestATrialThatIsGivenUpBeforeItIsWrittenIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newTurnstile()
		t.Cleanup(gate.release)
		s := newStage("sound:1", "tried:1")
		tried := s["tried:1"]
		cfg := Config{Addrs: []string{"sound:1", "tried:1"}, SilenceTimeout: -1, WriteTimeout: -1, SlowStart: -1}
		cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "sound:1" || len(tried.dialled()) == 0 {
				return s.dial(ctx, network, addr)
			}
			client, server := net.Pipe()
			go func() {
				<-gate.open
				tried.serve(server)
			}()
			return client, nil
		}
		b := bubbleBroker(t, cfg)
		synctest.Wait()
		tried.cut()
		pass(time.Second)
		require.Len(t, b.routes.Load().trials, 1)

		require.NoError(t, b.SendOneWay(bg, []byte("one way"))) // its write waits for the peer
		pass(time.Second)
		ctx, cancel := context.WithCancel(bg)
		outcome := make(chan error, 1)
		require.NoError(t, b.Go(ctx, []byte("given up"), func(_ []byte, err error) { outcome <- err }))
		pass(time.Second)
		require.True(t, b.routes.Load().trials[0].standing.tried.Load())
		cancel()
		require.ErrorIs(t, <-outcome, context.Canceled)
		requireServed(t, b, 10) // by the other one
		require.Empty(t, tried.asked())

		gate.release()
		pass(time.Second)
		require.Equal(t, []string{"one way"}, tried.asked())
		requireServed(t, b, 10)
		assert.Greater(t, len(tried.asked()), 1, "another trial")
		assert.Empty(t, b.routes.Load().trials, "and it was answered")
	})
}

// A server that takes no second connection serves on its first one, though that is to be
// replaced: what fails puts it on trial, and each trial is answered.
func TestAConnectionThatCannotBeReplacedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage("full:1", "other:1", "door:1")
		full, other := s["full:1"], s["other:1"]
		s["door:1"].behave(shuts) // it comes and goes
		full.single.Store(true)
		b := s.broker(t, Config{MaxInFlight: 16, ReadTimeout: time.Second, SilenceTimeout: -1, EjectionTime: -1, SlowStart: -1,
			BackoffBase: time.Second, BackoffMax: time.Second}, "full:1", "other:1", "door:1")
		full.behave(swallows)
		for len(full.asked()) < 4 { // a quarter of its IDs are lost
			_, _ = b.Send(bg, []byte("x"))
		}
		full.behave(answers)
		pass(3 * time.Second)
		require.Greater(t, len(full.dialled()), 1, "it is to be replaced")
		full.forget()
		other.forget()
		for range 200 {
			requireServed(t, b, 1)
			pass(100 * time.Millisecond)
		}
		require.Greater(t, len(full.dialled()), 10)
		assert.Greater(t, len(full.asked()), 50, "it answers whatever it is asked")
	})
}

func TestManyConnectionsOfAnAddressAreOnTrialEachForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{ConnsPerAddr: 4, SilenceTimeout: -1, ReadTimeout: -1}, "sound:1", "tried:1")
		sound, tried := s["sound:1"], s["tried:1"]
		synctest.Wait()
		require.Len(t, b.routes.Load().conns, 8)
		tried.cut()
		pass(time.Minute)
		require.Len(t, b.routes.Load().trials, 4)
		tried.behave(swallows)
		errs := make(chan error, 100)
		for i := range 100 {
			require.NoError(t, b.Go(bg, fmt.Append(nil, i), func(_ []byte, err error) { errs <- err }))
		}
		synctest.Wait()
		assert.Len(t, tried.asked(), 4)
		assert.Len(t, sound.asked(), 96)
		tried.behave(answers)
		tried.relent()
		for range 100 {
			require.NoError(t, <-errs)
		}
		synctest.Wait()
		assert.Len(t, b.routes.Load().conns, 8)
	})
}

// Nothing else is sent, so that the connection has never given an ID out.
func TestABrokerMaySendOneWayAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{MaxInFlight: 1}, "one:1")
		ready(t, b)
		for range 10 {
			pass(time.Minute)
			require.NoError(t, b.SendOneWay(bg, []byte("x")))
		}
		synctest.Wait()
		assert.Len(t, s["one:1"].asked(), 10)
		assert.Zero(t, b.Stats().Accepted)
		assert.EqualValues(t, 10, b.Stats().OneWay)
		assert.EqualValues(t, 10, b.Stats().OneWayReplies)
		requireServed(t, b, 1)
	})
}

func TestOneWayRequestsWaitForAConnectionToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{}, "one:1")
		one := s["one:1"]
		requireServed(t, b, 1)
		one.leave()
		one.forget()
		for range 10 {
			require.NoError(t, b.SendOneWay(bg, []byte("x")))
		}
		one.behave(answers)
		pass(DefaultConnectWait)
		assert.Len(t, one.asked(), 10)
		requireServed(t, b, 1)
		one.leave()
		pass(time.Minute)
		requireNobodyThere(t, b.SendOneWay(bg, []byte("x")))
		assert.Zero(t, b.Stats().InFlight)
	})
}
