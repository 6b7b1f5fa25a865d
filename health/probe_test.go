package health_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/health"
)

// patient is a probe of the tests: it counts, and does what it is told.
type patient struct {
	calls, active, most atomic.Int64
	do                  atomic.Pointer[func(ctx context.Context) error]
	at                  []time.Time // of one probe at a time
}

func (p *patient) will(do func(ctx context.Context) error) { p.do.Store(&do) }

func (p *patient) probe(ctx context.Context) error {
	p.calls.Add(1)
	p.at = append(p.at, time.Now())
	p.most.Store(max(p.most.Load(), p.active.Add(1)))
	defer p.active.Add(-1)
	if do := p.do.Load(); do != nil {
		return (*do)(ctx)
	}
	return nil
}

func broken(context.Context) error { return errBroken }

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// ward runs a group with one patient, and another server that is well, on fake time.
func ward(t *testing.T, cfg health.Config, f func(t *testing.T, p *patient, s *health.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, err := health.New(cfg)
		require.NoError(t, err)
		p := &patient{}
		s, err := g.Add("patient", p.probe)
		require.NoError(t, err)
		_, err = g.Add("other", nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { g.Run(ctx); close(done) }()
		f(t, p, s)
		cancel()
		<-done
		assert.LessOrEqual(t, p.most.Load(), int64(1), "one probe at a time")
	})
}

// after lets time pass, and what it does happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestIdleServerIsProbedEachInterval(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		after(3 * time.Second)
		require.EqualValues(t, 1, p.calls.Load(), "the first one comes soon")
		after(time.Hour)
		assert.InDelta(t, 121, p.calls.Load(), 4)
		even := 0
		for i := 1; i < len(p.at); i++ {
			pause := p.at[i].Sub(p.at[i-1])
			require.GreaterOrEqual(t, pause, 27*time.Second)
			require.LessOrEqual(t, pause, 33*time.Second)
			if pause == 30*time.Second {
				even++
			}
		}
		assert.Less(t, even, 3, "no jitter")
		st := s.Status()
		assert.EqualValues(t, p.calls.Load(), st.ProbesPassed)
		assert.Zero(t, st.ProbesFailed)
		assert.Equal(t, p.at[len(p.at)-1], st.LastProbe)
	})
}

func TestServerThatAnswersCallsIsNotProbed(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		after(4 * time.Second)
		require.EqualValues(t, 1, p.calls.Load())
		for range 3600 {
			s.Report(health.Answered, time.Now(), nil)
			after(time.Second)
		}
		assert.EqualValues(t, 1, p.calls.Load())
		after(70 * time.Second)
		assert.GreaterOrEqual(t, p.calls.Load(), int64(2))
	})
}

func TestThreeFailedProbesPutItDownAndTwoBringItBack(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		after(4 * time.Second)
		p.will(broken)
		after(33*time.Second + 7*time.Second) // an interval, and the pauses to be sure
		require.Equal(t, health.Down, s.State())
		require.ErrorIs(t, s.Status().LastError, errBroken)
		require.GreaterOrEqual(t, s.Status().ProbesFailed, uint64(3))

		calls := p.calls.Load()
		after(time.Minute)
		assert.GreaterOrEqual(t, p.calls.Load()-calls, int64(12), "no pause is longer than 5 s")
		p.will(func(context.Context) error { return nil })
		after(5*time.Second + 500*time.Millisecond)
		require.Contains(t, []health.State{health.Rising, health.Up}, s.State())
		after(health.DefaultSlowStart)
		require.Equal(t, health.Up, s.State())
	})
}

func TestOneSuccessDoesNotBringItBack(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		p.will(broken)
		after(20 * time.Second)
		require.Equal(t, health.Down, s.State())
		var n atomic.Int64
		p.will(func(context.Context) error {
			if n.Add(1)%2 == 0 {
				return errBroken
			}
			return nil
		})
		after(5 * time.Minute)
		require.Equal(t, health.Down, s.State())
		require.Greater(t, n.Load(), int64(20))
	})
}

func TestProbeThatHangsFails(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		p.will(hang)
		after(4*time.Second + health.DefaultTimeout)
		require.ErrorIs(t, s.Status().LastError, context.DeadlineExceeded)
		require.EqualValues(t, 1, s.Status().ProbesFailed, "once")
		after(2*health.DefaultTimeout + 2*time.Second)
		require.Equal(t, health.Down, s.State())
	})
}

func TestProbeThatNeverReturnsIsTheOnlyOneAndCounts(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		release := make(chan struct{})
		p.will(func(context.Context) error { <-release; return nil })
		after(4*time.Second + 3*health.DefaultTimeout)
		require.Equal(t, health.Down, s.State())
		require.EqualValues(t, 1, p.calls.Load())
		p.will(func(context.Context) error { return nil })
		release <- struct{}{}
		after(12 * time.Second)
		require.Equal(t, health.Up, s.State())
	})
}

