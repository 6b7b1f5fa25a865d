package health_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// never is not known.
var never time.Time

func newGroup(t *testing.T, cfg health.Config, n int) (*health.Group, []*health.Server) {
	t.Helper()
	g, err := health.New(cfg)
	require.NoError(t, err)
	var all []*health.Server
	for i := range n {
		s, err := g.Add(fmt.Sprint("server ", i), nil)
		require.NoError(t, err)
		all = append(all, s)
	}
	return g, all
}

// report reports an outcome as often as the default thresholds need.
func report(s *health.Server, o health.Outcome) {
	for range 3 {
		s.Report(o, never, errBroken)
	}
}

func states(all []*health.Server) (is []health.State) {
	for _, s := range all {
		is = append(is, s.State())
	}
	return is
}

// counts returns how many servers take calls, are out although they can be reached, and are
// down.
func counts(all []*health.Server) (take, out, down int) {
	for _, s := range all {
		switch s.State() {
		case health.Up, health.Rising:
			take++
		case health.Trial, health.Ejected:
			out++
		case health.Down:
			down++
		}
	}
	return take, out, down
}

func TestHalfAtMostIsEjectedAndNeverTheLast(t *testing.T) {
	for n, most := range []int{0, 0, 1, 1, 2, 2, 3} {
		_, all := newGroup(t, health.Config{}, n)
		for _, s := range all {
			report(s, health.Failed)
		}
		_, out, _ := counts(all)
		assert.Equal(t, most, out, "of %d", n)
	}
}

func TestAllMayBeDown(t *testing.T) {
	_, all := newGroup(t, health.Config{}, 3)
	for _, s := range all {
		report(s, health.Unreachable)
	}
	assert.Equal(t, []health.State{health.Down, health.Down, health.Down}, states(all))
}

func TestServersThatAreDownDoNotCountIntoTheHalf(t *testing.T) {
	_, all := newGroup(t, health.Config{}, 4)
	report(all[0], health.Unreachable)
	report(all[1], health.Failed)
	report(all[2], health.Failed)
	assert.Equal(t, []health.State{health.Down, health.Ejected, health.Up, health.Up}, states(all), "half of three is one")
	report(all[0], health.Answered)
	require.Equal(t, health.Rising, all[0].State())
	report(all[2], health.Failed)
	assert.Equal(t, health.Ejected, all[2].State(), "half of four is two")
}

func TestServersWithoutAConnectionDoNotCountIntoTheHalf(t *testing.T) {
	changed := 0
	g, all := newGroup(t, health.Config{OnlyConnected: true, OnChange: func() { changed++ }}, 5)
	fail := func() (out int) {
		for _, s := range all {
			report(s, health.Failed)
		}
		_, out, _ = counts(all)
		return out
	}
	require.Zero(t, fail(), "none is connected")
	all[4].AddConnections(2)
	require.Zero(t, fail(), "never the last that is")
	all[3].AddConnections(1)
	require.Equal(t, 1, fail())
	require.Equal(t, health.Up, all[0].State(), "one without a connection has none to fail")
	all[2].AddConnections(1)
	require.Equal(t, 1, fail(), "of three")
	all[1].AddConnections(1)
	require.Equal(t, 2, fail(), "of four")

	before := changed
	all[4].AddConnections(-1)
	_, out, _ := counts(all)
	require.Equal(t, 2, out, "it has another one")
	require.Equal(t, before, changed)
	connected := all[4]
	for _, s := range all {
		if s.State() == health.Up && s != all[0] {
			connected = s
		}
	}
	connected.AddConnections(-1)
	_, out, _ = counts(all)
	require.Equal(t, 1, out, "the half of three is one: the longest ejection ends")
	require.Greater(t, changed, before)
	require.NoError(t, g.Remove(all[0]))
	_, out, _ = counts(all[1:])
	require.Equal(t, 1, out, "it did not count")
}

