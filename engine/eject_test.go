package engine

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/loglines"
	"github.com/ringwire/ringwire/taskid"
)

// What these tests hold is that a server whose calls fail is out for a time that grows, half
// of the servers at most, and comes back slowly.

// failing is a Config with which ReadTimeout is found to have passed and nothing else.
func failing() Config {
	return Config{SilenceTimeout: -1, ReadTimeout: time.Second, MaxRetries: -1}
}

// fail has n calls wait at a server in vain. Only for bubbles.
func fail(t *testing.T, b *Broker, addr string, n int) {
	t.Helper()
	done := make(chan error, n)
	for range n {
		require.NoError(t, b.Go(bg, []byte("x"), func(_ []byte, err error) { done <- err }, Call{Server: addr}))
	}
	for range n {
		require.ErrorIs(t, <-done, ErrTimeout)
	}
	synctest.Wait()
}

// stateOf returns how an address is used.
func stateOf(b *Broker, addr string) AddrStats {
	for _, s := range b.AddrStats() {
		if s.Addr == addr {
			return s
		}
	}
	return AddrStats{}
}

func TestAServerWhoseCallsFailIsEjectedForATimeThatGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "ill:1", "well:1", "fine:1")
		ill := s["ill:1"]
		ill.behave(swallows)
		fail(t, b, "ill:1", 2)
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
		fail(t, b, "ill:1", 1)
		for n, out := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			at := time.Now()
			st := stateOf(b, "ill:1")
			require.Equal(t, AddrEjected, st.State, "ejection %d", n)
			require.Zero(t, st.Share)
			require.Equal(t, 3, len(b.routes.Load().servers)+1)
			require.Empty(t, b.routes.Load().trials)
			ill.forget()
			for time.Since(at) < out-out/10-time.Second {
				requireServed(t, b, 10)
				pass(500 * time.Millisecond)
			}
			require.Empty(t, ill.asked(), "it gets nothing")
			pass(2*time.Second + out/10)
			requireServed(t, b, 1) // the clock has slept
			pass(coarse(b))
			for range 10 { // one of these is the trial
				go b.Send(bg, []byte("x"))
			}
			synctest.Wait()
			require.Len(t, ill.asked(), 1, "one call decides")
			pass(time.Second + coarse(b))
		}
		// Its replies bring it back, slowly.
		ill.behave(answers)
		pass(time.Minute)
		require.Equal(t, AddrTrial, stateOf(b, "ill:1").State)
		requireServed(t, b, 1)
		synctest.Wait()
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
		require.Equal(t, 10, stateOf(b, "ill:1").Share)
		ill.forget()
		requireServed(t, b, 210)
		require.InDelta(t, 10, len(ill.asked()), 1, "a tenth of its share")
		pass(DefaultSlowStart / 2)
		requireServed(t, b, 1)
		pass(coarse(b))
		require.InDelta(t, 50, stateOf(b, "ill:1").Share, 10)
		pass(DefaultSlowStart)
		requireServed(t, b, 1)
		pass(coarse(b))
		ill.forget()
		requireServed(t, b, 300)
		require.Len(t, ill.asked(), 100)
		require.Zero(t, b.Stats().ConnsLost)
	})
}

// The clock sleeps while there is nothing to do; a call that comes then must not find the past.
func TestAnEjectionEndsThoughNobodyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "ill:1", "well:1")
		s["ill:1"].behave(swallows)
		fail(t, b, "ill:1", 3)
		require.Equal(t, AddrEjected, stateOf(b, "ill:1").State)
		s["ill:1"].behave(answers)
		pass(time.Hour)
		require.Equal(t, AddrTrial, stateOf(b, "ill:1").State)
		requireServed(t, b, 1)
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
		pass(time.Hour)
		require.Equal(t, 100, stateOf(b, "ill:1").Share)
	})
}

