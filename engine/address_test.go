package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/backoff"
)

// judged returns an address without links, so that nothing happens to it but what a test
// reports. Its pauses lie between min and max.
func judged(t *testing.T, min, max time.Duration) *address {
	t.Helper()
	b := &Broker{born: time.Now(), timeouts: timeouts{silence: 10}}
	b.cfg.BackoffBase, b.cfg.BackoffMax = min, max
	var err error
	b.judges, err = newJudges(&b.cfg, nil)
	require.NoError(t, err)
	a := &address{b: b, name: "one:1"}
	a.judge, err = b.judges.Add(a.name, asProbe)
	require.NoError(t, err)
	b.list.Store(&[]*address{a})
	return a
}

// failures returns how many there were in a row.
func (a *address) failures() int { return a.judge.Status().Failures }

// mustAdmit begins a dial and returns when it began.
func mustAdmit(t *testing.T, a *address) (began time.Time) {
	t.Helper()
	began = time.Now()
	_, ok := a.admit(began)
	require.True(t, ok, "a dial may begin")
	return began
}

// refuse has a dial fail that has begun.
func refuse(a *address, began time.Time) { a.dialled(began, errNobodyListens) }

// waitOut lets the pause pass. Only for bubbles.
func waitOut(a *address) { <-time.After(time.Until(a.nextDial()) + 1) }

func TestThePauseGrowsWithEachFailureUntilAReply(t *testing.T) {
	for name, fail := range map[string]func(a *address, began time.Time){
		"refused": refuse,
		"lost": func(a *address, began time.Time) {
			a.dialled(began, nil)
			a.report(eventLost, began, time.Second, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := judged(t, time.Second, time.Minute)
				for n := 1; n < 10; n++ {
					began := mustAdmit(t, a)
					before := time.Now()
					fail(a, began)
					require.Equal(t, n, a.failures())
					bound := backoff.Policy{Min: time.Second, Max: time.Minute}.Bound(n)
					require.LessOrEqual(t, a.nextDial().Sub(before), bound)
					require.False(t, a.proven())
					if a.nextDial().After(before) {
						again, ok := a.admit(before)
						require.False(t, ok)
						require.Equal(t, a.nextDial(), again, "it says when to ask again")
					}
					waitOut(a)
				}
				began := mustAdmit(t, a)
				a.dialled(began, nil)
				require.Equal(t, 9, a.failures(), "that it was accepted proves nothing")
				require.False(t, a.proven())
				a.report(eventAnswered, began, 0, nil)
				require.Zero(t, a.failures())
				require.True(t, a.proven())
				require.True(t, a.known.Load())
				a.report(eventLost, began, time.Second, nil)
				require.Equal(t, 1, a.failures())
			})
		})
	}
}

func TestFailuresOfDialsThatBeganTogetherCountOnce(t *testing.T) {
	a := judged(t, time.Second, time.Minute)
	var all []time.Time
	for range 5 { // five connections at once: nothing has failed
		all = append(all, mustAdmit(t, a))
	}
	for _, began := range all {
		refuse(a, began)
	}
	assert.Equal(t, 1, a.failures())

	a = judged(t, time.Second, time.Minute)
	all = nil
	for range 5 {
		all = append(all, mustAdmit(t, a))
		a.dialled(all[0], nil)
	}
	a.report(eventAnswered, all[0], 0, nil)
	for _, began := range all { // the server restarts: all five end
		a.report(eventLost, began, time.Second, nil)
	}
	assert.Equal(t, 1, a.failures())
}

func TestAfterAFailureOneDialAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged(t, time.Second, time.Minute)
		refuse(a, mustAdmit(t, a))
		waitOut(a)
		began := mustAdmit(t, a)
		again, ok := a.admit(time.Now().Add(time.Hour))
		assert.False(t, ok)
		assert.Zero(t, again, "a poke says when")
		a.dialled(began, nil)
		mustAdmit(t, a)
	})
}

func TestAConnectionThatWasUpForLongIsTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged(t, time.Second, time.Minute)
		for range 8 {
			refuse(a, mustAdmit(t, a))
			waitOut(a)
		}
		began := mustAdmit(t, a)
		a.dialled(began, nil)
		a.report(eventLost, began, time.Minute, nil)
		assert.Equal(t, 9, a.failures())
		for range 3 { // of several that end together each is
			a.report(eventLost, began, time.Minute+1, nil)
			assert.Equal(t, 1, a.failures(), "nobody has asked anything; it was closed for being idle")
			assert.False(t, a.proven())
		}
	})
}