func TestCallsThatFailHaveAThresholdOfTheirOwn(t *testing.T) {
	_, all := newGroup(t, health.Config{UnhealthyThreshold: 1, EjectionThreshold: 3}, 2)
	for range 2 {
		all[0].Report(health.Failed, never, errBroken)
	}
	require.Equal(t, health.Up, all[0].State())
	all[0].Report(health.Failed, never, errBroken)
	require.Equal(t, health.Ejected, all[0].State())
	all[1].Report(health.Unreachable, never, errBroken)
	require.Equal(t, health.Down, all[1].State())
	require.Equal(t, health.Rising, all[0].State(), "it is all there is")
}

func TestLongestEjectionEndsWhenTheHalfShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := newGroup(t, health.Config{}, 6)
		for _, i := range []int{1, 0, 2} {
			report(all[i], health.Failed)
			require.Equal(t, health.Ejected, all[i].State())
			time.Sleep(time.Second)
		}
		report(all[3], health.Unreachable)
		assert.Equal(t, []health.State{
			health.Ejected, health.Rising, health.Ejected, health.Down, health.Up, health.Up,
		}, states(all))
		require.NoError(t, g.Remove(all[4]))
		require.Equal(t, health.Ejected, all[0].State(), "half of four is two")
		require.NoError(t, g.Remove(all[5]))
		require.Equal(t, health.Rising, all[0].State(), "half of three is one")
		report(all[1], health.Unreachable)
		require.Equal(t, health.Ejected, all[2].State(), "half of two is one")
		report(all[0], health.Unreachable)
		assert.Equal(t, health.Rising, all[2].State(), "the last one")
	})
}

func TestTrialTakesOneCallAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := newGroup(t, health.Config{}, 2)
		s := all[0]
		require.False(t, s.Try(), "up")
		report(s, health.Failed)
		require.Equal(t, health.Ejected, s.State())
		require.False(t, s.Try(), "ejected")
		time.Sleep(health.DefaultEjectionTime)
		g.Advance(time.Now())
		require.Equal(t, health.Trial, s.State())
		require.Equal(t, 1, g.Trials())
		require.Zero(t, s.Share())

		require.True(t, s.Try())
		require.False(t, s.Try())
		s.Report(health.Late, time.Now(), nil)
		require.True(t, s.Try(), "the caller gave up: another one")
		s.Report(health.Answered, time.Now(), nil)
		require.Equal(t, health.Trial, s.State())
		require.True(t, s.Try())
		time.Sleep(health.DefaultTimeout - 1)
		require.False(t, s.Try())
		time.Sleep(time.Nanosecond)
		require.True(t, s.Try(), "the caller never said")
		s.Report(health.Answered, time.Now(), nil)
		require.Equal(t, health.Rising, s.State())
		require.Zero(t, g.Trials())
		require.False(t, s.Try())
		require.Equal(t, 10, s.Share())
	})
}

func TestAdvanceSaysWhenItWantsToBeCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		g, all := newGroup(t, health.Config{OnChange: func() { changes++ }}, 2)
		s := all[0]
		// follow does what is asked for, and as nothing else does, until nothing is.
		follow := func() {
			for next := g.Advance(time.Now()); !next.IsZero(); next = g.Advance(time.Now()) {
				time.Sleep(max(0, time.Until(next)))
			}
		}
		follow()
		require.Zero(t, changes)

		report(s, health.Unreachable)
		require.Equal(t, health.Down, s.State())
		follow()
		require.Equal(t, health.Trial, s.State(), "only a call can tell more")
		s.Report(health.Answered, time.Now(), nil)
		s.Report(health.Answered, time.Now(), nil)
		require.Equal(t, health.Rising, s.State())
		began := time.Now()
		follow()
		require.Equal(t, health.Up, s.State())
		require.Equal(t, 100, s.Share())
		require.Equal(t, health.DefaultSlowStart, time.Since(began))
		assert.Equal(t, 3+10, changes, "down, trial, rising, and ten steps")
	})
}

func TestRetryIsThePauseAndNothingWhenItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := newGroup(t, health.Config{BackoffBase: time.Hour, BackoffMax: time.Hour}, 1)
		require.Zero(t, all[0].Retry())
		all[0].Report(health.Unreachable, never, errBroken)
		require.True(t, all[0].Retry().After(time.Now()))
		require.Equal(t, health.Up, all[0].State())
		all[0].Report(health.Answered, never, nil)
		require.Zero(t, all[0].Retry())
	})
}