func TestCallsThatFailBringTheProbeForward(t *testing.T) {
	for _, c := range []struct {
		o       health.Outcome
		forward bool
	}{{health.Unreachable, true}, {health.Late, true}, {health.Failed, false}} {
		ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
			after(10 * time.Second)
			require.EqualValues(t, 1, p.calls.Load())
			s.Report(health.Answered, time.Now(), nil) // does not spare it the probe
			began := p.at[0].Add(time.Second)
			for range 100 {
				s.Report(c.o, began, errBroken)
			}
			after(time.Second)
			assert.Equal(t, c.forward, p.calls.Load() == 2, "%v: %d probes", c.o, p.calls.Load())
		})
	}
}

func TestManyCallersWhoGiveUpMakeFewProbes(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		after(10 * time.Second)
		calls := p.calls.Load()
		for range 6000 {
			s.Report(health.Late, time.Now(), nil)
			after(10 * time.Millisecond)
		}
		assert.InDelta(t, 60/5, p.calls.Load()-calls, 2)
	})
}

func TestProbesBringNoEjectedServerBack(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		after(time.Second)
		report(s, health.Failed)
		require.Equal(t, health.Ejected, s.State())
		after(10 * time.Minute)
		require.Equal(t, health.Trial, s.State())
		require.Greater(t, p.calls.Load(), int64(15))
	})
}

func TestProbeWithoutAVerdictCountsAsNothing(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		p.will(func(context.Context) error { return health.ErrNoVerdict })
		after(5 * time.Minute)
		require.Equal(t, health.Up, s.State())
		p.will(broken)
		after(time.Minute)
		require.Equal(t, health.Down, s.State())
		p.will(func(context.Context) error { return health.ErrNoVerdict })
		calls := p.calls.Load()
		after(time.Minute)
		require.Equal(t, health.Down, s.State())
		require.Greater(t, p.calls.Load()-calls, int64(10))
		require.Less(t, p.calls.Load()-calls, int64(2000), "a loop")
	})
}

func TestProbeThatPanicsOrExitsFails(t *testing.T) {
	for _, do := range []func(context.Context) error{
		func(context.Context) error { panic("oh") },
		func(context.Context) error { runtime.Goexit(); return nil },
	} {
		ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
			p.will(do)
			after(30 * time.Second)
			require.Equal(t, health.Down, s.State())
			require.Regexp(t, "panicked: oh|ended its goroutine", s.Status().LastError.Error())
		})
	}
}

func TestNegativeIntervalProbesOnlyWhatIsDown(t *testing.T) {
	ward(t, health.Config{Interval: -1}, func(t *testing.T, p *patient, s *health.Server) {
		after(time.Hour)
		require.Zero(t, p.calls.Load())
		report(s, health.Unreachable)
		after(10 * time.Second)
		require.Equal(t, health.Up, s.State())
		calls := p.calls.Load()
		require.GreaterOrEqual(t, calls, int64(2))
		after(time.Hour)
		require.Equal(t, calls, p.calls.Load())
	})
}

func TestRunEndsWithAProbeUnderWay(t *testing.T) {
	ward(t, health.Config{}, func(t *testing.T, p *patient, s *health.Server) {
		p.will(hang)
		after(4 * time.Second)
		require.EqualValues(t, 1, p.active.Load())
		t.Cleanup(func() {
			assert.Zero(t, p.active.Load())
			assert.Zero(t, s.Status().ProbesFailed, "that Run ended says nothing of the server")
		})
	})
}

func TestConnectProbesAListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	probe := health.Connect("tcp", l.Addr().String())
	require.NoError(t, probe(t.Context()))
	nc, err := l.Accept()
	require.NoError(t, err)
	_, err = nc.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, nc.Close())
	require.NoError(t, l.Close())
	require.Error(t, probe(t.Context()))
}

func TestPingChecksTheReply(t *testing.T) {
	var reply []byte
	var failure error
	call := func(_ context.Context, payload []byte) ([]byte, error) {
		assert.Equal(t, "ping", string(payload))
		return reply, failure
	}
	probe := health.Ping(call, []byte("ping"), func(reply []byte) error {
		if string(reply) != "pong" {
			return errors.New("no pong")
		}
		return nil
	})
	reply = []byte("pong")
	require.NoError(t, probe(t.Context()))
	reply = []byte("what?")
	require.ErrorContains(t, probe(t.Context()), "wrong reply to the ping: no pong")
	failure = errBroken
	require.ErrorIs(t, probe(t.Context()), errBroken)
	failure = nil
	require.NoError(t, health.Ping(call, []byte("ping"), nil)(t.Context()))
}
