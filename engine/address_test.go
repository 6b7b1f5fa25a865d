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
// reports.
func judged() *address {
	b := &Broker{born: time.Now(), silenceTicks: 10}
	a := &address{b: b, name: "one:1", pause: backoff.Policy{Min: time.Second, Max: time.Minute}}
	a.proven.Store(true)
	b.addrs = []*address{a}
	return a
}

// mustAdmit begins a dial and returns its epoch.
func mustAdmit(t *testing.T, a *address) (epoch uint64) {
	t.Helper()
	epoch, _, ok := a.admit(time.Now())
	require.True(t, ok, "a dial may begin")
	return epoch
}

// refuse has a dial fail that has begun.
func refuse(a *address, epoch uint64) { a.dialled(epoch, errNobodyListens) }

// waitOut lets the pause pass.
func waitOut(a *address) { <-time.After(time.Until(a.notYet)) }

func TestThePauseGrowsWithEachFailureUntilAReply(t *testing.T) {
	for name, fail := range map[string]func(a *address, epoch uint64){
		"refused": refuse,
		"lost": func(a *address, epoch uint64) {
			a.dialled(epoch, nil)
			a.report(eventLost, epoch, time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := judged()
				for n := 1; n < 10; n++ {
					epoch := mustAdmit(t, a)
					before := time.Now()
					fail(a, epoch)
					require.Equal(t, n, a.failures)
					require.LessOrEqual(t, a.notYet.Sub(before), a.pause.Bound(n))
					require.False(t, a.proven.Load())
					if a.notYet.After(before) {
						_, again, ok := a.admit(before)
						require.False(t, ok)
						require.Equal(t, a.notYet, again, "it says when to ask again")
					}
					waitOut(a)
				}
				epoch := mustAdmit(t, a)
				a.dialled(epoch, nil)
				require.Equal(t, 9, a.failures, "that it was accepted proves nothing")
				require.False(t, a.proven.Load())
				a.report(eventAnswered, epoch, 0)
				require.Zero(t, a.failures)
				require.True(t, a.proven.Load())
				require.True(t, a.known.Load())
				a.report(eventLost, epoch, time.Second)
				require.Equal(t, 1, a.failures)
			})
		})
	}
}

func TestFailuresOfDialsThatBeganTogetherCountOnce(t *testing.T) {
	a := judged()
	var epochs []uint64
	for range 5 { // five connections at once: nothing has failed
		epochs = append(epochs, mustAdmit(t, a))
	}
	for _, e := range epochs {
		refuse(a, e)
	}
	assert.Equal(t, 1, a.failures)

	a = judged()
	epochs = nil
	for range 5 {
		epochs = append(epochs, mustAdmit(t, a))
		a.dialled(epochs[0], nil)
	}
	a.report(eventAnswered, epochs[0], 0)
	for _, e := range epochs { // the server restarts: all five end
		a.report(eventLost, e, time.Second)
	}
	assert.Equal(t, 1, a.failures)
}

func TestAfterAFailureOneDialAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged()
		refuse(a, mustAdmit(t, a))
		waitOut(a)
		epoch := mustAdmit(t, a)
		_, again, ok := a.admit(time.Now().Add(time.Hour))
		assert.False(t, ok)
		assert.Zero(t, again, "a poke says when")
		a.dialled(epoch, nil)
		mustAdmit(t, a)
	})
}

func TestAConnectionThatWasUpForLongIsTheFirstFailure(t *testing.T) {
	a := judged()
	for range 8 {
		a.failures++
	}
	epoch := mustAdmit(t, a)
	a.dialled(epoch, nil)
	a.report(eventLost, epoch, a.pause.Max)
	assert.Equal(t, 9, a.failures)
	a.report(eventLost, epoch, a.pause.Max+1)
	assert.Equal(t, 1, a.failures, "nobody has asked anything; it was closed for being idle")
}

func TestSilenceBringsAnotherDialAtOnce(t *testing.T) {
	a := judged()
	epoch := mustAdmit(t, a)
	a.dialled(epoch, nil)
	a.report(eventAnswered, epoch, 0)
	a.report(eventSilent, epoch, 0)
	assert.False(t, a.proven.Load())
	assert.EqualValues(t, 1, a.suspected.Load())
	mustAdmit(t, a)
}

func TestPatienceDoublesWithEachSuspicionUpToABound(t *testing.T) {
	a := judged()
	for n := range uint32(20) {
		assert.Equal(t, uint32(10)<<min(n, patienceMax), a.patience())
		epoch := mustAdmit(t, a)
		a.dialled(epoch, nil)
		a.report(eventSilent, epoch, 0)
	}
	a.report(eventAnswered, 0, 0)
	assert.EqualValues(t, 10, a.patience())

	a.b.silenceTicks = silenceMax
	a.report(eventSilent, 0, 0)
	assert.EqualValues(t, silenceMax, a.patience(), "ticks wrap")
	a.b.silenceTicks = 0
	assert.Zero(t, a.patience(), "never")
}

func TestAHurriedDialBeginsASecondOrTwoAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := judged()
		a.pause = backoff.Policy{Min: 1e6 * time.Hour, Max: 1e6 * time.Hour}
		for range 50 {
			epoch := mustAdmit(t, a)
			began := time.Now()
			<-time.After(100 * time.Millisecond) // virtual
			refuse(a, epoch)
			<-time.After(200 * time.Millisecond) // virtual
			a.hurry()
			first := a.notYet
			a.hurry()
			require.Equal(t, first, a.notYet, "once for each dial")
			require.GreaterOrEqual(t, first.Sub(began), hurryMin)
			require.LessOrEqual(t, first.Sub(began), hurryMax)
			waitOut(a)
		}
	})
}

func TestHurryNeverPutsADialOff(t *testing.T) {
	a := judged()
	a.pause = backoff.Policy{Min: 1, Max: 1}
	refuse(a, mustAdmit(t, a))
	was := a.notYet
	a.hurry()
	assert.Equal(t, was, a.notYet)
}

// A call waits for ConnectWait after the last connection was lost, so there must be a dial
// late in it.
func TestAHurriedDialFallsIntoTheSecondHalfOfConnectWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = time.Second
		for range 50 {
			a := judged()
			a.b.cfg.ConnectWait = wait
			a.pause = backoff.Policy{Min: 1e6 * time.Hour, Max: 1e6 * time.Hour}
			<-time.After(time.Hour) // virtual
			a.b.downSince.Store(int64(a.b.uptime()))
			down := time.Now()
			refuse(a, mustAdmit(t, a)) // at once
			a.hurry()
			require.GreaterOrEqual(t, a.notYet.Sub(down), wait/2)
			require.Less(t, a.notYet.Sub(down), wait)
		}
	})
}

func TestAnAddressThatRestsIsTriedAgainLikeANewOne(t *testing.T) {
	a := judged()
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
		a := judged()
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
