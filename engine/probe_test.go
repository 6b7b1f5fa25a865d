package engine

import (
	"errors"
	"log/slog"
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
	"github.com/ringwire/ringwire/taskid"
)

// probing is failing with probes, whose silence ends nothing.
func probing(check func([]byte) error) Config {
	cfg := failing()
	cfg.Probe = &Probe{Payload: []byte("are you well?"), Check: check}
	return cfg
}

// asking calls a server every second for so long.
func asking(t *testing.T, b *Broker, addr string, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); pass(time.Second) {
		_, err := b.Send(bg, []byte("x"), Call{Server: addr})
		require.NoError(t, err)
	}
}

func TestServersAreProbedOfWhichNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, probing(nil), "busy:1", "idle:1")
		s["idle:1"].forget()
		asking(t, b, "busy:1", 5*time.Minute)
		assert.NotContains(t, s["busy:1"].asked(), "are you well?")
		probes := len(s["idle:1"].asked())
		assert.InDelta(t, 10, probes, 1.5, "every 30 s, up to a tenth more or less")
		for _, req := range s["idle:1"].asked() {
			assert.Equal(t, "are you well?", req)
		}
		st := b.Stats()
		assert.EqualValues(t, probes, st.Probes)
		assert.Zero(t, st.ProbesFailed)
		assert.EqualValues(t, probes, stateOf(b, "idle:1").Probes)
	})
}

func TestNobodyIsProbedByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "one:1")
		pass(time.Hour)
		require.Empty(t, s["one:1"].asked())
		require.Zero(t, b.Stats().Probes)
	})
}

func TestEachConnectionIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := probing(nil)
		cfg.ConnsPerAddr = 3
		b, s := onStage(t, cfg, "one:1")
		pass(35 * time.Second)
		require.Len(t, b.conns(), 3)
		for _, c := range b.conns() {
			require.EqualValues(t, 1, c.in.got.replies.Load())
		}
		s["one:1"].behave(swallows)
		for b.Stats().ProbesFailed == 0 {
			pass(100 * time.Millisecond)
		}
		require.EqualValues(t, 1, b.Stats().ProbesFailed, "the first that fails is enough for once")
		s["one:1"].behave(answers)
		pass(10 * time.Second)
		before := b.Stats().Probes
		pass(5 * time.Minute)
		require.InDelta(t, 3*10, b.Stats().Probes-before, 5, "it is well again")
	})
}

// A server that hangs while nobody calls is out before somebody does.
func TestThreeProbesThatFailEject(t *testing.T) {
	for name, silence := range map[string]time.Duration{"calls fail": -1, "the connection is silent": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := probing(nil)
				cfg.ReadTimeout, cfg.SilenceTimeout = 5*time.Second, silence
				b, s := onStage(t, cfg, "hangs:1", "well:1")
				s["hangs:1"].behave(swallows)
				began := time.Now()
				for stateOf(b, "hangs:1").State == AddrUp {
					pass(time.Second)
					require.Less(t, time.Since(began), 33*time.Second+2*5500*time.Millisecond+3*5*time.Second+2*time.Second)
				}
				if silence < 0 {
					require.Equal(t, AddrEjected, stateOf(b, "hangs:1").State)
					require.EqualValues(t, 3, b.Stats().ProbesFailed)
				}
				s["hangs:1"].forget()
				requireServed(t, b, 2)
				s["hangs:1"].behave(answers)
				pass(time.Minute)
				requireServed(t, b, 20)
				pass(time.Minute)
				require.Equal(t, AddrUp, stateOf(b, "hangs:1").State)
				require.Equal(t, AddrUp, stateOf(b, "well:1").State)
			})
		})
	}
}

