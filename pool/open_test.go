package pool_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestAFailedDialIsItsGetsError(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{Addr: "there"}, func(t *testing.T, p *pool.Of[*item]) {
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		require.Equal(t, "pool: dial there: refused", err.Error())
		var e *pool.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, errRefused, e.Err, "unchanged")
		assert.ErrorIs(t, p.Stats().LastDialError, errRefused)
		assert.EqualValues(t, 1, p.ErrorCount())
	})
}

func TestManyGetsMakeNoMoreDialsThanTheBackoffAllows(t *testing.T) {
	s := &source{dial: func(context.Context, int64) error { time.Sleep(time.Millisecond); return errRefused }}
	bubble(t, s, pool.Config{MaxConns: 1000, MaxDials: 4}, func(t *testing.T, p *pool.Of[*item]) {
		wave := func(ctx context.Context, gets int) (refused, late int) {
			done := make(chan error, gets)
			for range cap(done) {
				go func() { _, err := p.GetContext(ctx); done <- err }()
			}
			for range cap(done) {
				err := <-done
				require.ErrorIs(t, err, errRefused, "also the cause of a timeout")
				if errors.Is(err, context.DeadlineExceeded) {
					late++
				} else {
					refused++
				}
			}
			return refused, late
		}
		refused, _ := wave(bg, 1000)
		require.Equal(t, 1000, refused)
		require.LessOrEqual(t, s.dials.Load(), int64(2*4), "one round of MaxDials, and what the first failures let in")

		// While the address fails there is one dial a pause, however many Gets ask.
		start, before := time.Now(), s.dials.Load()
		for time.Since(start) < 5*time.Minute {
			wave(bg, 50)
		}
		// Pauses are uniform in up to 10 s: 5 s on average once they have grown. Six
		// standard deviations (some 22 s each for 60 pauses) and the short first ones.
		assert.LessOrEqual(t, s.dials.Load()-before, int64(110))

		ctx, cancel := context.WithTimeout(bg, time.Microsecond)
		defer cancel()
		_, late := wave(ctx, 1000)
		assert.Positive(t, late)
	})
}

func TestBackoffEndsWithASuccess(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{BackoffBase: time.Second, BackoffMax: time.Second}, func(t *testing.T, p *pool.Of[*item]) {
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		s.dialBy(nil)
		waiters := []<-chan outcome{goGet(bg, p), goGet(bg, p), goGet(bg, p)}
		time.Sleep(time.Second)
		for _, w := range waiters {
			require.False(t, pending(w))
			require.NoError(t, (<-w).err)
		}
		assert.Equal(t, 3, p.InUse())
	})
}

func TestThePauseBeginsSmallAgainAfterASuccess(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{BackoffBase: time.Second, BackoffMax: 1000 * time.Hour}, func(t *testing.T, p *pool.Of[*item]) {
		for range 15 {
			_, err := p.GetContext(bg)
			require.ErrorIs(t, err, errRefused)
		}
		s.dialBy(nil)
		require.NoError(t, p.Release(get(t, p)))
		s.dialBy(always(errRefused))
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		s.dialBy(nil)
		start := time.Now()
		get(t, p)
		require.LessOrEqual(t, time.Since(start), time.Second)
	})
}

func TestAGetDuringTheBackoffMayHaveWhatIsPutBack(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{MaxConns: 3, BackoffBase: never, BackoffMax: never, IdleTimeout: -1}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		s.dialBy(always(errRefused))
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		waiter := goGet(bg, p)
		require.EqualValues(t, 2, s.dials.Load())
		put(t, p, held)
		require.Same(t, held, (<-waiter).item)
	})
}

func TestAFailedDialLeavesOthersWaitWhileSomethingIsLent(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{MaxConns: 3, BackoffBase: never, BackoffMax: never}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		refuse := make(chan struct{})
		s.dialBy(func(context.Context, int64) error { <-refuse; return errRefused })
		var waiters []<-chan outcome
		for range 4 {
			waiters = append(waiters, goGet(bg, p))
		}
		close(refuse)
		require.ErrorIs(t, (<-waiters[0]).err, errRefused)
		require.ErrorIs(t, (<-waiters[1]).err, errRefused)
		require.True(t, pending(waiters[2]))
		put(t, p, held)
		require.Same(t, held, (<-waiters[2]).item)
		require.True(t, pending(waiters[3]))
		put(t, p, held)
		require.Same(t, held, (<-waiters[3]).item)
	})
}

func TestWithoutBackoffEveryGetHasADialOfItsOwn(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{MaxConns: 2, BackoffBase: -1, MinConns: 1}, func(t *testing.T, p *pool.Of[*item]) {
		synctest.Wait()
		warm := s.dials.Load()
		require.EqualValues(t, 1, warm, "warming up does not spin")
		for range 50 {
			_, err := p.GetContext(bg)
			require.ErrorIs(t, err, errRefused)
		}
		require.EqualValues(t, 50, s.dials.Load()-warm)
	})
}

func TestADialEndsWithDialTimeout(t *testing.T) {
	s := &source{dial: hang}
	bubble(t, s, pool.Config{DialTimeout: 7 * time.Second}, func(t *testing.T, p *pool.Of[*item]) {
		start := time.Now()
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, pool.ErrDialTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 7*time.Second, time.Since(start))
	})
}

