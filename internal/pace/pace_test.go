package pace

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// fakeClock moves when somebody waits, or a test moves it. Time stands still else.
type fakeClock struct {
	mu    sync.Mutex // guards what follows
	time  time.Duration
	waits int
	// late is by how much each wait is late; early is how many of the first end halfway.
	late  time.Duration
	early int
}

func (c *fakeClock) start(time.Time) {}

func (c *fakeClock) cost() time.Duration { return 42 * us }

func (c *fakeClock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *fakeClock) wait(until time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	if c.early > 0 {
		c.early--
		c.time += (until - c.time) / 2
		return
	}
	c.time = max(c.time, until) + c.late
}

// pass moves the clock: to the goroutine that sends, a request took so long.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time += d
}

// started returns a pacer of 1000 requests a second, one each millisecond.
func started(patience time.Duration) (*Pacer, *fakeClock) {
	c := &fakeClock{}
	p := newPacer(&constant{rate: 1000}, patience, c)
	p.Start()
	return p, c
}

// take asks for n requests, one after the other and at once.
func take(t *testing.T, p *Pacer, n int) (all []Request) {
	t.Helper()
	for range n {
		r, due := p.Next()
		require.True(t, due)
		all = append(all, r)
	}
	return all
}

func lags(all []Request) (lags []time.Duration) {
	for _, r := range all {
		lags = append(lags, r.Lag)
	}
	return lags
}

func TestTimesAreThoseOfTheRateHoweverMany(t *testing.T) {
	for _, c := range []struct {
		rate float64
		i    int64
		want time.Duration
	}{
		{1000, 0, 0}, {1000, 1, ms}, {1000, 3_600_000_000, 1000 * time.Hour}, {0.5, 3, 6 * time.Second},
		{3, 1, 333_333_333}, {3, 2, 666_666_666}, {3, 3_000_000, 1e6 * time.Second},
		{300_000, 1, 3333}, {300_000, 300_000 * 3600, time.Hour},
	} {
		assert.Equal(t, c.want, At(c.rate, c.i), "request %d at %v/s", c.i, c.rate)
	}
}

func TestEachRequestComesWhenItIsDue(t *testing.T) {
	p, c := started(10 * ms)
	for i := range 5 {
		r, due := p.Next()
		require.True(t, due)
		assert.Equal(t, Request{Index: int64(i), Intended: time.Duration(i) * ms}, r)
		assert.Equal(t, r.Intended, p.Now())
		c.pass(300 * us) // less than the time to the next
	}
	assert.Zero(t, p.Unsent())
}

func TestAWaitThatEndsEarlyGoesOn(t *testing.T) {
	p, c := started(10 * ms)
	c.early = 7
	all := take(t, p, 2)
	assert.Equal(t, Request{Index: 1, Intended: ms}, all[1])
	assert.Equal(t, ms, p.Now())
	assert.Equal(t, 8, c.waits)
}

func TestALateWaitIsLagAndMovesNoLaterTime(t *testing.T) {
	p, c := started(10 * ms)
	c.late = 70 * us
	all := take(t, p, 4)
	assert.Equal(t, []time.Duration{0, 70 * us, 70 * us, 70 * us}, lags(all))
	assert.Equal(t, 3*ms, all[3].Intended)
}

func TestASystemThatKeepsTheSenderIsChargedWithAllThatFellDue(t *testing.T) {
	p, c := started(100 * ms)
	take(t, p, 1)
	c.pass(10 * ms) // the first request takes as long
	all := take(t, p, 10)
	assert.Zero(t, c.waits, "all are due")
	for i, r := range all {
		assert.Equal(t, Request{Index: int64(i + 1), Intended: time.Duration(i+1) * ms}, r)
	}
	next := take(t, p, 1)[0]
	assert.Equal(t, 11*ms, next.Intended)
	assert.Equal(t, 11*ms, p.Now(), "it has caught up and waits again")
}

func TestAPacerThatStallsIsLateUntilItHasCaughtUp(t *testing.T) {
	p, c := started(100 * ms)
	take(t, p, 1)
	c.late = 3500 * us
	all := take(t, p, 1)
	c.late = 0
	all = append(all, take(t, p, 4)...)
	assert.Equal(t, []time.Duration{3500 * us, 2500 * us, 1500 * us, 500 * us, 0}, lags(all))
	assert.Equal(t, 5*ms, p.Now())
}

