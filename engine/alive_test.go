package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/loglines"
)

// What these tests hold is what "an address is alive when it has answered" promises, seen
// by callers. address_test.go has the address alone.

func TestADoorThatAcceptsAndClosesIsDialledSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const longest = 4 * time.Second
		s := newStage("door:1")
		door := s["door:1"]
		door.behave(shuts)
		b := bubbleBroker(t, Config{Addrs: []string{"door:1"}, DialContext: s.dial, BackoffMax: longest})
		pass(time.Minute)
		assert.LessOrEqual(t, len(door.dialled()), 60, "dials in a minute")
		pass(9 * time.Minute)
		dials := door.dialled()
		assert.LessOrEqual(t, len(dials), 450, "dials in ten minutes, 300 on the average")
		bound, slow := DefaultBackoffBase, 0
		for i, gap := range gaps(dials) {
			require.LessOrEqual(t, gap, bound, "pause %d", i)
			bound = min(2*bound, longest)
			if gap > longest/2 {
				slow++
			}
		}
		assert.GreaterOrEqual(t, slow, 50, "the pause reaches BackoffMax, half of them are long")

		door.behave(answers)
		ready(t, b)
		requireServed(t, b, 1)
		door.forget()
		door.behave(shuts)
		door.cut()
		pass(DefaultBackoffBase)
		assert.NotEmpty(t, door.dialled(), "a reply has come since: the pause begins anew")
	})
}

func TestADoorThatClosesLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage("door:1")
		s["door:1"].behave(shuts)
		b := bubbleBroker(t, Config{Addrs: []string{"door:1"}, DialContext: s.dial,
			BackoffBase: 40 * time.Millisecond, BackoffMax: 40 * time.Millisecond})
		for range 100 {
			pass(70 * time.Millisecond)
			require.Empty(t, b.conns())
			require.Empty(t, b.servers()[0].links[0].old)
			require.Zero(t, b.Stats().InFlight)
		}
		assert.Greater(t, b.Stats().ConnsLost, uint64(150))
	})
}

func TestTheLogTellsOfADoorThatClosesInALineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newStage("door:1"), new(journal)
		s["door:1"].behave(shuts)
		b := bubbleBroker(t, Config{Addrs: []string{"door:1"}, DialContext: s.dial,
			BackoffBase: 20 * time.Millisecond, BackoffMax: 20 * time.Millisecond, Logger: slog.New(log)})
		pass(10*time.Second + 500*time.Millisecond)
		logged, left := 0, uint64(0)
		log.mu.Lock()
		for _, r := range log.lines {
			if r.Message == "server down" {
				continue // of those it has one
			}
			logged++
			r.Attrs(func(a slog.Attr) bool {
				if a.Key == "lines left out before" {
					left += uint64(a.Value.Int64())
				}
				return true
			})
		}
		log.mu.Unlock()
		assert.LessOrEqual(t, logged, loglines.Burst+10)
		assert.GreaterOrEqual(t, logged, 10, "one a second is logged")
		events := 2 * b.Stats().ConnsLost // each came up before
		assert.Greater(t, events, uint64(1000))
		assert.LessOrEqual(t, left+uint64(logged), events)
		assert.Greater(t, left+uint64(logged), events-events/4, "the lines tell how many were left out")
	})
}

func TestOfTwoAddressesTheOneThatHangsCostsAHandfulOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: time.Second, ReadTimeout: time.Second, SlowStart: -1}, "well:1", "ill:1")
		well, ill := s["well:1"], s["ill:1"]
		ill.behave(swallows)
		var load callers
		load.start(10, 50*time.Millisecond, sends(b))
		pass(time.Second + coarse(b))
		require.EqualValues(t, 1, b.Stats().Suspected)
		load.end() // those that were under way then do not count
		load.ok.Store(0)
		load.failed.Store(0)
		well.forget()
		ill.forget()

		load.start(10, 50*time.Millisecond, sends(b))
		pass(30 * time.Second)
		load.end()
		assert.LessOrEqual(t, load.failed.Load(), int64(4), "each trial costs one call")
		assert.EqualValues(t, load.failed.Load(), len(ill.asked()))
		assert.Greater(t, load.ok.Load(), int64(5000))
		assert.EqualValues(t, load.ok.Load(), len(well.asked()), "the other one served the rest")
		assert.NotEmpty(t, ill.asked(), "and it was tried")

		ill.behave(answers)
		ill.relent() // among them the reply to the trial that is open
		synctest.Wait()
		well.forget()
		ill.forget()
		requireServed(t, b, 100)
		assert.Len(t, well.asked(), 50)
		assert.Len(t, ill.asked(), 50, "it has answered, so it has its share again")
		assert.Empty(t, ill.dialled())
	})
}

