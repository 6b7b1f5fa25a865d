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

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/internal/list"
)

// together returns a broker for three players, all up, with weights 1, 2 and 3. Only for
// bubbles.
func together(t *testing.T, cfg Config) (b *Broker, names []string, s stage) {
	t.Helper()
	names = []string{"one:1", "two:1", "three:1"}
	b, s = onStage(t, cfg, names...)
	for i, name := range names {
		require.NoError(t, b.SetWeight(name, i+1))
	}
	synctest.Wait()
	require.Len(t, b.routes.Load().servers, 3)
	return b, names, s
}

// counts returns how many requests each was asked, and has them forgotten.
func (s stage) counts(names []string) (n []int) {
	for _, name := range names {
		n = append(n, len(s[name].asked()))
		s[name].forget()
	}
	return n
}

func TestTheStrategyChoosesForEachWayToCall(t *testing.T) {
	const n = 600
	want := map[balance.Strategy][3]float64{
		balance.RoundRobin:    {200, 200, 200},
		balance.LeastConn:     {100, 200, 300}, // with nothing in flight it goes by weights
		balance.TwoChoices:    {100, 200, 300}, // drawn
		balance.WeightedRound: {100, 200, 300},
		balance.Random:        {200, 200, 200}, // drawn
		balance.IPHash:        {200, 200, 200}, // without a key: in turn
	}
	drawn := map[balance.Strategy]float64{balance.TwoChoices: 100, balance.Random: 80}
	for _, conns := range []int{1, 2} {
		for _, strategy := range balance.Strategies() {
			t.Run(fmt.Sprintf("%s/conns=%d", strategy, conns), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, names, s := together(t, Config{Balance: strategy, ConnsPerAddr: conns})
					for range n {
						_, err := b.Send(bg, []byte("x"))
						require.NoError(t, err)
						synctest.Wait() // or it may count as in flight still
					}
					got := s.counts(names)
					if strategy == balance.IPHash { // weights count for those, too
						require.NotContains(t, got, 0)
						return
					}
					for i := range names {
						require.InDelta(t, want[strategy][i], got[i], 2+drawn[strategy], "%v", got)
					}
				})
			})
		}
	}
}

func TestWeightsAreExactInEachRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, names, s := together(t, Config{Balance: balance.WeightedRound})
		for range 50 {
			requireServed(t, b, 6)
			require.Equal(t, []int{1, 2, 3}, s.counts(names))
		}
		require.NoError(t, b.SetWeight("three:1", 1))
		for range 50 {
			requireServed(t, b, 4)
			require.Equal(t, []int{1, 2, 1}, s.counts(names))
		}
		assert.Equal(t, 1, b.AddrStats()[2].Weight)
	})
}

// A server that answers nothing keeps what it was given, so by what is in flight it gets
// as much as the others have at that time, and no more.
func TestByLeastConnectionsASlowServerGetsLess(t *testing.T) {
	for _, strategy := range []balance.Strategy{balance.LeastConn, balance.TwoChoices} {
		for name, call := range waysToCall {
			t.Run(string(strategy)+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, s := onStage(t, Config{Balance: strategy, SilenceTimeout: -1, ReadTimeout: -1},
						"slow:1", "two:1", "three:1")
					s["slow:1"].behave(swallows)
					for range 100 {
						require.NoError(t, call(b, 3, func(err error) { assert.NoError(t, err) }))
						synctest.Wait()
					}
					got := s.counts([]string{"slow:1", "two:1", "three:1"})
					assert.LessOrEqual(t, got[0], 5, "%v", got)
					assert.InDelta(t, got[1], got[2], 120, "%v: the turns of the first are the next one's", got)
					s["slow:1"].relent()
					synctest.Wait()
					assert.Zero(t, b.Stats().InFlight)
				})
			})
		}
	}
}

func TestAKeyMeetsOneServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 200
		b, names, s := together(t, Config{Balance: balance.IPHash})
		home := make(map[string]string)
		ask := func() (moved int, from map[string]bool) {
			from = make(map[string]bool)
			for i := range keys {
				key := fmt.Sprint("client ", i)
				for range 3 {
					_, err := b.Send(bg, []byte(key), Call{Key: balance.KeyOf(key)})
					require.NoError(t, err)
				}
			}
			synctest.Wait()
			for _, name := range names {
				at := make(map[string]int)
				for _, req := range s[name].asked() {
					at[req]++
				}
				s[name].forget()
				for key, n := range at {
					require.Equal(t, 3, n, "%s of %s", key, name)
					if was := home[key]; was != "" && was != name {
						moved++
						from[was] = true
					}
					home[key] = name
				}
			}
			require.Len(t, home, keys)
			return moved, from
		}
		ask()
		moved, _ := ask()
		require.Zero(t, moved)
		require.NoError(t, b.RemoveServer("two:1"))
		moved, from := ask()
		require.Greater(t, moved, keys/10)
		require.Equal(t, map[string]bool{"two:1": true}, from, "only its keys move")
		require.NoError(t, b.AddServer("two:1", 2))
		synctest.Wait()
		back, _ := ask()
		require.Equal(t, moved, back, "and they move back")

		// A batch is one client's.
		require.NoError(t, b.SendBatch(bg, make([][]byte, 300), func(_ int, _ []byte, err error) {
			assert.NoError(t, err)
		}, Call{Key: balance.KeyOf("client 7")}))
		assert.Contains(t, s.counts(names), 300)
	})
}

func TestACallGoesWhereItWantsToWhileThatIsUp(t *testing.T) {
	for name, call := range map[string]func(b *Broker, o Call) error{
		"Send": func(b *Broker, o Call) error {
			_, err := b.Send(bg, []byte("x"), o)
			return err
		},
		"Go": func(b *Broker, o Call) error {
			done := make(chan error, 1)
			if err := b.Go(bg, []byte("x"), func(_ []byte, err error) { done <- err }, o); err != nil {
				return err
			}
			return <-done
		},
		"SendBatch": func(b *Broker, o Call) error {
			return b.SendBatch(bg, [][]byte{{'x'}}, func(int, []byte, error) {}, o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, names, s := together(t, Config{})
				for range 30 {
					require.NoError(t, call(b, Call{Server: "two:1"}))
				}
				require.Equal(t, []int{0, 30, 0}, s.counts(names))
				for range 30 {
					require.NoError(t, call(b, Call{Server: "nobody:1"}))
				}
				require.Equal(t, []int{10, 10, 10}, s.counts(names), "a name that is none")
				s["two:1"].leave()
				pass(time.Second)
				s["two:1"].forget()
				for range 30 {
					require.NoError(t, call(b, Call{Server: "two:1"}))
				}
				require.Equal(t, []int{15, 0, 15}, s.counts(names), "it is down")
				require.NoError(t, call(b, Call{}))
			})
		})
	}
}

func TestWhatACallWantsIsKnownWhenItsConnectionEnds(t *testing.T) {
	w := newWaiter().(*waiter)
	w.request.key, w.request.server, w.request.lane = 7, new(address), list.LaneUrgent
	for _, to := range []outcome{
		w, &kept{request: w.request}, &watchedCallback{request: w.request},
		&batchItem{batch: &batch{common: w.request}},
	} {
		var r request
		r.recall(to)
		assert.Equal(t, w.request.key, r.key, "%T", to)
		assert.Same(t, w.request.server, r.server, "%T", to)
		assert.Equal(t, list.LaneUrgent, r.lane, "%T", to)
	}
	var r request
	r.recall(plainCallback(nil))
	assert.Zero(t, r, "it has asked for nothing")
}

