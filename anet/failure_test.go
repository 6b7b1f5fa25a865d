package anet_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
)

var errFactory = errors.New("no connection today")

func failing() (anet.PoolItem, error) { return nil, errFactory }

func TestErrorOfThePoolReachesTheCaller(t *testing.T) {
	b := start(t, 1, nil, newOwnPool(1, failing))
	for range 100 {
		_, err := b.Send(nil)
		require.ErrorIs(t, err, errFactory)
		require.ErrorContains(t, err, "failed to get connection")
		response, err := b.SendAsync(nil)
		if err == nil {
			err = (<-response).Err
		}
		require.ErrorIs(t, err, errFactory)
	}
}

func TestFailingPoolIsNotAskedInALoop(t *testing.T) {
	pool := newOwnPool(4, failing)
	b := start(t, 4, nil, pool)
	const senders, each = 8, 1000
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if _, err := b.Send(nil); !errors.Is(err, errFactory) {
					t.Errorf("Send: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	assert.Less(t, pool.gets.Load(), int64(senders*each/10))
}

func TestPoolThatRecoversIsUsedAgain(t *testing.T) {
	open := dialer(echo(t))
	var mu sync.Mutex
	down := true
	b := start(t, 1, nil, newOwnPool(1, func() (anet.PoolItem, error) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return failing()
		}
		return open()
	}))
	_, err := b.Send(nil)
	require.ErrorIs(t, err, errFactory)
	mu.Lock()
	down = false
	mu.Unlock()
	soon(t, func() bool { _, err := b.Send(nil); return err == nil }, "a reply")
}

func TestDeadPoolIsPassedOver(t *testing.T) {
	good := newOwnPool(2, dialer(echo(t)))
	b := start(t, 2, nil, newOwnPool(2, failing), good, newOwnPool(2, func() (anet.PoolItem, error) {
		return net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	}))
	for range 100 {
		reply, err := send(b, "sync")
		require.NoError(t, err)
		require.Equal(t, "sync", reply)
		req := []byte("async")
		response, err := b.SendAsync(&req)
		require.NoError(t, err)
		clear(req)
		r := <-response
		require.NoError(t, r.Err)
		require.Equal(t, "async", string(r.Payload))
	}
}

type notAConn struct{ closed bool }

func (c *notAConn) Close() error { c.closed = true; return nil }

func TestItemThatIsNoConnIsNamedAndReleased(t *testing.T) {
	item := &notAConn{}
	pool := newOwnPool(1, func() (anet.PoolItem, error) { return item, nil })
	b := start(t, 1, nil, pool)
	_, err := b.Send(nil)
	require.ErrorContains(t, err, "*anet_test.notAConn")
	require.ErrorContains(t, err, "net.Conn")
	b.Close()
	require.True(t, item.closed)
	require.Zero(t, pool.Len())
}

func TestPoolThatGivesNothingIsAnError(t *testing.T) {
	// Of its places, since nobody can release what was never given.
	b := start(t, 1, nil, newOwnPool(10, func() (anet.PoolItem, error) { return nil, nil }))
	_, err := b.Send(nil)
	require.ErrorContains(t, err, "net.Conn")
}

func TestExhaustedPoolIsWaitedFor(t *testing.T) {
	pool := newOwnPool(1, dialer(echo(t)))
	b := start(t, 1, nil, pool)
	item, err := pool.Get()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err = b.SendContext(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)

	response, err := b.SendAsync(nil)
	require.NoError(t, err)
	pool.Put(item)
	require.NoError(t, (<-response).Err)
}

func TestCloseEndsWhoWaitsForAPool(t *testing.T) {
	pool := newOwnPool(1, dialer(echo(t)))
	b := start(t, 1, nil, pool)
	item, err := pool.Get()
	require.NoError(t, err)
	response, err := b.SendAsync(nil)
	require.NoError(t, err)
	b.Close()
	require.Equal(t, anet.Response{Err: anet.ErrClosingBroker}, <-response)
	pool.Put(item)
}