func TestLagLeavesOutWhatTheSystemTook(t *testing.T) {
	p, c := started(100 * ms)
	take(t, p, 1)
	c.late = 1500 * us
	take(t, p, 1) // intended at 1 ms, handed out at 2.5 ms
	c.late = 0
	c.pass(10 * ms)
	all := take(t, p, 3) // intended at 2, 3 and 4 ms
	assert.Equal(t, []time.Duration{500 * us, 0, 0}, lags(all))
}

func TestLagOfAWaitCountsAfterTheSystemWasLate(t *testing.T) {
	p, c := started(100 * ms)
	take(t, p, 1)
	c.pass(1800 * us)
	c.late = 50 * us
	// The one at 1 ms is sent at 1.8 ms, which is the system's fault; that at 2 ms is
	// waited for again.
	assert.Equal(t, []time.Duration{0, 50 * us}, lags(take(t, p, 2)))
}

// seenClock tells when somebody has read it.
type seenClock struct {
	fakeClock
	seen chan struct{}
}

func (c *seenClock) now() time.Duration {
	defer func() { c.seen <- struct{}{} }()
	return c.fakeClock.now()
}

func TestWhoeverWaitsForTheTurnIsFreeSinceThen(t *testing.T) {
	c := &seenClock{seen: make(chan struct{}, 4)}
	p := newPacer(&constant{rate: 1000}, time.Hour, c)
	p.Start()
	c.pass(100 * us)
	<-p.turn // somebody else leads
	got := make(chan Request)
	go func() {
		r, _ := p.Next()
		got <- r
	}()
	<-c.seen // it has noted since when it is free, and waits for the turn
	p.last, p.handed = Request{0, 0, 70 * us}, 70*us
	p.advance()
	c.pass(1200 * us)
	p.turn <- struct{}{}
	assert.Equal(t, Request{Index: 1, Intended: ms, Lag: 300 * us}, <-got)
	assert.Equal(t, 1300*us, p.handed, "when the next one's lag begins")
}

func TestOnlyTheTimeSinceTheLastRequestAddsToItsLag(t *testing.T) {
	p, _ := started(time.Hour)
	p.last, p.handed = Request{4, 4 * ms, 2 * ms}, 6*ms
	for _, c := range []struct {
		what                string
		at, free, now, want time.Duration
	}{
		{"long free, at once", 5 * ms, 0, 6 * ms, ms},
		{"long free, later", 5 * ms, 0, 6100 * us, 1100 * us},
		{"free later, at once", 5 * ms, 8 * ms, 8 * ms, ms},
		{"free later, and later still", 5 * ms, 8 * ms, 8200 * us, 1200 * us},
		{"caught up", 6 * ms, 0, 6 * ms, 0},
		{"some were left out", 9 * ms, 0, 9 * ms, 0},
	} {
		assert.Equal(t, c.want, p.lag(c.at, c.free, c.now), c.what)
	}
}

func TestWhatHasBeenDueForTooLongIsCountedAndNotSent(t *testing.T) {
	p, c := started(3 * ms)
	take(t, p, 1)
	c.pass(9 * ms) // requests 1 to 9 are due
	all := take(t, p, 5)
	for i, want := range []int64{6, 7, 8, 9, 10} {
		assert.Equal(t, want, all[i].Index)
		assert.Equal(t, time.Duration(want)*ms, all[i].Intended)
	}
	assert.EqualValues(t, 5, p.Unsent())
}

func TestTheEndHandsOutWhatIsDueAndNoMore(t *testing.T) {
	p, c := started(100 * ms)
	take(t, p, 1)
	c.pass(4*ms + 500*us)
	p.End()
	c.pass(50 * ms)
	assert.EqualValues(t, 4, take(t, p, 4)[3].Index)
	for range 2 {
		_, due := p.Next()
		assert.False(t, due)
	}
	assert.Zero(t, p.Unsent(), "what would have been due after the end does not count")
}

func TestPatienceEndsAfterTheEndToo(t *testing.T) {
	p, c := started(2 * ms)
	take(t, p, 1)
	c.pass(5 * ms)
	p.End()
	assert.EqualValues(t, 3, take(t, p, 1)[0].Index)
	c.pass(2 * ms)
	assert.EqualValues(t, 5, take(t, p, 1)[0].Index)
	c.pass(100 * ms)
	_, due := p.Next()
	assert.False(t, due)
	assert.EqualValues(t, 3, p.Unsent(), "requests 1, 2 and 4")
}

// endingClock ends its pacer when somebody waits for the third time.
type endingClock struct {
	fakeClock
	p *Pacer
}

