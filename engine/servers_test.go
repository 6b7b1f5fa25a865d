package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
)

// staged returns a broker for the first of some players; the others may be added. Only for
// bubbles.
func staged(t *testing.T, cfg Config, first string, others ...string) (*Broker, stage) {
	t.Helper()
	s := newStage(append(others, first)...)
	cfg.Addrs, cfg.DialContext = []string{first}, s.dial
	b := bubbleBroker(t, cfg)
	synctest.Wait()
	return b, s
}

func TestAServerThatIsAddedTakesItsShare(t *testing.T) {
	for name, call := range waysToCall {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := staged(t, Config{}, "one:1", "two:1")
				require.NoError(t, call(b, 50, func(err error) { assert.NoError(t, err) }))
				synctest.Wait()
				require.Len(t, s["one:1"].asked(), 50)
				require.NoError(t, b.AddServer("two:1", 0))
				synctest.Wait()
				for range 50 {
					require.NoError(t, call(b, 2, func(err error) { assert.NoError(t, err) }))
					synctest.Wait()
				}
				assert.Len(t, s["one:1"].asked(), 100)
				assert.Len(t, s["two:1"].asked(), 50)
				stats := b.AddrStats()
				require.Len(t, stats, 2)
				assert.Equal(t, "two:1", stats[1].Addr)
				assert.Equal(t, 1, stats[1].Weight)
				assert.Equal(t, AddrUp, stats[1].State)
				assert.EqualValues(t, 50, stats[1].Replies)
			})
		})
	}
}

// While all others are down, calls wait for the first dial of one that is added, as they do
// at the beginning.
func TestAServerThatIsAddedIsHopedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := staged(t, Config{}, "one:1", "two:1")
		s["one:1"].leave()
		pass(time.Minute)
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrNoHealthyServer)
		require.ErrorIs(t, err, ErrNoPoolsAvailable)
		require.NoError(t, b.AddServer("two:1", 1))
		requireServed(t, b, 1)
	})
}

func TestAServerThatIsRemovedAnswersWhatItHas(t *testing.T) {
	for name, call := range waysToCall {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := staged(t, Config{SilenceTimeout: -1, ConnsPerAddr: 2}, "one:1", "two:1")
				one := s["one:1"]
				one.behave(swallows)
				var served atomic.Int64
				require.NoError(t, call(b, 10, func(err error) {
					if err == nil {
						served.Add(1)
					}
				}))
				synctest.Wait()
				require.NoError(t, b.AddServer("two:1", 1))
				synctest.Wait()
				dials := b.Stats().Dials
				require.EqualValues(t, 4, dials)

				require.NoError(t, b.RemoveServer("one:1"))
				synctest.Wait()
				requireServed(t, b, 20)
				require.Len(t, one.asked(), 10, "it gets no more")
				require.Len(t, s["two:1"].asked(), 20)
				stats := b.AddrStats()
				require.Len(t, stats, 2)
				require.Equal(t, "one:1", stats[1].Addr)
				require.Equal(t, AddrLeaving, stats[1].State)
				require.Equal(t, 10, stats[1].InFlight)

				one.relent()
				synctest.Wait()
				require.EqualValues(t, 10, served.Load())
				pass(time.Second) // the clock looks
				require.Empty(t, one.open, "closed")
				require.Len(t, b.AddrStats(), 1)
				require.Empty(t, b.leaving)
				require.Equal(t, dials, b.Stats().Dials, "what it has counted stays")
				require.EqualValues(t, 30, b.Stats().Replies)
				require.Zero(t, b.Stats().ConnsLost)
				pass(time.Hour)
				require.Len(t, one.dialled(), 2, "it is not dialled again")
			})
		})
	}
}

func TestARemovedServerHasUntilShutdownTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := staged(t, Config{SilenceTimeout: -1, ReadTimeout: -1, ShutdownTimeout: 3 * time.Second}, "one:1", "two:1")
		s["one:1"].behave(swallows)
		errs := make(chan error, 2)
		for _, o := range []Call{{}, {Idempotent: true}} {
			go func() {
				_, err := b.Send(bg, fmt.Append(nil, o.Idempotent), o)
				errs <- err
			}()
			synctest.Wait()
		}
		require.NoError(t, b.AddServer("two:1", 1))
		synctest.Wait()
		began := time.Now()
		require.NoError(t, b.RemoveServer("one:1"))
		for range cap(errs) {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, ErrConnLost)
				require.ErrorIs(t, err, errRemoved)
				require.False(t, SafeToRetry(err))
			}
		}
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, []string{"true"}, s["two:1"].asked(), "elsewhere, since it may be made again")
		synctest.Wait()
		require.Len(t, b.AddrStats(), 1)
	})
}