// stuckPool never returns from GetWithContext until it is let go.
type stuckPool struct {
	*ownPool
	asked, letGo chan struct{}
}

func (p *stuckPool) GetWithContext(context.Context) (anet.PoolItem, error) {
	close(p.asked)
	<-p.letGo
	return p.ownPool.GetWithContext(context.Background())
}

func TestPoolThatIgnoresItsContextDoesNotHoldUpClose(t *testing.T) {
	pool := &stuckPool{newOwnPool(1, dialer(echo(t))), make(chan struct{}), make(chan struct{})}
	b := start(t, 1, nil, pool)
	response, err := b.SendAsync(nil)
	require.NoError(t, err)
	<-pool.asked
	b.Close()
	require.Equal(t, anet.Response{Err: anet.ErrClosingBroker}, <-response)
	close(pool.letGo)
	soon(t, func() bool { return pool.releases.Load() == 1 }, "the connection that came late is released")
}

func TestCloseTakesNoLongerThanCloseTimeout(t *testing.T) {
	release := make(chan struct{})
	pool := &slowRelease{newOwnPool(1, dialer(peer(t, silent))), release}
	b := start(t, 1, &anet.BrokerConfig{CloseTimeout: 20 * time.Millisecond}, pool)
	_, err := b.SendAsync(nil)
	require.NoError(t, err)
	soon(t, func() bool { return pool.lent.Load() == 1 }, "connected")
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("Close waited for the pool")
	}
	close(release)
	<-closed
	soon(t, func() bool { return pool.releases.Load() == 1 }, "released")
}

type slowRelease struct {
	*ownPool
	release chan struct{}
}

func (p *slowRelease) Release(item anet.PoolItem) {
	<-p.release
	p.ownPool.Release(item)
}

func TestCloseAtAnyMomentEndsEveryRequestOnce(t *testing.T) {
	addr := echo(t)
	for round := range 40 {
		pool := newOwnPool(2, dialer(addr))
		b := anet.NewBroker([]anet.Pool{pool}, 2, nil, &anet.BrokerConfig{Multiplex: round%2 == 0})
		begin(t, b)
		var wg sync.WaitGroup
		begun := make(chan struct{}, 64)
		for range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					response, err := b.SendAsync(nil)
					if i == 0 {
						begun <- struct{}{}
					}
					if errors.Is(err, anet.ErrQueueFull) {
						continue
					}
					if err == nil {
						err = (<-response).Err
					}
					if err != nil {
						if err != anet.ErrClosingBroker {
							t.Errorf("SendAsync: %v", err)
						}
						return
					}
				}
			})
		}
		for range 1 + round%8 {
			<-begun
		}
		b.Close()
		wg.Wait()
		soon(t, func() bool { return pool.lent.Load() == 0 }, "every connection is given back")
		pool.Close()
	}
}

// Peers that reset at random must not make a request end twice, never, or with
// another's reply, and no connection may be lost to the pool.
func TestResetsLoseNoConnection(t *testing.T) {
	pool := newOwnPool(4, dialer(peer(t, func(nc net.Conn) {
		for left := 1 + int(nc.RemoteAddr().(*net.TCPAddr).Port)%20; left > 0; left-- {
			msg, err := anet.Read(nc)
			if err != nil {
				return
			}
			if anet.Write(nc, msg) != nil {
				return
			}
		}
		_ = nc.(*net.TCPConn).SetLinger(0)
	})))
	b := start(t, 4, nil, pool)
	var wg sync.WaitGroup
	for s := range 8 {
		wg.Go(func() {
			for i := range 100 {
				text := string(rune('a'+s)) + string(rune('A'+i%26))
				reply, err := send(b, text)
				if err == nil && reply != text {
					t.Errorf("got %q for %q", reply, text)
				}
			}
		})
	}
	wg.Wait()
	b.Close()
	soon(t, func() bool { return pool.lent.Load() == 0 }, "every connection is given back")
	_, err := b.Send(nil)
	require.Equal(t, anet.ErrClosingBroker, err)
}
