package anet_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
)

// thing is an item that is no connection.
type thing struct {
	closes atomic.Int32
	dead   atomic.Bool
}

func (i *thing) Close() error { i.closes.Add(1); return nil }

// judged is a thing that is asked how it does.
type judged struct{ thing }

func (i *judged) Validate() bool { return !i.dead.Load() }

func things(string) (anet.PoolItem, error) { return new(thing), nil }

func newPool(t *testing.T, capacity uint32, f anet.Factory, addr string, config *anet.PoolConfig) anet.Pool {
	t.Helper()
	p := anet.NewPool(capacity, f, addr, config)
	t.Cleanup(p.Close)
	return p
}

func TestFactoryThatTakesTooLongIsLeftBehind(t *testing.T) {
	var none context.Context // never ends
	for name, get := range map[string]func(anet.Pool) (anet.PoolItem, error){
		"Get":        anet.Pool.Get,
		"no context": func(p anet.Pool) (anet.PoolItem, error) { return p.GetWithContext(none) },
		"background": func(p anet.Pool) (anet.PoolItem, error) { return p.GetWithContext(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				late := new(thing)
				factory := func(string) (anet.PoolItem, error) { <-release; return late, nil }
				p := anet.NewPool(1, factory, "a", &anet.PoolConfig{DialTimeout: time.Second})
				start := time.Now()
				_, err := get(p)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, time.Second, time.Since(start))
				p.Close()
				close(release)
				synctest.Wait()
				require.EqualValues(t, 1, late.closes.Load())
			})
		})
	}
}

func TestPoolLendsAndTakesBack(t *testing.T) {
	p := newPool(t, 2, things, "a", nil)
	require.Equal(t, 2, p.Cap())
	require.Zero(t, p.Len())
	one, err := p.Get()
	require.NoError(t, err)
	var none context.Context // never ends
	two, err := p.GetWithContext(none)
	require.NoError(t, err)
	require.Equal(t, 2, p.Len())
	p.Put(one)
	again, err := p.Get()
	require.NoError(t, err)
	require.Same(t, one, again)
	p.Release(two)
	require.Equal(t, 1, p.Len())
	require.EqualValues(t, 1, two.(*thing).closes.Load())
	p.Put(nil)
	p.Release(nil)
	require.Equal(t, 1, p.Len())
}

func TestReleaseWakesWhoWaitsForAPlace(t *testing.T) {
	p := newPool(t, 1, things, "a", nil)
	item, err := p.Get()
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		_, err := p.Get()
		got <- err
	}()
	p.Release(item)
	select {
	case err := <-got:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Get still waits")
	}
}

func TestWaitForAPlaceEndsWithItsContext(t *testing.T) {
	p := newPool(t, 1, things, "a", nil)
	_, err := p.Get()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.GetWithContext(ctx)
	require.Equal(t, context.Canceled, err)
}

func TestClosedPoolClosesWhatComesBack(t *testing.T) {
	p := newPool(t, 3, things, "a", nil)
	var items []*thing
	for range 3 {
		item, err := p.Get()
		require.NoError(t, err)
		items = append(items, item.(*thing))
	}
	p.Put(items[0])
	p.Close()
	p.Close()
	require.EqualValues(t, 1, items[0].closes.Load(), "closed when Close returns")
	require.Zero(t, items[1].closes.Load(), "still lent")
	p.Put(items[1])
	require.EqualValues(t, 1, items[1].closes.Load(), "closed when Put returns")
	p.Release(items[2])
	require.EqualValues(t, 1, items[2].closes.Load())
	require.Zero(t, p.Len())
	_, err := p.Get()
	require.Equal(t, anet.ErrClosing, err)
}

func TestPutOnAClosedPoolReturnsWhenTheItemIsClosed(t *testing.T) {
	for range 200 {
		p := newPool(t, 1, things, "a", nil)
		item, err := p.Get()
		require.NoError(t, err)
		p.Close()
		p.Put(item)
		require.EqualValues(t, 1, item.(*thing).closes.Load())
	}
}

func TestCloseEndsWhoWaitsForAPlace(t *testing.T) {
	p := newPool(t, 1, things, "a", nil)
	_, err := p.Get()
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		_, err := p.Get()
		got <- err
	}()
	p.Close()
	require.Equal(t, anet.ErrClosing, <-got)
}

func TestForeignItemIsClosed(t *testing.T) {
	p := newPool(t, 1, things, "a", nil)
	foreign := new(thing)
	p.Put(foreign)
	require.EqualValues(t, 1, foreign.closes.Load())
	p.Release(new(thing))
	require.Zero(t, p.Len())
}

