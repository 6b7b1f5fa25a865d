package pool_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

var pinging = pool.Config{Validation: pool.ValidatePing, IdleTimeout: -1, MaxLifetime: -1}

func TestPingsExamineAllThatAreIdleInPlace(t *testing.T) {
	var pings atomic.Int64
	s := &source{ping: func(context.Context, *item) error { pings.Add(1); return nil }}
	cfg := pinging
	cfg.MaxConns = 20
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 20)
		put(t, p, all[:19]...)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 19, pings.Load(), "not the one lent out")
		require.Equal(t, 19, p.Idle())
		for n := 18; n >= 0; n-- {
			require.Same(t, all[n], get(t, p), "the order is kept")
		}
	})
}

func TestWhoeverFailsThePingIsClosed(t *testing.T) {
	s := &source{ping: func(_ context.Context, i *item) error {
		if i.id%2 == 0 {
			return errors.New("no answer")
		}
		return nil
	}}
	bubble(t, s, pinging, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, getN(t, p, 9)...)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, 4, p.Idle())
		require.EqualValues(t, 5, p.Stats().ClosedBy[pool.PingFailed])
		require.EqualValues(t, 5, p.ErrorCount())
	})
}

func TestAPingIsBoundedByValidationTimeout(t *testing.T) {
	for name, ping := range map[string]func(context.Context, *item) error{
		"obeys":   func(ctx context.Context, _ *item) error { <-ctx.Done(); return ctx.Err() },
		"ignores": func(context.Context, *item) error { time.Sleep(time.Hour); return nil },
	} {
		s := &source{ping: ping}
		bubble(t, s, pinging, func(t *testing.T, p *pool.Of[*item]) {
			held := get(t, p)
			put(t, p, held)
			time.Sleep(31*time.Second + 1)
			synctest.Wait()
			require.Zero(t, p.Stats().Validating, name)
			require.Zero(t, p.Idle(), name)
			require.EqualValues(t, 1, held.closed.Load(), name)
			time.Sleep(time.Hour) // what ignores its context ends some time
		})
	}
}

func TestAGetNeverWaitsForAPing(t *testing.T) {
	s := &source{ping: func(ctx context.Context, _ *item) error { <-ctx.Done(); return ctx.Err() }}
	cfg := pinging
	cfg.MaxConns, cfg.ValidationTimeout = 3, 20*time.Second
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 3)
		put(t, p, all...)
		time.Sleep(31 * time.Second)
		synctest.Wait() // all three are being pinged
		require.Equal(t, 3, p.Idle())
		require.Equal(t, 3, p.Stats().Validating)
		start := time.Now()
		put(t, p, get(t, p))
		require.Zero(t, time.Since(start))
		require.EqualValues(t, 1, p.Stats().ClosedBy[pool.Preempted], "as many as are needed, no more")
		require.LessOrEqual(t, s.most.Load(), int64(3))
	})
}

func TestAWaiterMayHaveWhatPassesItsPing(t *testing.T) {
	s := &source{ping: func(context.Context, *item) error { time.Sleep(time.Second); return nil }}
	cfg := pinging
	cfg.MaxConns, cfg.ValidationTimeout = 2, 5*time.Second
	cfg.BackoffBase, cfg.BackoffMax = never, never
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		s.dialBy(always(errRefused)) // so that nothing else can serve a waiter
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, errRefused)
		put(t, p, held)
		time.Sleep(27 * time.Second) // the pass begins between 27 s and 30 s
		for range 300 {
			waiter := goGet(bg, p)
			got := <-waiter
			require.Same(t, held, got.item)
			put(t, p, held)
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, 1, p.Idle())
		require.Positive(t, p.Stats().Waits-2, "one of them met the ping")
	})
}

// judge is an item that examines itself.
type judge struct {
	fine  atomic.Bool
	asked atomic.Int64
}

func (j *judge) Close() error   { return nil }
func (j *judge) Validate() bool { j.asked.Add(1); return j.fine.Load() }

func TestAnItemsOwnValidateOutranksThePing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := pool.Source[*judge]{
			Open: func(context.Context) (*judge, error) { return new(judge), nil },
			Ping: func(context.Context, *judge) error { t.Error("pinged"); return nil },
		}
		p, err := pool.NewOf(src, pinging)
		require.NoError(t, err)
		j, err := p.GetContext(bg)
		require.NoError(t, err)
		j.fine.Store(true)
		require.NoError(t, p.Put(j))
		time.Sleep(31 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, j.asked.Load())
		require.Equal(t, 1, p.Idle())
		j.fine.Store(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Zero(t, p.Idle())
		require.NoError(t, p.Close())
	})
}

func TestPassesAreJitteredAndMayBeSwitchedOff(t *testing.T) {
	var at []time.Time
	s := &source{ping: func(context.Context, *item) error { at = append(at, time.Now()); return nil }}
	bubble(t, s, pinging, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, get(t, p))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		gaps := make(map[time.Duration]bool)
		for n := 1; n < len(at); n++ {
			gap := at[n].Sub(at[n-1])
			gaps[gap] = true
			assert.GreaterOrEqual(t, gap, 27*time.Second)
			assert.LessOrEqual(t, gap, 30*time.Second)
		}
		assert.Greater(t, len(gaps), 5)
	})
	at = nil
	cfg := pinging
	cfg.ValidationInterval = -1
	bubble(t, s, cfg, func(t *testing.T, p *pool.Of[*item]) {
		put(t, p, get(t, p))
		time.Sleep(time.Hour)
		require.Empty(t, at)
	})
}