func (c *endingClock) wait(until time.Duration) {
	if c.waits++; c.waits == 3 {
		c.p.End()
	}
	c.pass((until - c.now()) / 2)
}

// listed is a schedule of the times given.
type listed []time.Duration

func (l *listed) Next() (time.Duration, bool) {
	if len(*l) == 0 {
		return 0, false
	}
	at := (*l)[0]
	*l = (*l)[1:]
	return at, true
}

func TestAScheduleIsHandedOutToItsEnd(t *testing.T) {
	c := &fakeClock{}
	p := newPacer(&listed{ms, ms, 5 * ms}, 10*ms, c)
	p.Start()
	for i, at := range []time.Duration{ms, ms, 5 * ms} {
		r, due := p.Next()
		require.True(t, due)
		assert.Equal(t, Request{Index: int64(i), Intended: at}, r)
		assert.Equal(t, at, p.Now())
	}
	_, due := p.Next()
	assert.False(t, due, "there are no more")
	assert.Equal(t, 5*ms, p.Now(), "nobody waits for more")
}

func TestAScheduleThatIsMissedIsUnsentToItsEnd(t *testing.T) {
	c := &fakeClock{}
	p := newPacer(&listed{ms, 2 * ms, 3 * ms}, 10*ms, c)
	p.Start()
	c.pass(time.Second)
	_, due := p.Next()
	assert.False(t, due)
	assert.EqualValues(t, 3, p.Unsent())
}

func TestPollDoesNotWait(t *testing.T) {
	p, c := started(time.Hour)
	take(t, p, 1)
	_, due := p.Poll()
	assert.False(t, due)
	assert.Zero(t, c.waits)
	c.pass(2500 * us)
	for i, lag := range []time.Duration{0, 0} {
		r, due := p.Poll()
		require.True(t, due)
		assert.Equal(t, Request{Index: int64(i + 1), Intended: time.Duration(i+1) * ms, Lag: lag}, r)
	}
	_, due = p.Poll()
	assert.False(t, due)
	p.End()
	c.pass(time.Second)
	_, due = p.Poll()
	assert.False(t, due, "none is due after the end")
}

func TestTheEndIsSeenByWhoWaits(t *testing.T) {
	c := &endingClock{}
	p := newPacer(&constant{rate: 1000}, ms, c)
	c.p = p
	p.Start()
	take(t, p, 1)
	_, due := p.Next()
	assert.False(t, due)
	assert.Equal(t, 3, c.waits)
}

func TestManySendersGetEachRequestOnceAndInOrder(t *testing.T) {
	const senders, requests = 16, 5000
	p, _ := started(time.Hour)
	got := make([][]int64, senders)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			for r, due := p.Next(); due; r, due = p.Next() {
				got[i] = append(got[i], r.Index)
				if r.Intended > p.Now() {
					t.Errorf("request %d came before its time", r.Index)
				}
				if r.Index == requests {
					p.End()
				}
			}
		})
	}
	wg.Wait()
	for _, of := range got {
		assert.True(t, slices.IsSorted(of))
	}
	all := slices.Sorted(slices.Values(slices.Concat(got...)))
	require.GreaterOrEqual(t, len(all), requests+1)
	for i, index := range all {
		require.EqualValues(t, i, index)
	}
	assert.Zero(t, p.Unsent())
}

func TestTheCostOfAllNapsIsEstimatedFromThoseMeasured(t *testing.T) {
	for _, c := range []struct {
		naps       int
		used, want time.Duration
	}{
		{0, 0, 0}, {1, 5 * us, 5 * us}, {64, 5 * us, 320 * us}, {65, 10 * us, 325 * us},
		{1 << 30, time.Hour, 64 * time.Hour},
	} {
		assert.Equal(t, c.want, (&realClock{naps: c.naps, used: c.used}).cost(), c.naps)
	}
	p, _ := started(ms)
	assert.Equal(t, 42*us, p.Cost())
}

func TestTheRealClockHandsOutNothingEarly(t *testing.T) {
	for _, rate := range []float64{200, 5000, 1e6} {
		p := New(rate, time.Hour)
		p.Start()
		for i, r := range take(t, p, 20) {
			require.EqualValues(t, i, r.Index)
			require.GreaterOrEqual(t, p.Now(), r.Intended)
			require.GreaterOrEqual(t, r.Lag, time.Duration(0))
		}
		if rate == 200 && runtime.GOOS == "linux" {
			require.Positive(t, p.Cost(), "it slept")
		}
	}
}