// A server that answers its calls, and says that it is not well, is asked again as soon as it is
// back, and ejected anew until it says that it is.
func TestAServerWhoseRepliesTheCheckRefusesStaysOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		var journal journal
		cfg := probing(nil)
		cfg.Logger = slog.New(&journal)
		names := []string{"ill:1", "well:1"}
		s := newStage(names...)
		cfg.Probe.Check = func(reply []byte) error {
			assert.Equal(t, "are you well?", string(reply))
			if ill.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}
		b := s.broker(t, cfg, names...)
		ill.Store(true) // both say so, and one has to stay
		pass(2 * time.Minute)
		out := 0
		for _, name := range names {
			if stateOf(b, name).State != AddrUp {
				out++
			}
		}
		require.Equal(t, 1, out)
		requireServed(t, b, 20)
		ill.Store(false)
		for range 20 {
			pass(time.Minute)
			requireServed(t, b, 20)
		}
		for _, name := range names {
			require.Equal(t, AddrUp, stateOf(b, name).State)
			require.Equal(t, 100, stateOf(b, name).Share)
		}
		all := append(journal.states(names[0]), journal.states(names[1])...)
		require.Contains(t, strings.Join(all, "; "), "probe failed: the disk is full")
	})
}

// When its only fault is what the check says, a call decides that it is back; the next probe is soon.
func TestAServerThatIsBackIsProbedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		cfg := probing(func([]byte) error { n.Add(1); return errors.New("ill") })
		b, _ := onStage(t, cfg, "one:1", "two:1")
		pass(time.Minute)
		require.GreaterOrEqual(t, n.Load(), int64(6))
		for before := n.Load(); n.Load() < before+10; {
			at := n.Load()
			requireServed(t, b, 2)
			pass(5500 * time.Millisecond)
			require.Greater(t, n.Load(), at)
		}
	})
}

func TestTheOnlyServerIsProbedAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := onStage(t, probing(func([]byte) error { return errors.New("ill") }), "one:1")
		pass(10 * time.Minute)
		require.Greater(t, b.Stats().ProbesFailed, uint64(100))
		require.Equal(t, AddrUp, stateOf(b, "one:1").State)
		requireServed(t, b, 10)
	})
}

// A check that misbehaves is one that fails.
func TestAProbesCheckMayPanicOrEndItsGoroutine(t *testing.T) {
	for name, check := range map[string]func([]byte) error{
		"panic":  func([]byte) error { panic("no") },
		"Goexit": func([]byte) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := onStage(t, probing(check), "one:1")
				pass(2 * time.Minute)
				require.Greater(t, b.Stats().ProbesFailed, uint64(10))
				requireServed(t, b, 10)
			})
		})
	}
}

// One that blocks holds up the probes of its server, and the end of Close, which is bounded.
func TestAProbesCheckMayBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var inside atomic.Int64
		var kept sync.WaitGroup
		kept.Add(2)
		b, _ := onStage(t, probing(func(reply []byte) error {
			defer kept.Done()
			inside.Add(1)
			<-gate
			assert.Equal(t, "are you well?", string(reply), "it is its own")
			return nil
		}), "one:1", "two:1")
		pass(10 * time.Minute)
		require.EqualValues(t, 2, inside.Load(), "one for each server")
		requireServed(t, b, 10)
		err := b.Close()
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorContains(t, err, "Probe.Check")
		close(gate)
		require.NoError(t, b.Wait(bg))
		kept.Wait()
	})
}

// stacks returns those of all goroutines.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// A server that is away, or is removed, is not probed, and none answers for another.
func TestWhoIsNotUpIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := probing(nil)
		b, s := onStage(t, cfg, "away:1", "well:1", "removed:1")
		s["away:1"].behave(refuses)
		s["away:1"].cut()
		require.NoError(t, b.RemoveServer("removed:1"))
		for _, p := range s {
			p.forget()
		}
		pass(5 * time.Minute)
		require.Equal(t, 2, strings.Count(stacks(), "(*prober).run("), "goroutines that probe")
		require.Empty(t, s["away:1"].asked())
		require.Empty(t, s["removed:1"].asked())
		require.EqualValues(t, len(s["well:1"].asked()), b.Stats().Probes)
		require.Zero(t, b.Stats().ProbesFailed)
	})
}

func TestAProbeMakesSense(t *testing.T) {
	for field, p := range map[string]Probe{
		"Interval": {Interval: -1},
		"Timeout":  {Timeout: MaxTimeout + 1},
		"Payload":  {Payload: make([]byte, 1<<16)},
	} {
		_, err := New(Config{Addrs: []string{"one:1"}, Probe: &p})
		require.ErrorContains(t, err, "Config.Probe."+field)
	}
	mine := Probe{Payload: []byte("ask")}
	cfg := Config{Probe: &mine}.withDefaults()
	mine.Payload[0] = 'x'
	require.Equal(t, "ask", string(cfg.Probe.Payload), "New copies the Config")
	require.Equal(t, 30*time.Second, cfg.Probe.Interval)
	require.Equal(t, 5*time.Second, cfg.Probe.Timeout)
	require.Zero(t, mine.Interval)
}

