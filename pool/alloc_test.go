//go:build unix && !race

package pool_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestGetPutAllocNothing(t *testing.T) {
	s := &source{}
	p := newPool(t, s, pool.Config{})
	var failed error
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		i, err := p.GetContext(bg)
		if err == nil {
			err = p.Put(i)
		}
		if err != nil {
			failed = err
		}
	}))
	require.NoError(t, failed)
}

func TestConnGetPutAllocNothing(t *testing.T) {
	addr, peers := listen(t, nil)
	p := newConnPool(t, pool.Config{Addr: addr})
	require.NoError(t, p.WaitReady(bg))
	defer func() { (<-peers).Close() }()
	var failed error
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		nc, err := p.GetContext(bg)
		if err == nil {
			err = p.Put(nc)
		}
		if err != nil {
			failed = err
		}
	}))
	require.NoError(t, failed)
}

func TestWaitingGetAllocNothing(t *testing.T) {
	p := newPool(t, &source{}, pool.Config{MaxConns: 1})
	held, err := p.GetContext(bg)
	require.NoError(t, err)
	// A second goroutine takes what this one puts back, and the reverse.
	wanted, given := make(chan struct{}), make(chan error)
	go func() {
		for range wanted {
			i, err := p.GetContext(bg)
			if err == nil {
				err = p.Put(i)
			}
			given <- err
		}
	}()
	var failed error
	assert.Less(t, testing.AllocsPerRun(1000, func() {
		wanted <- struct{}{}
		for p.Stats().Waiting == 0 { // until it waits, which nothing prevents
			runtime.Gosched()
		}
		if err := p.Put(held); err != nil {
			failed = err
		}
		var err error
		if held, err = p.GetContext(bg); err != nil {
			failed = err
		}
		if err := <-given; err != nil {
			failed = err
		}
	}), 0.5) // a collection may empty the store of waiters
	close(wanted)
	require.NoError(t, failed)
	require.NoError(t, p.Put(held))
}