func TestSilenceBringsAnotherDialAtOnce(t *testing.T) {
	a := judged(t, time.Second, time.Minute)
	began := mustAdmit(t, a)
	a.dialled(began, nil)
	a.report(eventAnswered, began, 0, nil)
	a.report(eventSilent, began, 0, nil)
	assert.False(t, a.proven())
	assert.EqualValues(t, 1, a.suspected.Load())
	mustAdmit(t, a)
}

func TestPatienceDoublesWithEachSuspicionUpToABound(t *testing.T) {
	a := judged(t, time.Second, time.Minute)
	for n := range uint32(20) {
		assert.Equal(t, uint32(10)<<min(n, patienceMax), a.patience())
		began := mustAdmit(t, a)
		a.dialled(began, nil)
		a.report(eventSilent, began, 0, nil)
	}
	a.report(eventAnswered, time.Time{}, 0, nil)
	assert.EqualValues(t, 10, a.patience())

	a.b.timeouts.silence = silenceMax
	a.report(eventSilent, time.Now(), 0, nil)
	assert.EqualValues(t, silenceMax, a.patience(), "ticks wrap")
	a.b.timeouts.silence = 0
	assert.Zero(t, a.patience(), "never")
}

func TestAHurriedDialBeginsASecondOrTwoAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged(t, MaxTimeout, MaxTimeout)
		for range 50 {
			began := mustAdmit(t, a)
			<-time.After(100 * time.Millisecond) // virtual
			refuse(a, began)
			<-time.After(200 * time.Millisecond)        // virtual
			short := a.nextDial().Sub(began) < hurryMax // of a whole day, by chance
			a.hurry()
			first := a.nextDial()
			a.hurry()
			require.Equal(t, first, a.nextDial(), "once for each dial")
			if short {
				waitOut(a)
				continue
			}
			require.GreaterOrEqual(t, first.Sub(began), hurryMin)
			require.LessOrEqual(t, first.Sub(began), hurryMax)
			waitOut(a)
		}
	})
}

func TestHurryNeverPutsADialOff(t *testing.T) {
	a := judged(t, 1, 1)
	refuse(a, mustAdmit(t, a))
	was := a.nextDial()
	a.hurry()
	assert.Equal(t, was, a.nextDial())
}

// A call waits for ConnectWait after the last connection was lost, so there must be a dial
// late in it.
func TestAHurriedDialFallsIntoTheSecondHalfOfConnectWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = time.Second
		for range 50 {
			a := judged(t, MaxTimeout, MaxTimeout)
			a.b.cfg.ConnectWait = wait
			<-time.After(time.Hour) // virtual
			a.b.downSince.Store(int64(a.b.uptime()))
			down := time.Now()
			refuse(a, mustAdmit(t, a)) // at once
			if a.nextDial().Sub(down) < wait {
				continue // of a whole day, by chance
			}
			a.hurry()
			require.GreaterOrEqual(t, a.nextDial().Sub(down), wait/2)
			require.Less(t, a.nextDial().Sub(down), wait)
		}
	})
}

func TestAnAddressThatRestsIsTriedAgainLikeANewOne(t *testing.T) {
	a := judged(t, time.Second, time.Minute)
	a.untried = true
	a.b.untried.Store(1)
	a.tested()
	a.tested()
	require.Zero(t, a.b.untried.Load())
	a.rest()
	a.rest()
	require.EqualValues(t, 1, a.b.untried.Load())
	require.True(t, a.b.hopes(), "a call may wait for it")
	a.tested()
	require.Zero(t, a.b.untried.Load())
}

func TestADialErrorIsNoTimeoutOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged(t, time.Second, time.Minute)
		a.b.cfg.DialTimeout = time.Second
		for _, cause := range []error{context.DeadlineExceeded, errNobodyListens} {
			refused := mustAdmit(t, a)
			a.dialled(refused, cause)
			waitOut(a)
			err := a.b.downError()
			assert.ErrorIs(t, err, ErrNoPoolsAvailable)
			assert.ErrorIs(t, err, ErrDial)
			assert.ErrorIs(t, err, cause)
			assert.NotErrorIs(t, err, ErrTimeout)
			assert.True(t, SafeToRetry(err))
			assert.ErrorContains(t, err, "one:1")
		}
	})
}