// A probe whose connection ends says nothing, though another server may answer it.
func TestAProbeThatLosesItsConnectionIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, probing(func([]byte) error { return errors.New("ill") }), "away:1", "well:1")
		c := b.find("tcp", "away:1").links[0].current.Load()
		s["away:1"].behave(swallows)
		met := make(chan error, 1)
		go func() {
			_, err := c.ask(b.cfg.Probe)
			met <- err
		}()
		synctest.Wait()
		require.Len(t, s["away:1"].asked(), 1)
		s["away:1"].cut()
		require.Equal(t, errNoVerdict, <-met)
		_, err := c.ask(b.cfg.Probe)
		require.Equal(t, errNoVerdict, err, "the connection has ended")

		// It was not written, so it is moved to the other server, which answers.
		s["away:1"].behave(answers)
		pass(time.Minute)
		c = b.find("tcp", "away:1").links[0].current.Load()
		require.True(t, c.out.right.Take(), "nobody writes")
		s["well:1"].forget()
		go func() {
			_, err := c.ask(b.cfg.Probe)
			met <- err
		}()
		synctest.Wait()
		s["away:1"].cut()
		<-c.dead
		c.out.right.Keep()
		require.Equal(t, errNoVerdict, <-met)
		require.Equal(t, []string{"are you well?"}, s["well:1"].asked())
	})
}

// With probes no call is put at risk to find out whether a server is back.
func TestWithProbesNoCallDecidesATrial(t *testing.T) {
	for name, trouble := range map[string]func(p *player){
		"hangs":   func(p *player) { p.behave(swallows) },
		"is away": func(p *player) { p.behave(refuses); p.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := probing(nil)
				cfg.ReadTimeout, cfg.SilenceTimeout = 5*time.Second, 5*time.Second
				b, s := onStage(t, cfg, "ill:1", "well:1")
				trouble(s["ill:1"])
				for stateOf(b, "ill:1").State == AddrUp {
					pass(time.Second)
				}
				for range 100 { // it hangs for long, and comes on trial again and again
					requireServed(t, b, 3)
					require.NoError(t, b.SendBatch(bg, make([][]byte, 10), func(_ int, _ []byte, err error) {
						assert.NoError(t, err)
					}))
					pass(time.Second)
				}
				s["ill:1"].behave(swallows) // it is back, and does not answer yet
				pass(time.Minute)
				s["ill:1"].behave(answers)
				began := time.Now()
				for stateOf(b, "ill:1").State != AddrUp {
					requireServed(t, b, 3)
					pass(time.Second)
					require.Less(t, time.Since(began), 6*time.Minute)
				}
				require.Contains(t, s["ill:1"].asked(), "are you well?")
			})
		})
	}
}

// A server that comes back is used as soon as it has answered a probe, and not an Interval later.
func TestAServerThatIsBackIsProbedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := probing(nil)
		cfg.Probe.Interval = time.Hour
		b, s := onStage(t, cfg, "away:1", "well:1")
		s["away:1"].behave(refuses)
		s["away:1"].cut()
		pass(time.Minute)
		require.Equal(t, AddrDown, stateOf(b, "away:1").State)
		s["away:1"].behave(answers)
		pass(DefaultBackoffMax + time.Second)
		require.Equal(t, AddrUp, stateOf(b, "away:1").State)
	})
}

// What a server says of a failure may hold anything; the log has the code.
func TestALogOfProbesHasNoTextOfTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := counted(&asked, func(p *spoken, id taskid.ID, req []byte) { p.deny(id, framing.StatusFailed, 77, "PIN 1234") })
		var log syncBuffer
		b := s.inBubble(t, Config{Probe: &Probe{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		pass(5 * time.Minute)
		require.NotZero(t, asked.Load())
		require.NotZero(t, b.Stats().ProbesFailed)
		assert.Contains(t, log.String(), "code 77")
		assert.NotContains(t, log.String(), "1234")
	})
}