// Each waiter hears when its dial is overdue, although one timer serves them all.
func TestDialsBegunApartAreOverdueApart(t *testing.T) {
	s := &source{dial: func(context.Context, int64) error { time.Sleep(time.Minute); return nil }}
	bubble(t, s, pool.Config{MaxConns: 9, MaxDials: 9, DialTimeout: 10 * time.Second, BackoffBase: -1}, func(t *testing.T, p *pool.Of[*item]) {
		ctx, cancel := context.WithCancel(bg) // so that the pool's goroutines dial
		defer cancel()
		start := time.Now()
		took := make(chan time.Duration, 3)
		for range cap(took) {
			go func() {
				_, err := p.GetContext(ctx)
				assert.ErrorIs(t, err, pool.ErrDialTimeout)
				took <- time.Since(start)
			}()
			time.Sleep(3 * time.Second)
		}
		for i := range cap(took) {
			require.Equal(t, time.Duration(10+3*i)*time.Second, <-took)
		}
		require.Equal(t, 3, p.Stats().Opening, "their places stay taken")
		time.Sleep(time.Minute)
		require.Equal(t, 3, p.Idle(), "late, but good")
	})
}

func TestTheContextOfADial(t *testing.T) {
	type key struct{}
	var dial context.Context
	s := &source{dial: func(ctx context.Context, n int64) error {
		dial = ctx
		switch n {
		case 1: // looks at it only afterwards
			return nil
		case 2: // waits for a context made from it
			before := runtime.NumGoroutine()
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			assert.Equal(t, before, runtime.NumGoroutine(), "none watches over the child")
			<-child.Done()
			return child.Err()
		}
		return ctx.Err()
	}}
	bubble(t, s, pool.Config{DialTimeout: 4 * time.Second, BackoffBase: -1}, func(t *testing.T, p *pool.Of[*item]) {
		start := time.Now()
		get(t, p)
		by, limited := dial.Deadline()
		assert.True(t, limited)
		assert.True(t, by.Equal(start.Add(4*time.Second)))
		assert.Nil(t, dial.Value(key{}))
		assert.ErrorIs(t, dial.Err(), context.Canceled, "the dial is over")
		<-dial.Done()

		_, err := p.Get()
		require.ErrorIs(t, err, pool.ErrDialTimeout)
		assert.Equal(t, 4*time.Second, time.Since(start))
		assert.ErrorIs(t, dial.Err(), context.DeadlineExceeded)
		get(t, p)
		assert.ErrorIs(t, dial.Err(), context.Canceled, "also if it was asked before")
	})
	bubble(t, &source{dial: s.dial}, pool.Config{DialTimeout: -1}, func(t *testing.T, p *pool.Of[*item]) {
		get(t, p)
		_, limited := dial.Deadline()
		assert.False(t, limited)
		assert.ErrorIs(t, dial.Err(), context.Canceled)
	})
}

func TestADialThatIgnoresItsContextKeepsNobodyWaiting(t *testing.T) {
	answer := make(chan struct{})
	s := &source{}
	synctest.Test(t, func(t *testing.T) {
		answer = make(chan struct{})
		s.dialBy(func(context.Context, int64) error { <-answer; return nil })
		p, err := pool.NewOf(pool.Source[*item]{Open: s.open}, pool.Config{MaxConns: 1, DialTimeout: time.Second, BackoffMax: time.Second})
		require.NoError(t, err)
		require.ErrorIs(t, (<-goGet(bg, p)).err, pool.ErrDialTimeout)

		// Its place stays taken: there is never more than one such dial here.
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err = p.GetContext(ctx)
		require.ErrorIs(t, err, pool.ErrDialTimeout)
		require.EqualValues(t, 1, s.dials.Load())

		waiter := goGet(bg, p)
		close(answer)
		require.NoError(t, (<-waiter).err, "late, but good")
		closePool(t, p, s)
	})
}

func TestAGetThatCannotBeCancelledDialsItself(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{MaxConns: 2}, func(t *testing.T, p *pool.Of[*item]) {
		answer := make(chan struct{})
		s.dialBy(func(context.Context, int64) error { <-answer; return nil })
		own := make(chan outcome, 1)
		go func() {
			i, err := p.GetContext(bg)
			own <- outcome{i, err}
		}()
		synctest.Wait()
		other := goGet(bg, p)
		require.EqualValues(t, 2, s.dials.Load())
		answer <- struct{}{}
		require.NoError(t, (<-own).err, "it came first")
		require.True(t, pending(other))
		answer <- struct{}{}
		require.NoError(t, (<-other).err)
	})
}

func TestCloseEndsADial(t *testing.T) {
	s := &source{dial: hang}
	bubble(t, s, pool.Config{DialTimeout: -1}, func(t *testing.T, p *pool.Of[*item]) {
		waiter := goGet(bg, p)
		start := time.Now()
		require.NoError(t, p.Close())
		require.ErrorIs(t, (<-waiter).err, pool.ErrClosed)
		assert.Zero(t, time.Since(start))
	})
}
