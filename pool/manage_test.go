package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestIdleConnectionsAreClosedAtIdleTimeoutWhateverTheValidation(t *testing.T) {
	for _, v := range []pool.Validation{pool.ValidatePeek, pool.ValidateNone} {
		for _, interval := range []time.Duration{0, -1} {
			bubble(t, &source{}, pool.Config{Validation: v, ValidationInterval: interval}, func(t *testing.T, p *pool.Of[*item]) {
				time.Sleep(17*time.Minute + 123*time.Millisecond)
				all := getN(t, p, 3)
				put(t, p, all...)
				time.Sleep(59 * time.Second)
				synctest.Wait()
				require.Equal(t, 3, p.Idle(), "not earlier than a tick before")
				put(t, p, get(t, p)) // the one at the top
				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, 1, p.Idle(), "not later")
				require.EqualValues(t, 2, p.Stats().ClosedBy[pool.IdleTooLong])
				require.Zero(t, all[2].closed.Load())
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Zero(t, p.Len())
			})
		}
	}
}

func TestIdleTimeoutIsMetBetweenTicks(t *testing.T) {
	bubble(t, &source{}, pool.Config{IdleTimeout: 90*time.Second + 300*time.Millisecond}, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, get(t, p))
		time.Sleep(90*time.Second + 300*time.Millisecond)
		synctest.Wait()
		require.Zero(t, p.Idle())
	})
}

func TestIdleTimeoutDoesNotCloseUnderAPing(t *testing.T) {
	s := &source{ping: func(context.Context, *item) error { time.Sleep(20 * time.Second); return nil }}
	cfg := pool.Config{Validation: pool.ValidatePing, ValidationTimeout: time.Minute, IdleTimeout: 35 * time.Second}
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		put(t, p, held)
		time.Sleep(40 * time.Second) // its ping lasts from 27 to 30 s for 20 s
		synctest.Wait()
		require.Equal(t, 1, p.Idle())
		require.Zero(t, held.closed.Load())
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Zero(t, p.Idle())
		require.EqualValues(t, 1, p.Stats().ClosedBy[pool.IdleTooLong])
	})
}

func TestIdleConnectionsStayForeverWithoutIdleTimeout(t *testing.T) {
	bubble(t, &source{}, pool.Config{IdleTimeout: -1, MaxLifetime: -1}, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, getN(t, p, 3)...)
		time.Sleep(10 * time.Hour)
		require.Equal(t, 3, p.Idle())
	})
}

func TestLifetimesEndApart(t *testing.T) {
	bubble(t, &source{}, pool.Config{IdleTimeout: -1, MaxLifetime: time.Hour, MaxConns: 100}, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, getN(t, p, 100)...)
		time.Sleep(54 * time.Minute)
		synctest.Wait()
		require.Equal(t, 100, p.Idle())
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		assert.Greater(t, p.Idle(), 10) // about half; by chance 2^-50
		assert.Less(t, p.Idle(), 90)
		time.Sleep(3*time.Minute + pool.DefaultMaxInterval)
		synctest.Wait()
		require.Zero(t, p.Idle())
		require.EqualValues(t, 100, p.Stats().ClosedBy[pool.TooOld])
	})
}

func TestTheManagerKeepsMinConnsOpen(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{MinConns: 3, MinIdle: 2, MaxConns: 8}, func(t *testing.T, p *pool.Of[*item]) {
		synctest.Wait()
		require.Equal(t, 3, p.Idle())
		all := getN(t, p, 3)
		time.Sleep(pool.DefaultMaxInterval)
		synctest.Wait()
		require.Equal(t, 2, p.Idle(), "MinIdle beside those lent out")
		put(t, p, all...)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, 3, p.Idle(), "replaced when they are idle too long")
		require.Positive(t, p.Stats().ClosedBy[pool.IdleTooLong])
	})
}