func TestASuspectConnectionCostsNobodyACall(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      Config
		deadline time.Duration
		call     []Call
	}{
		{"context", Config{}, 2 * time.Minute, nil},
		{"RequestTimeout", Config{ReadTimeout: -1, RequestTimeout: 2 * time.Minute}, 0, nil},
		{"Call.Timeout", Config{}, 0, []Call{{Timeout: 2 * time.Minute}}},
		{"no deadline", Config{ReadTimeout: -1, RequestTimeout: -1}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.SilenceTimeout = time.Second
				b, s := onStage(t, c.cfg, "one:1")
				ctx, cancel := withTimeout(bg, c.deadline)
				defer cancel()
				began, result := time.Now(), make(chan error, 1)
				go func() {
					_, err := b.Send(ctx, []byte("in 1m0s"), c.call...)
					result <- err
				}()
				pass(time.Second + coarse(b))
				require.EqualValues(t, 1, b.Stats().Suspected)
				require.Len(t, s["one:1"].dialled(), 2, "it has a successor")
				require.Len(t, b.conns(), 2, "and stays")
				for range 29 {
					requireServed(t, b, 10)
					pass(2 * time.Second)
				}
				require.Empty(t, result)
				require.NoError(t, <-result)
				assert.Equal(t, time.Minute, time.Since(began))
				pass(time.Second)
				assert.Len(t, b.conns(), 1, "it has gone with its last reply")
				assert.Len(t, s["one:1"].dialled(), 2)
				requireServed(t, b, 10)
			})
		})
	}
}

// While the successor is dialled a call waits for it, rather than go where nobody answers.
func TestASuspectConnectionIsGivenNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage("one:1")
		may := make(chan struct{}, 1)
		may <- struct{}{}
		b := bubbleBroker(t, Config{
			Addrs: []string{"one:1"}, SilenceTimeout: time.Second, ReadTimeout: -1, ConnectWait: time.Minute,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				select {
				case <-may:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				return s.dial(ctx, network, addr)
			},
		})
		synctest.Wait()
		p := s["one:1"]
		p.behave(swallows)
		outcome := make(chan error, 2)
		told := func(_ []byte, err error) { outcome <- err }
		require.NoError(t, b.Go(bg, []byte("first"), told))
		pass(time.Second + coarse(b))
		require.EqualValues(t, 1, b.Stats().Suspected)
		require.NoError(t, b.Go(bg, []byte("second"), told))
		synctest.Wait()
		require.Equal(t, []string{"first"}, p.asked())
		p.behave(answers)
		may <- struct{}{}
		require.NoError(t, <-outcome)
		require.Equal(t, []string{"first", "second"}, p.asked())
		p.relent()
		require.NoError(t, <-outcome)
	})
}

func TestALateReplyClearsASuspectConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: time.Second, ReadTimeout: -1, ConnectWait: time.Minute}, "one:1")
		one := s["one:1"]
		one.single.Store(true) // no successor
		one.behave(swallows)
		outcome := make(chan error, 1)
		require.NoError(t, b.Go(bg, []byte("first"), func(_ []byte, err error) { outcome <- err }))
		pass(time.Second + coarse(b))
		require.EqualValues(t, 1, b.Stats().Suspected)
		require.Empty(t, b.routes.Load().conns)
		one.behave(answers)
		one.relent()
		require.NoError(t, <-outcome)
		synctest.Wait()
		require.Len(t, b.routes.Load().conns, 1)
		requireServed(t, b, 10)
		require.Zero(t, b.Stats().ConnsLost)
	})
}

// suspicions makes calls of a tenth of a second each for as long, and returns the pauses
// between the dials meanwhile.
func suspicions(b *Broker, p *player, d time.Duration) []time.Duration {
	p.forget()
	for began := time.Now(); time.Since(began) < d; {
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		_, _ = b.Send(ctx, []byte("x"))
		cancel()
	}
	return gaps(p.dialled())
}

func TestSilenceTimeoutDoublesWithEachSuspicionUntilAReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: time.Second, BackoffBase: time.Millisecond}, "one:1")
		ready(t, b)
		one := s["one:1"]
		for range 2 {
			one.behave(swallows)
			pauses := suspicions(b, one, 40*time.Second) // the first dial is that after a second
			require.Len(t, pauses, 4, "%v", pauses)
			for i, want := range []time.Duration{2, 4, 8, 16} {
				assert.GreaterOrEqual(t, pauses[i], want*time.Second)
				assert.LessOrEqual(t, pauses[i], want*time.Second+200*time.Millisecond, "%v", pauses)
			}
			one.behave(answers)
			requireServed(t, b, 1)
		}
	})
}