func TestFactoryErrorIsUnchangedAndAskedForEachTime(t *testing.T) {
	calls := 0
	p := newPool(t, 1, func(addr string) (anet.PoolItem, error) {
		calls++
		require.Equal(t, "somewhere", addr)
		return nil, errFactory
	}, "somewhere", nil)
	for range 3 {
		_, err := p.Get()
		require.Equal(t, errFactory, err)
	}
	require.Equal(t, 3, calls)
	_, err := newPool(t, 1, nil, "a", nil).Get()
	require.ErrorContains(t, err, "NewTCPFactory")
}

func TestPoolsOfAListAreForTheirAddresses(t *testing.T) {
	pools := anet.NewPoolList(7, things, []string{"a", "b", "c"}, &anet.PoolConfig{ValidationStrategy: anet.ValidationNone})
	require.Len(t, pools, 3)
	for _, p := range pools {
		require.Equal(t, 7, p.Cap())
		p.Close()
	}
}

func TestIdleItemIsClosedAfterIdleTimeout(t *testing.T) {
	for _, strategy := range []anet.ValidationStrategy{anet.ValidationRead, anet.ValidationNone, "unheard of"} {
		p := newPool(t, 1, things, "a", &anet.PoolConfig{IdleTimeout: 20 * time.Millisecond, ValidationStrategy: strategy})
		item, err := p.Get()
		require.NoError(t, err)
		p.Put(item)
		soon(t, func() bool { return item.(*thing).closes.Load() == 1 }, string(strategy))
		require.Zero(t, p.Len())
	}
}

func TestValidateOfTheItemDecides(t *testing.T) {
	p := newPool(t, 2, func(string) (anet.PoolItem, error) { return new(judged), nil }, "a",
		&anet.PoolConfig{ValidationInterval: 5 * time.Millisecond})
	good, err := p.Get()
	require.NoError(t, err)
	bad, err := p.Get()
	require.NoError(t, err)
	bad.(*judged).dead.Store(true)
	p.Put(good)
	p.Put(bad)
	soon(t, func() bool { return bad.(*judged).closes.Load() == 1 }, "the dead one is closed")
	require.Equal(t, 1, p.Len())
	require.Zero(t, good.(*judged).closes.Load())
}

func TestDeadConnectionIsNotLentAgain(t *testing.T) {
	closing := make(chan struct{})
	addr := peer(t, func(nc net.Conn) { <-closing })
	p := newPool(t, 1, anet.NewTCPFactory(nil), addr, nil)
	item, err := p.Get()
	require.NoError(t, err)
	p.Put(item)
	close(closing)
	soon(t, func() bool { // the end has to arrive first
		next, err := p.Get()
		require.NoError(t, err)
		defer p.Put(next)
		return next != item
	}, "another connection")
}

func TestTCPFactorySetsItsOptions(t *testing.T) {
	addr := peer(t, silent)
	for _, config := range []*anet.PoolConfig{nil, {}, anet.DefaultPoolConfig(),
		{DisableNoDelay: true, KeepAliveInterval: -1, DialTimeout: -1}} {
		item, err := anet.NewTCPFactory(config)(addr)
		require.NoError(t, err)
		require.NoError(t, item.Close())
	}
	_, err := anet.NewTCPFactory(&anet.PoolConfig{DialTimeout: time.Nanosecond})(addr)
	var ne net.Error
	require.True(t, errors.As(err, &ne) && ne.Timeout(), "%v", err)
}

func TestPoolConfigIsCopied(t *testing.T) {
	config := &anet.PoolConfig{KeepAliveInterval: time.Minute}
	before := *config
	p := newPool(t, 1<<20, anet.NewTCPFactory(config), peer(t, silent), config)
	item, err := p.Get()
	require.NoError(t, err)
	p.Put(item)
	require.Equal(t, before, *config)
	require.Positive(t, p.Cap())
	require.Equal(t, 1, newPool(t, 0, things, "a", nil).Cap())
}

func TestPutRacingCloseClosesEachItemOnce(t *testing.T) {
	for range 50 {
		var mu sync.Mutex
		var opened []*thing
		p := anet.NewPool(4, func(string) (anet.PoolItem, error) {
			mu.Lock()
			defer mu.Unlock()
			opened = append(opened, new(thing))
			return opened[len(opened)-1], nil
		}, "a", nil)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					item, err := p.Get()
					if i == 0 {
						begun <- struct{}{}
					}
					if err != nil {
						return
					}
					p.Put(item)
				}
			})
		}
		for range 4 {
			<-begun
		}
		p.Close()
		wg.Wait()
		mu.Lock()
		for _, item := range opened {
			assert.EqualValues(t, 1, item.closes.Load(), "also one that was being opened")
		}
		mu.Unlock()
		require.Zero(t, p.Len())
	}
}