func TestNothingIsHeardOfARemovedServer(t *testing.T) {
	changes := 0
	g, all := newGroup(t, health.Config{OnChange: func() { changes++ }}, 2)
	require.NoError(t, g.Remove(all[0]))
	report(all[0], health.Unreachable)
	require.Equal(t, health.Up, all[0].State())
	require.Zero(t, changes)
	require.ErrorContains(t, g.Remove(all[0]), "not in this group")
	_, err := g.Add("server 0", nil)
	require.NoError(t, err, "the name is free again")
}

func TestStatusTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := newGroup(t, health.Config{}, 2)
		s := all[0]
		s.Report(health.Failed, never, errBroken)
		time.Sleep(time.Second)
		require.Equal(t, health.Status{
			Name: "server 0", State: health.Up, Since: time.Now().Add(-time.Second), Share: 100, Failures: 1, LastError: errBroken,
		}, s.Status())
		report(s, health.Failed)
		st := s.Status()
		require.Equal(t, health.Ejected, st.State)
		require.Equal(t, time.Now(), st.Since)
		require.Equal(t, 1, st.Ejections)
	})
}

// TestWhateverHappensHalfIsLeft has many goroutines report anything for simulated hours, and
// holds the group to its promises all the time.
func TestWhateverHappensHalfIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := newGroup(t, health.Config{}, 7)
		var wg sync.WaitGroup
		for seed := range uint64(4) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, 1))
				for range 3000 {
					s := all[r.IntN(len(all))]
					began := never
					if r.IntN(2) == 0 {
						began = time.Now().Add(-time.Duration(r.IntN(3000)) * time.Millisecond)
					}
					if s.Try() || s.State() != health.Trial {
						o := health.Outcome(r.IntN(5))
						for range r.IntN(5) {
							s.Report(o, began, errBroken)
						}
					}
					time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
				}
			})
		}
		stop := make(chan struct{})
		go func() { wg.Wait(); close(stop) }()
		visited := make(map[health.State]int)
		for {
			select {
			case <-stop:
				for s := health.Up; s <= health.Ejected; s++ {
					assert.Greater(t, visited[s], 100, "%v: the test sees it too seldom", s)
				}
				return
			case <-time.After(100 * time.Millisecond):
			}
			g.Advance(time.Now())
			synctest.Wait()
			take, out, down := counts(all)
			require.LessOrEqual(t, out, (take+out)/2, "%v", states(all))
			require.Equal(t, len(all), take+out+down)
			trials := 0
			for _, s := range all {
				visited[s.State()]++
				if s.State() == health.Trial {
					trials++
				}
				require.Equal(t, s.State() == health.Up || s.State() == health.Rising, s.Share() > 0)
			}
			require.Equal(t, trials, g.Trials())
		}
	})
}

func TestNonsenseIsRefusedByName(t *testing.T) {
	for want, cfg := range map[string]health.Config{
		"Config.UnhealthyThreshold is -1":  {UnhealthyThreshold: -1},
		"Config.EjectionThreshold is 1001": {EjectionThreshold: 1001},
		"Config.HealthyThreshold is 1001":  {HealthyThreshold: 1001},
		"Config.Timeout is -1s":            {Timeout: -time.Second},
		"Config.Interval is 25h0m0s":       {Interval: 25 * time.Hour},
		"Config.BackoffBase is -1ns":       {BackoffBase: -1},
		"Config.BackoffBase 2s and":        {BackoffBase: 2 * time.Second, BackoffMax: time.Second},
		"Config.MaxEjectionTime is -1ns":   {MaxEjectionTime: -1},
		"Config.EjectionTime 2s and":       {EjectionTime: 2 * time.Second, MaxEjectionTime: time.Second},
	} {
		_, err := health.New(cfg)
		assert.ErrorContains(t, err, want)
	}
	g, err := health.New(health.Config{})
	require.NoError(t, err)
	_, err = g.Add("", nil)
	require.ErrorContains(t, err, "name is empty")
	_, err = g.Add("a", nil)
	require.NoError(t, err)
	_, err = g.Add("a", nil)
	require.ErrorContains(t, err, `name "a" is there already`)
}
