package pool_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestGetPrefersWhatWasPutBackLast(t *testing.T) {
	s := &source{}
	p := newPool(t, s, pool.Config{MaxConns: 3})
	all := getN(t, p, 3)
	put(t, p, all[1], all[0], all[2])
	for _, want := range []*item{all[2], all[0], all[1]} {
		assert.Same(t, want, get(t, p))
	}
	assert.EqualValues(t, 3, s.dials.Load())
	st := p.Stats()
	assert.EqualValues(t, 6, st.Gets)
	assert.EqualValues(t, 3, st.Waits)
}

func TestPutServesThoseWhoWaitInTheirOrder(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 1}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		first, second := goGet(bg, p), goGet(bg, p)
		assert.Equal(t, 2, p.Stats().Waiting)
		put(t, p, held)
		require.True(t, pending(second))
		require.Same(t, held, (<-first).item)
		put(t, p, held)
		require.Same(t, held, (<-second).item)
	})
}

func TestReleaseLetsAWaiterHaveANewConnection(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 1}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		waiter := goGet(bg, p)
		require.NoError(t, p.Release(held))
		require.EqualValues(t, 1, held.closed.Load())
		got := <-waiter
		require.NoError(t, got.err)
		assert.NotSame(t, held, got.item)
		assert.EqualValues(t, 1, p.Stats().ClosedBy[pool.Released])
	})
}

func TestAWaiterForADialTakesWhatComesBackFirst(t *testing.T) {
	s := &source{}
	bubble(t, s, pool.Config{MaxConns: 2}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		s.dialBy(hang)
		waiter := goGet(bg, p)
		put(t, p, held)
		require.Same(t, held, (<-waiter).item)
		s.dialBy(nil)
	})
}

func TestADialWhoseGetWentAwayIsNotWasted(t *testing.T) {
	connected := make(chan struct{})
	s := &source{dial: func(context.Context, int64) error { <-connected; return nil }}
	synctest.Test(t, func(t *testing.T) {
		connected = make(chan struct{})
		p, err := pool.NewOf(pool.Source[*item]{Open: s.open}, pool.Config{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(bg)
		waiter := goGet(ctx, p)
		cancel()
		require.ErrorIs(t, (<-waiter).err, context.Canceled)
		close(connected)
		synctest.Wait()
		assert.Equal(t, 1, p.Idle())
		get(t, p)
		assert.EqualValues(t, 1, s.dials.Load())
		closePool(t, p, s)
	})
}

func TestGetWaitsNoLongerThanItsContext(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 1, Addr: "here"}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		ctx, cancel := context.WithTimeout(bg, 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := p.GetContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "pool: get here: context deadline exceeded", err.Error())
		assert.Equal(t, 3*time.Second, time.Since(start))
		_, err = p.GetContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// The Get that has left is not served.
		waiter := goGet(bg, p)
		put(t, p, held)
		require.Same(t, held, (<-waiter).item)
		assert.EqualValues(t, 1, p.Stats().Cancelled)
	})
}

func TestAWaiterInTheMiddleMayLeave(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 1}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		var waiters []<-chan outcome
		var leave []context.CancelFunc
		for range 5 {
			ctx, cancel := context.WithCancel(bg)
			waiters, leave = append(waiters, goGet(ctx, p)), append(leave, cancel)
		}
		for _, n := range []int{2, 0, 4} {
			leave[n]()
			require.ErrorIs(t, (<-waiters[n]).err, context.Canceled)
		}
		for _, n := range []int{1, 3} {
			put(t, p, held)
			require.Same(t, held, (<-waiters[n]).item)
		}
		leave[1]()
		leave[3]()
	})
}

func TestCapacityGrowsWithDemandUpToMaxConns(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxConns: 3, MinCapacity: 1}, func(t *testing.T, p *pool.Of[*item]) {
		require.Equal(t, 1, p.Capacity())
		all := getN(t, p, 3)
		require.Equal(t, 3, p.Capacity())
		require.Equal(t, 3, p.Cap())
		waiter := goGet(bg, p)
		require.True(t, pending(waiter))
		require.Equal(t, 3, p.InUse())
		put(t, p, all[0])
		require.NoError(t, (<-waiter).err)
	})
}

func TestEachConnectionHasOneOwnerAtATime(t *testing.T) {
	s := &source{}
	p := newPool(t, s, pool.Config{MaxConns: 3})
	owner := make([]sync.Mutex, 1000)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for n := range 500 {
				i, err := p.GetContext(bg)
				if err != nil || !owner[i.id].TryLock() {
					t.Errorf("%v, or it has two owners", err)
					return
				}
				owner[i.id].Unlock()
				if (n+g)%50 == 0 && i.id < len(owner)-20 {
					err = p.Release(i)
				} else {
					err = p.Put(i)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, s.most.Load(), int64(3))
	conserved(t, p.Stats())
}