// The path serves nobody, whether or not its callers have patience.
func TestAPathThatSwallowsIsLeftThoughItsCallersGiveUpSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: time.Second}, "one:1")
		one := s["one:1"]
		one.behave(swallows)
		began := time.Now()
		for len(one.dialled()) < 2 {
			require.Less(t, time.Since(began), time.Minute, "nobody dials anew")
			ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
			_, err := b.Send(ctx, []byte("x"))
			require.ErrorIs(t, err, ErrTimeout)
			cancel()
		}
		took := one.dialled()[1].Sub(began)
		assert.GreaterOrEqual(t, took, time.Second)
		assert.LessOrEqual(t, took, time.Second+coarse(b))
		one.behave(answers)
		synctest.Wait()
		// Nothing of the old connection stands in the way of the next calls: not even the last
		// one that saw it.
		for range 100 {
			ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
			_, err := b.Send(ctx, []byte("x"))
			require.NoError(t, err)
			cancel()
		}
		assert.Len(t, one.dialled(), 2)
	})
}

func TestCallersThatGiveUpAreNoEvidence(t *testing.T) {
	for name, end := range map[string]func() (context.Context, context.CancelFunc){
		"deadlines": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(bg, 10*time.Millisecond)
		},
		"cancellations": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(bg)
			time.AfterFunc(10*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, Config{SilenceTimeout: time.Second}, "one:1", "two:1")
				s["one:1"].behave(swallows)
				s["two:1"].behave(swallows)
				for range 10 { // ten rounds of 0.9 s, with a reply on each connection between
					for range 90 {
						ctx, cancel := end()
						_, err := b.Send(ctx, []byte("x"))
						require.Error(t, err)
						cancel()
					}
					s["one:1"].relent()
					s["two:1"].relent()
					synctest.Wait()
				}
				assert.Zero(t, b.Stats().Suspected)
				assert.Len(t, s["one:1"].dialled(), 1)
				assert.Len(t, s["two:1"].dialled(), 1)
				assert.EqualValues(t, 900, b.Stats().LateReplies)
			})
		})
	}
}

// A quarter of the IDs are lost, so the connection has a successor, but not at the cost of
// the callers that wait.
func TestManyCancelledCallsDoNotEndThePatientOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		note := func(what string) func(string, error) {
			return func(string, error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, what)
			}
		}
		b, s := onStage(t, Config{
			ReadTimeout: -1, OnConnect: note("up"), OnDisconnect: note("down"),
		}, "one:1")
		one := s["one:1"]
		ready(t, b)
		results := make(chan error, 8)
		for range cap(results) {
			go func() {
				_, err := b.Send(bg, []byte("in 20s"))
				results <- err
			}()
		}
		synctest.Wait()
		one.behave(swallows)
		var given atomic.Int64
		for range 21 {
			ctx, cancel := context.WithCancel(bg)
			for range 100 {
				require.NoError(t, b.Go(ctx, []byte("x"), func(_ []byte, err error) {
					if errors.Is(err, context.Canceled) {
						given.Add(1)
					}
				}))
			}
			synctest.Wait()
			cancel()
			pass(time.Millisecond)
		}
		require.EqualValues(t, 2100, given.Load())
		one.behave(answers)
		pass(time.Second)
		require.Len(t, one.dialled(), 2, "it has a successor")
		require.Len(t, b.conns(), 2, "and stays")
		requireServed(t, b, 100)
		for range cap(results) {
			require.NoError(t, <-results)
		}
		pass(time.Second)
		assert.Len(t, b.conns(), 1, "it has gone with the last of them")
		assert.Zero(t, b.Stats().Orphans)
		requireServed(t, b, 100)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{"up", "up", "down"}, told, "the successor came first")
	})
}

func TestTheLastAddressNeverRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: time.Second, ReadTimeout: -1}, "up:1", "down:1")
		up, down := s["up:1"], s["down:1"]
		synctest.Wait()
		down.behave(refuses)
		down.cut()
		up.behave(swallows)
		synctest.Wait()
		for round := range 4 { // each time it is suspect, the next connection is on trial
			up.forget()
			for range 20 {
				require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {}))
			}
			synctest.Wait()
			require.Len(t, up.asked(), 20, "round %d: it is the last one", round)
			require.EqualValues(t, round, b.Stats().Suspected)
			pass(time.Second<<round + coarse(b))
			require.EqualValues(t, round+1, b.Stats().Suspected)
		}
		// Another one that comes up and has failed too is no better.
		down.behave(swallows)
		ready(t, b)
		pass(time.Minute) // it is dialled within BackoffMax
		up.forget()
		down.forget()
		for range 20 {
			require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {}))
		}
		synctest.Wait()
		assert.Len(t, up.asked(), 10)
		assert.Len(t, down.asked(), 10)
	})
}