func TestAServerMayGoWhileItIsDialledAndComeBackWhileItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := staged(t, Config{SilenceTimeout: -1}, "one:1", "two:1")
		s["two:1"].behave(refuses)
		for range 5 {
			require.NoError(t, b.AddServer("two:1", 1))
			require.NoError(t, b.RemoveServer("tcp://two:1"))
		}
		pass(time.Minute)
		require.Len(t, b.AddrStats(), 1)
		require.Zero(t, b.untried.Load())
		requireServed(t, b, 2)

		one := s["one:1"]
		one.behave(swallows)
		done := make(chan error, 1)
		require.NoError(t, b.Go(bg, []byte("kept"), func(_ []byte, err error) { done <- err }))
		synctest.Wait()
		require.NoError(t, b.RemoveServer("one:1"))
		require.NoError(t, b.AddServer("one:1", 1))
		synctest.Wait()
		require.Len(t, b.AddrStats(), 2)
		one.behave(answers)
		requireServed(t, b, 5)
		one.relent()
		require.NoError(t, <-done)
		pass(time.Second)
		require.Len(t, b.AddrStats(), 1)
	})
}

func TestWithoutAServerCallsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := staged(t, Config{}, "one:1")
		requireServed(t, b, 1)
		require.NoError(t, b.RemoveServer("one:1"))
		began := time.Now()
		_, err := b.Send(bg, []byte("x"))
		require.ErrorIs(t, err, ErrNoHealthyServer)
		require.Zero(t, time.Since(began), "at once")
		require.ErrorIs(t, b.Go(bg, nil, func([]byte, error) {}), ErrNoHealthyServer)
		pass(time.Minute)
		require.NoError(t, b.AddServer("one:1", 1))
		requireServed(t, b, 3)
	})
}

func TestServersThatMakeNoSenseAreRefusedByName(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	here := b.servers()[0].name
	for want, err := range map[string]error{
		"AddServer: address \"nonsense\"":                        b.AddServer("nonsense", 1),
		"AddServer: weight is -1; it must lie in 1 to 10000":     b.AddServer("a:1", -1),
		"AddServer: weight is 10001":                             b.AddServer("a:1", balance.MaxWeight+1),
		fmt.Sprintf("AddServer: addr %q is there already", here): b.AddServer(here, 1),
		"\"tcp://" + here + "\" is there already":                b.AddServer("tcp://"+here, 1),
		"RemoveServer: addr \"a:1\" is no server":                b.RemoveServer("a:1"),
		"RemoveServer: address \"unix://\" has no path":          b.RemoveServer("unix://"),
		"SetWeight: addr \"a:1\" is no server":                   b.SetWeight("a:1", 1),
		"SetWeight: weight is -7":                                b.SetWeight(here, -7),
	} {
		assert.ErrorContains(t, err, want)
	}
	require.Len(t, b.servers(), 1)
	_, err := b.Send(bg, nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	for _, err := range []error{b.AddServer("a:1", 1), b.RemoveServer(here), b.SetWeight(here, 1)} {
		assert.ErrorIs(t, err, ErrQuit)
	}
}

// Nothing fails while servers come and go under load, and nothing is left.
func TestServersComeAndGoUnderLoad(t *testing.T) {
	for _, strategy := range balance.Strategies() {
		t.Run(string(strategy), func(t *testing.T) {
			addrs := []string{newPeer(t, echo).addr(), newPeer(t, echo).addr(), newPeer(t, echo).addr()}
			b := newBroker(t, Config{Addrs: addrs[:1], ConnsPerAddr: 2, Balance: strategy})
			ready(t, b)
			var load callers
			load.start(8, 0, func() error {
				_, err := b.Send(bg, []byte("load"), Call{Key: 3, Server: addrs[2], Priority: 1})
				assert.NoError(t, err)
				return b.SendBatch(bg, make([][]byte, 5), func(_ int, _ []byte, err error) { assert.NoError(t, err) })
			})
			for round := range 30 {
				for _, addr := range addrs[1:] {
					require.NoError(t, b.AddServer(addr, round%5))
				}
				before := load.ok.Load()
				until(func() bool { return load.ok.Load() > before+20 })
				require.NoError(t, b.SetWeight(addrs[1], 3))
				for _, addr := range addrs[1:] {
					require.NoError(t, b.RemoveServer(addr))
				}
			}
			load.end()
			require.Zero(t, load.failed.Load())
			until(func() bool { return len(b.AddrStats()) == 1 })
		})
	}
}

func TestCloseWhileServersComeAndGo(t *testing.T) {
	addrs := []string{newPeer(t, echo).addr(), newPeer(t, echo).addr()}
	for range 50 {
		b := newBroker(t, Config{Addrs: addrs[:1]})
		var all sync.WaitGroup
		all.Go(func() {
			for b.AddServer(addrs[1], 1) == nil && b.RemoveServer(addrs[1]) == nil {
			}
		})
		ready(t, b)
		require.NoError(t, b.Close())
		all.Wait()
		require.Error(t, b.AddServer(addrs[1], 1))
	}
}

// However often servers come and go, those that are there are told apart where a request was
// refused.
func TestServersHaveBitsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := staged(t, Config{}, "one:1", "two:1", "three:1")
		require.NoError(t, b.AddServer("three:1", 1))
		for range 70 {
			require.NoError(t, b.AddServer("two:1", 1))
			all := uint32(0)
			for _, a := range b.servers() {
				require.Zero(t, all&a.bit)
				require.NotZero(t, a.bit)
				all |= a.bit
			}
			require.NoError(t, b.RemoveServer("two:1"))
		}
	})
	var b Broker
	var full []*address
	for range 100 {
		b.list.Store(&full)
		full = append(full, &address{bit: b.freeBit()})
		require.NotZero(t, full[len(full)-1].bit, "more than bits share them")
	}
}