// A reply to a request from before the ejection comes meanwhile; that of the trial counts.
func TestAReplyDuringTheEjectionIsNotTheTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "ill:1", "well:1")
		s["ill:1"].behave(swallows)
		patient := begin(t, b, "patient", Call{Server: "ill:1", Timeout: time.Minute})
		fail(t, b, "ill:1", 3)
		s["ill:1"].relent()
		require.NoError(t, <-patient)
		synctest.Wait()
		require.Equal(t, AddrEjected, stateOf(b, "ill:1").State)
		s["ill:1"].behave(answers)
		pass(6 * time.Second)
		require.Equal(t, AddrTrial, stateOf(b, "ill:1").State)
		requireServed(t, b, 1)
		synctest.Wait()
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
	})
}

func TestARepliedCallEndsTheRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "ill:1", "well:1")
		for range 10 {
			s["ill:1"].behave(swallows)
			fail(t, b, "ill:1", 2)
			require.Equal(t, 2, stateOf(b, "ill:1").Failures)
			s["ill:1"].relent() // late replies prove nothing
			synctest.Wait()
			require.Equal(t, 2, stateOf(b, "ill:1").Failures)
			s["ill:1"].behave(answers)
			_, err := b.Send(bg, []byte("x"), Call{Server: "ill:1"})
			require.NoError(t, err)
			synctest.Wait()
			require.Zero(t, stateOf(b, "ill:1").Failures)
		}
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
	})
}

// A caller's own deadline says how patient the caller is.
func TestImpatientCallersEjectNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "ill:1", "well:1")
		s["ill:1"].behave(swallows)
		for range 20 {
			_, err := b.Send(bg, []byte("x"), Call{Server: "ill:1", Timeout: 2 * time.Second})
			require.ErrorIs(t, err, ErrTimeout)
		}
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)

		// Nor do they keep others from the trial for ever.
		fail(t, b, "ill:1", 3)
		require.Equal(t, AddrEjected, stateOf(b, "ill:1").State)
		pass(6 * time.Second)
		require.Equal(t, AddrTrial, stateOf(b, "ill:1").State)
		s["ill:1"].forget()
		_, err := b.Send(bg, []byte("x"), Call{Timeout: 100 * time.Millisecond})
		require.ErrorIs(t, err, ErrTimeout)
		require.Len(t, s["ill:1"].asked(), 1)
		s["ill:1"].behave(answers)
		for range 30 {
			requireServed(t, b, 1)
			pass(100 * time.Millisecond)
		}
		require.Equal(t, AddrUp, stateOf(b, "ill:1").State)
	})
}

func TestHalfOfTheServersAtMostAreEjectedAndNeverTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a:1", "b:1", "c:1", "d:1", "e:1"}
		s := newStage(names...)
		s["e:1"].behave(refuses) // without a connection it does not count
		b := s.broker(t, failing(), names...)
		for _, name := range names[:4] {
			s[name].behave(swallows)
		}
		for _, name := range names[:4] {
			fail(t, b, name, 3)
		}
		count := func() (up, out int) {
			for _, name := range names[:4] {
				switch stateOf(b, name).State {
				case AddrUp:
					up++
				case AddrEjected:
					out++
				}
			}
			return up, out
		}
		up, out := count()
		require.Equal(t, []int{2, 2}, []int{up, out})
		// One of those that are up goes: of three that are connected one is out.
		s["d:1"].behave(refuses)
		s["d:1"].cut()
		synctest.Wait()
		up, out = count()
		require.Equal(t, []int{2, 1}, []int{up, out})
		for _, name := range names[:3] {
			s[name].behave(answers)
		}
		requireServed(t, b, 20)
	})
}

func TestALoneServerIsNotEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, failing(), "one:1")
		s["one:1"].behave(swallows)
		fail(t, b, "one:1", 50)
		require.Equal(t, AddrUp, stateOf(b, "one:1").State)
		require.Equal(t, 50, len(s["one:1"].asked()))
		s["one:1"].behave(answers)
		requireServed(t, b, 5)
	})
}