func TestAnAddressOnTrialTakesAllWhenTheOtherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{SilenceTimeout: -1, ReadTimeout: -1}, "one:1", "two:1")
		one, two := s["one:1"], s["two:1"]
		synctest.Wait()
		two.cut()
		pass(time.Second) // it is up again, and on trial
		two.behave(swallows)
		send := func(n int) {
			for range n {
				require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {}))
			}
			synctest.Wait()
		}
		send(20)
		require.Len(t, two.asked(), 1)
		require.Len(t, one.asked(), 19)
		one.behave(refuses)
		one.cut()
		synctest.Wait()
		send(20)
		require.Len(t, two.asked(), 21)
	})
}

// Calls that come to a door that closes move from one connection to the next, but not for
// longer than they may take, and do not have it dialled all the time.
func TestCallsToADoorThatClosesEndInTime(t *testing.T) {
	for name, c := range map[string]struct {
		opts  []Call
		limit time.Duration
	}{
		"RequestTimeout": {nil, 10 * time.Second},
		"Call.Timeout":   {[]Call{{Timeout: time.Minute, Idempotent: true}}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, Config{RequestTimeout: 10 * time.Second, MaxRetries: 1000}, "door:1")
				door := s["door:1"]
				ready(t, b)
				requireServed(t, b, 1)
				door.behave(shuts)
				door.cut()
				synctest.Wait()
				door.forget()
				began := time.Now()
				var load callers
				var longest atomic.Int64
				load.start(10, 50*time.Millisecond, func() error {
					began := time.Now()
					_, err := b.Send(bg, []byte("x"), c.opts...)
					longest.Store(max(longest.Load(), int64(time.Since(began))))
					return err
				})
				pass(3 * time.Minute)
				load.end()
				assert.Zero(t, load.ok.Load())
				assert.LessOrEqual(t, time.Duration(longest.Load()), c.limit+unit(b)+coarse(b))
				dials := time.Duration(len(door.dialled()))
				assert.GreaterOrEqual(t, dials, time.Since(began)/hurryMax)
				assert.LessOrEqual(t, dials, 3*time.Since(began)/hurryMin)
				door.behave(answers)
				sendsEvery(t, b, 50*time.Millisecond)
			})
		})
	}
}

// unit is by how much more a call with ReadTimeout may be late whose attempt was put off.
func unit(b *Broker) time.Duration { return b.clock.tick << b.timeouts.slackShift }

func TestADeadlineIsKeptHoweverOftenARequestMoves(t *testing.T) {
	for _, limit := range []time.Duration{3 * time.Second, 30 * time.Second, time.Hour} {
		cfg := Config{RequestTimeout: limit, ReadTimeout: 2 * time.Second}.withDefaults()
		b := &Broker{clock: newClock(&cfg)}
		b.timeouts.read, b.timeouts.request = b.clock.ticks(cfg.ReadTimeout), b.clock.ticks(limit)
		b.timeouts.slackShift = slackShift(b.timeouts.request, b.timeouts.read)
		unit := uint32(1) << b.timeouts.slackShift
		for k := uint32(1); k <= 20; k++ {
			b.clock.ticked.Store(1)
			call := b.clock.after(b.timeouts.request)
			tick, slack := b.attemptDeadline(call, false)
			step := b.timeouts.request/1000*k + 1
			for now := step; now < b.timeouts.request; now += step {
				b.clock.ticked.Store(now)
				deadline, attempts := b.wholeDeadline(tick, slack)
				require.True(t, call == deadline || call.Due(deadline), "never early")
				require.Less(t, deadline.Since(call), unit, "%v, every %d ticks, at %d", limit, step, now)
				if !attempts {
					break // no other attempt fits
				}
				tick, slack = b.attemptDeadline(deadline, true)
				took := tick.Since(b.clock.now())
				require.GreaterOrEqual(t, took, min(b.attemptTicks(), deadline.Since(b.clock.now())))
				require.Less(t, took, b.attemptTicks()+unit)
			}
		}
	}
}

// A deadline far away is kept by the call, since what a slot knows of it is coarse.
func TestARequestThatMovesKeepsADeadlineFarAway(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		b, s := onStage(t, Config{RequestTimeout: 10 * time.Second, ConnectWait: time.Hour,
			BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour}, "one:1")
		requireServed(t, b, 1)
		pass(time.Minute)
		c := onlyConn(t, b)
		require.True(t, c.out.right.Take(), "nobody writes")
		want := b.clock.after(b.clock.ticks(time.Minute))
		go call(b, bg, []byte("x"), Call{Timeout: time.Minute, Idempotent: true})
		synctest.Wait()
		require.Equal(t, 1, c.open())
		s["one:1"].behave(refuses)
		c.fail("read", lost(errTest))
		c.out.right.Keep()
		synctest.Wait()
		b.backlog.mu.Lock()
		defer b.backlog.mu.Unlock()
		require.Equal(t, 1, b.backlog.lanes.Len())
		require.Equal(t, want, b.backlog.lanes.Front().deadline)
	})
}

var errTest = errors.New("a test's")