func TestWarmingUpADeadAddressObeysTheBackoff(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{MinConns: 5, MaxConns: 5}, func(t *testing.T, p *pool.Of[*item]) {
		time.Sleep(10 * time.Minute)
		assert.LessOrEqual(t, s.dials.Load(), int64(5+10+200)) // 5 s on average: 120
		assert.GreaterOrEqual(t, s.dials.Load(), int64(60))
		s.dialBy(nil)
		time.Sleep(10*time.Second + pool.DefaultMaxInterval)
		synctest.Wait()
		require.Equal(t, 5, p.Idle())
	})
}

func TestCapacityShrinksWhileDialsFailAndRecovers(t *testing.T) {
	s := &source{}
	cfg := pool.Config{MinCapacity: 2, MaxConns: 6, MinInterval: time.Second, MaxInterval: time.Second,
		BackoffBase: 10 * time.Millisecond, BackoffMax: 10 * time.Millisecond}
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		for _, i := range getN(t, p, 6) {
			require.NoError(t, p.Release(i))
		}
		require.Equal(t, 6, p.Capacity())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 6, p.Capacity(), "no dial, no change")

		s.dialBy(always(errRefused))
		for want := 5; want >= 2; want-- {
			_, err := p.GetContext(bg)
			require.ErrorIs(t, err, errRefused)
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(t, want, p.Capacity())
		}
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, p.Capacity(), "not below MinCapacity")

		s.dialBy(nil)
		for want := 3; want <= 6; want++ {
			require.NoError(t, p.Release(get(t, p)))
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(t, want, p.Capacity())
		}
	})
}

func TestTheIntervalFollowsTheIdleShare(t *testing.T) {
	cfg := pool.Config{MinInterval: time.Second, MaxInterval: 3 * time.Second, MaxConns: 4, IdleTimeout: -1}
	bubble(t, &source{}, cfg, func(t *testing.T, p *pool.Of[*item]) {
		require.Equal(t, time.Second, p.Interval())
		all := getN(t, p, 4)
		put(t, p, all...)
		time.Sleep(10 * time.Minute)
		require.Equal(t, 3*time.Second, p.Interval(), "all idle: there is time")
		getN(t, p, 4)
		time.Sleep(10 * time.Minute)
		require.Equal(t, time.Second, p.Interval(), "none idle")
		put(t, p, all...)
	})
}

func TestReadyMeansConnected(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{}, func(t *testing.T, p *pool.Of[*item]) {
		synctest.Wait()
		require.False(t, p.Ready())
		require.NoError(t, p.WaitReady(bg), "it has one dialled")
		require.True(t, p.Ready())
		require.EqualValues(t, 1, s.dials.Load())
		require.Equal(t, 1, p.Clean())
		require.False(t, p.Ready())
	})
	s = &source{dial: func(context.Context, int64) error { time.Sleep(time.Second); return nil }}
	bubble(t, s, pool.Config{MinConns: 3, MaxDials: 1}, func(t *testing.T, p *pool.Of[*item]) {
		start := time.Now()
		require.NoError(t, p.WaitReady(bg))
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestWaitReadyEndsWithItsContextAndWithThePool(t *testing.T) {
	s := &source{dial: always(errRefused)}
	bubble(t, s, pool.Config{}, func(t *testing.T, p *pool.Of[*item]) {
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		err := p.WaitReady(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errRefused)
		assert.Greater(t, s.dials.Load(), int64(5), "it goes on trying")

		done := make(chan error, 1)
		go func() { done <- p.WaitReady(bg) }()
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-done, pool.ErrClosed)
	})
}

func TestErrorsAreCountedByHandToo(t *testing.T) {
	s := &source{dial: always(errors.New("no"))}
	bubble(t, s, pool.Config{}, func(t *testing.T, p *pool.Of[*item]) {
		p.AddError()
		_, err := p.GetContext(bg)
		require.Error(t, err)
		require.EqualValues(t, 2, p.ErrorCount())
		p.ResetError()
		require.Zero(t, p.ErrorCount())
		require.EqualValues(t, 1, p.Stats().DialErrors)
	})
}