// Another server that is configured and was never reached is no reason to eject the only one
// that is.
func TestAServerThatWasNeverReachedStandsInForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := failing()
		cfg.IdleTimeout = time.Minute
		b, s := onStage(t, cfg, "one:1", "rests:1")
		requireServed(t, b, 2)
		for range 4 { // the other one has nothing to do, and lets its connection go
			_, err := b.Send(bg, []byte("x"), Call{Server: "one:1"})
			require.NoError(t, err)
			pass(20 * time.Second)
		}
		require.Equal(t, AddrIdle, stateOf(b, "rests:1").State)
		s["one:1"].behave(swallows)
		fail(t, b, "one:1", 10)
		require.Equal(t, AddrUp, stateOf(b, "one:1").State)
	})
}

// A server may answer pings and fail everything else, which silence never tells.
func TestAServerThatOnlyAnswersPingsIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		all := map[string]*speaker{"ill:1": counted(&n, func(*spoken, taskid.ID, []byte) {}), "well:1": counted(&n, onWish)}
		b := speakersOnStage(t, Config{ReadTimeout: time.Second, SilenceTimeout: 500 * time.Millisecond, MaxRetries: -1}, all, "ill:1", "well:1")
		fail(t, b, "ill:1", 3)
		require.Equal(t, AddrEjected, stateOf(b, "ill:1").State)
		require.Positive(t, b.Stats().Pings)
		require.Zero(t, b.Stats().Suspected)
		requireServed(t, b, 20)
	})
}

// states returns the messages about servers that were logged, with their causes.
func (j *journal) states(addr string) (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.lines {
		at, cause := "", ""
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "addr":
				at = a.Value.String()
			case "cause":
				cause = ": " + a.Value.String()
			}
			return true
		})
		if len(r.Message) > 7 && r.Message[:7] == "server " && at == addr {
			all = append(all, r.Message+cause)
		}
	}
	return all
}

func TestTheLogTellsWhatBecomesOfServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(journal)
		cfg := failing()
		s := newStage("ill:1", "well:1", "new:1")
		cfg.Logger, cfg.Addrs, cfg.DialContext = slog.New(log), []string{"ill:1", "well:1"}, s.dial
		b := bubbleBroker(t, cfg)
		synctest.Wait()
		require.Empty(t, log.states("ill:1"), "it was up from the beginning")
		s["ill:1"].behave(swallows)
		fail(t, b, "ill:1", 3)
		pass(10 * time.Second)
		s["ill:1"].behave(answers)
		require.Equal(t, AddrTrial, stateOf(b, "ill:1").State)
		requireServed(t, b, 2)
		pass(10 * time.Second)
		s["ill:1"].behave(refuses)
		s["ill:1"].cut()
		pass(10 * time.Second)
		s["ill:1"].behave(answers)
		pass(10 * time.Second)
		requireServed(t, b, 2)
		synctest.Wait()
		require.Equal(t, []string{
			"server ejected: no reply in time: ReadTimeout, 1s",
			"server readmitted",
			"server down: connection lost: closed by the peer: EOF",
			"server up",
		}, log.states("ill:1"))
		require.Empty(t, log.states("well:1"))
		require.NoError(t, b.AddServer("new:1", 1))
		require.NoError(t, b.RemoveServer("new:1"))
		synctest.Wait()
		require.Equal(t, []string{"server added", "server removed"}, log.states("new:1"))
	})
}

// A server that goes up and down all the time has a line a second, after the first few.
func TestTheLogIsNotFloodedByAServerThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(journal)
		b, s := onStage(t, Config{Logger: slog.New(log), BackoffBase: 1, BackoffMax: 1}, "moody:1", "well:1")
		const rounds = 200
		for range rounds {
			s["moody:1"].cut()
			pass(20 * time.Millisecond)
			requireServed(t, b, 3)
			pass(30 * time.Millisecond)
		}
		lines := len(log.states("moody:1"))
		assert.LessOrEqual(t, lines, loglines.Burst+rounds*50/1000+1)
		assert.GreaterOrEqual(t, lines, 10)
	})
}
