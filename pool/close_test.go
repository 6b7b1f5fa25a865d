package pool_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestCloseClosesEverythingAndWakesEverybody(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 3}, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 3)
		put(t, p, all[0])
		require.Same(t, all[0], get(t, p))
		put(t, p, all[2])
		getN(t, p, 1)
		waiter := goGet(bg, p)
		require.NoError(t, p.Close())
		err := (<-waiter).err
		require.ErrorIs(t, err, pool.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
		for _, i := range all {
			require.EqualValues(t, 1, i.closed.Load(), "lent out or not")
		}
		require.NoError(t, p.Put(all[0]), "owners may still give back")
		require.NoError(t, p.Release(all[1]))
		require.ErrorIs(t, p.Put(all[0]), pool.ErrForeign)
		_, err = p.GetContext(bg)
		require.ErrorIs(t, err, pool.ErrClosed)
		require.NoError(t, p.Close(), "again")
		require.False(t, p.Ready())
	})
}

func TestCloseIsBounded(t *testing.T) {
	block := make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		block = make(chan struct{})
		s := &source{dial: func(context.Context, int64) error { <-block; return nil }}
		p, err := pool.NewOf(pool.Source[*item]{Open: s.open}, pool.Config{CloseTimeout: 3 * time.Second})
		require.NoError(t, err)
		waiter := goGet(bg, p)
		start := time.Now()
		require.ErrorContains(t, p.Close(), "1 dials, pings and closings still under way after 3s")
		require.Equal(t, 3*time.Second, time.Since(start))
		require.ErrorIs(t, (<-waiter).err, pool.ErrClosed)
		close(block)
		synctest.Wait()
		closePool(t, p, s) // what came late was closed
	})
}

func TestSettleWaitsForDialsAndLeavesWhatIsLentToItsOwners(t *testing.T) {
	slow := func(_ context.Context, n int64) error {
		if n == 3 {
			<-time.After(time.Second) // virtual; it does not look at its context
		}
		return nil
	}
	s := &source{dial: slow}
	bubble(t, s, pool.Config{MaxConns: 3}, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 2)
		waiter := goGet(bg, p)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, p.Settle())
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, (<-waiter).err, pool.ErrClosed)
		require.EqualValues(t, 1, s.all[2].closed.Load(), "what the dial has brought")
		require.Zero(t, all[1].closed.Load(), "lent out")
		put(t, p, all[0])
		require.NoError(t, p.Put(all[1]))
		synctest.Wait()
		require.EqualValues(t, 1, all[1].closed.Load())
	})
}

func TestRetireLeavesWhatIsLentToItsOwners(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 2}, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 2)
		put(t, p, all[0])
		p.Retire()
		synctest.Wait()
		require.EqualValues(t, 1, all[0].closed.Load())
		require.Zero(t, all[1].closed.Load())
		_, err := p.GetContext(bg)
		require.ErrorIs(t, err, pool.ErrClosed)
		put(t, p, all[1])
		require.EqualValues(t, 1, all[1].closed.Load(), "at once")
		p.Retire()
	})
}

func TestShutdownWaitsForWhatIsLent(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 2}, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 2)
		start := time.Now()
		time.AfterFunc(time.Second, func() { p.Put(all[0]) })
		time.AfterFunc(2*time.Second, func() { p.Release(all[1]) })
		require.NoError(t, p.Shutdown(bg))
		require.Equal(t, 2*time.Second, time.Since(start))
	})
	bubble(t, &source{}, pool.Config{MaxConns: 2}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		require.ErrorIs(t, p.Shutdown(ctx), context.DeadlineExceeded)
		require.EqualValues(t, 1, held.closed.Load())
	})
}

func TestCleanClosesTheIdleFlushAll(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 5}, func(t *testing.T, p *pool.Of[*item]) {
		all := getN(t, p, 5)
		put(t, p, all[:3]...)
		require.Equal(t, 3, p.Clean())
		require.Equal(t, 0, p.Clean())
		require.EqualValues(t, 1, all[0].closed.Load())
		require.Zero(t, all[4].closed.Load())
		put(t, p, get(t, p))
		require.Equal(t, 3, p.Flush())
		require.Zero(t, p.Len())
		require.EqualValues(t, 1, all[4].closed.Load())

		fresh := getN(t, p, 5) // all places are free, although two are not back yet
		require.NoError(t, p.Put(all[3]))
		require.NoError(t, p.Release(all[4]))
		require.ErrorIs(t, p.Put(all[3]), pool.ErrForeign)
		require.Equal(t, 5, p.InUse())
		put(t, p, fresh...)
		require.EqualValues(t, 6, p.Stats().ClosedBy[pool.Flushed])
	})
}

func TestFlushLetsWaitersHaveNewConnections(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 1}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		waiter := goGet(bg, p)
		require.Equal(t, 1, p.Flush())
		got := <-waiter
		require.NoError(t, got.err)
		require.NotSame(t, held, got.item)
		put(t, p, held, got.item)
		require.Equal(t, 1, p.Len())
	})
}

func TestCloseDuringEverything(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		s := &source{ping: func(context.Context, *item) error { return nil }}
		p, err := pool.NewOf(pool.Source[*item]{Open: s.open, Ping: s.ping}, pool.Config{
			MaxConns: 4, MinIdle: 1, Validation: pool.ValidatePing, ValidationInterval: time.Microsecond,
			IdleTimeout: time.Millisecond, MinInterval: time.Microsecond, MaxInterval: time.Microsecond,
		})
		require.NoError(t, err)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 8)
		for g := range 8 {
			wg.Go(func() {
				for n := 0; ; n++ {
					if n == 20 {
						begun <- struct{}{}
					}
					i, err := p.GetContext(bg)
					if errors.Is(err, pool.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					switch (n + g) % 8 {
					case 0:
						err = p.Release(i)
					case 1:
						p.Clean()
						err = p.Put(i)
					case 2:
						p.Flush()
						err = p.Put(i)
					default:
						err = p.Put(i)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range cap(begun) {
			<-begun
		}
		wg.Go(func() { p.Retire() })
		wg.Go(func() { assert.NoError(t, p.Close()) })
		assert.NoError(t, p.Shutdown(bg))
		wg.Wait()
		closePool(t, p, s)
	}
}