// plugged returns a broker for players, the first of which takes no byte on its first
// connection until that is cut. Only for bubbles.
func plugged(t *testing.T, cfg Config, addrs ...string) (b *Broker, s stage, cut func()) {
	t.Helper()
	s = newStage(addrs...)
	client, server := net.Pipe()
	var dialled atomic.Bool
	cfg.Addrs = addrs
	cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == addrs[0] && dialled.CompareAndSwap(false, true) {
			return client, nil
		}
		return s.dial(ctx, network, addr)
	}
	b = bubbleBroker(t, cfg)
	synctest.Wait()
	c := b.routes.Load().conns[0] // what is offered to a socket does not move
	require.Equal(t, accepted, c.submit(&request{payload: []byte("plug")}, false))
	c.kick()
	synctest.Wait()
	return b, s, func() { server.Close() }
}

// What a call wants holds for a request that moves, whichever way it was made.
func TestARequestThatMovesKeepsWhatItWants(t *testing.T) {
	for _, watched := range []bool{false, true} {
		for _, idempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("watched=%t/idempotent=%t", watched, idempotent), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx := bg
					if watched {
						var cancel func()
						ctx, cancel = context.WithCancel(bg)
						defer cancel()
					}
					names := []string{"one:1", "two:1", "three:1", "four:1"}
					b, s, cut := plugged(t, Config{Balance: balance.IPHash, SilenceTimeout: -1, WriteTimeout: -1}, names...)
					done := make(chan error, 200)
					for i := range cap(done) {
						key := uint64(i%20 + 1)
						require.NoError(t, b.Go(ctx, fmt.Append(nil, key), func(_ []byte, err error) { done <- err },
							Call{Key: key, Idempotent: idempotent}))
					}
					synctest.Wait()
					moving := b.Stats().InFlight
					require.Positive(t, moving)
					cut()
					for range cap(done) {
						require.NoError(t, <-done)
					}
					for _, name := range names {
						for _, req := range s[name].asked() {
							require.Equal(t, 10, count(s[name].asked(), req), "%s at %s", req, name)
						}
					}
				})
			})
		}
	}
}

// count returns how many of all are like one.
func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

func TestARequestThatMovesKeepsItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, cut := plugged(t, Config{SilenceTimeout: -1, WriteTimeout: -1}, "one:1")
		done := make(chan error, 6)
		for i := range cap(done) {
			require.NoError(t, b.Go(bg, fmt.Append(nil, i), func(_ []byte, err error) { done <- err }, Call{Priority: i%2*3 - 1}))
		}
		synctest.Wait()
		cut()
		for range cap(done) {
			require.NoError(t, <-done)
		}
		require.Equal(t, []string{"1", "3", "5", "0", "2", "4"}, s["one:1"].asked())
	})
}

func TestARepetitionGoesToAnotherServerThanTheLostConnectionsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			b, s := onStage(t, Config{ConnsPerAddr: 3, SilenceTimeout: -1}, "one:1", "two:1")
			s["one:1"].behave(swallows)
			done := make(chan error, 1)
			go func() {
				_, err := b.Send(bg, []byte("x"), Call{Server: "one:1", Idempotent: true})
				done <- err
			}()
			synctest.Wait()
			require.Len(t, s["one:1"].asked(), 1)
			for _, c := range b.routes.Load().conns {
				if c.open() > 0 {
					c.fail("read", lost(errPeerClosed))
				}
			}
			require.NoError(t, <-done)
			require.Len(t, s["two:1"].asked(), 1)
			require.NoError(t, b.Close())
		}
	})
}

// ReadTimeout passes on one connection, and the server has others that are well thought of.
func TestARepetitionAfterReadTimeoutGoesToAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{ConnsPerAddr: 3, SilenceTimeout: -1, ReadTimeout: time.Second, EjectionTime: -1}, "one:1", "two:1")
		s["one:1"].behave(swallows)
		for n := range 10 { // as often as the budget allows
			_, err := b.Send(bg, []byte("x"), Call{Server: "one:1", Idempotent: true})
			require.NoError(t, err)
			require.Len(t, s["one:1"].asked(), n+1)
			require.Len(t, s["two:1"].asked(), n+1)
		}
	})
}
