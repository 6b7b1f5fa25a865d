package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestPutAndReleaseRefuseWhatIsNotLent(t *testing.T) {
	s := &source{}
	p := newPool(t, s, pool.Config{MaxConns: 2})
	foreign := &item{src: &source{}}
	for _, give := range []func(*item) error{p.Put, p.Release} {
		for _, strange := range []*item{foreign, nil} {
			require.ErrorIs(t, give(strange), pool.ErrForeign)
		}
	}
	require.Zero(t, foreign.closed.Load())

	held := get(t, p)
	put(t, p, held)
	require.ErrorIs(t, p.Put(held), pool.ErrNotLent)
	require.ErrorIs(t, p.Release(held), pool.ErrNotLent)
	require.Zero(t, held.closed.Load())
	require.Equal(t, 1, p.Len())
	require.Same(t, held, get(t, p))

	require.NoError(t, p.Release(held))
	require.ErrorIs(t, p.Release(held), pool.ErrForeign)
	require.ErrorIs(t, p.Put(held), pool.ErrForeign)
	require.EqualValues(t, 1, held.closed.Load())
	require.Zero(t, p.Len())
	getN(t, p, 2) // its place was freed, once
	conserved(t, p.Stats())
}

// blank items may all be equal: pointers to empty structs.
type blank struct{}

func (*blank) Close() error { return nil }

func TestEqualItemsAreAsGoodAsEachOther(t *testing.T) {
	one := &blank{}
	p, err := pool.NewOf(pool.Source[*blank]{Open: func(context.Context) (*blank, error) { return one, nil }}, pool.Config{MaxConns: 3})
	require.NoError(t, err)
	defer p.Close()
	for range 3 {
		_, err := p.GetContext(bg)
		require.NoError(t, err)
	}
	require.Equal(t, 3, p.InUse())
	require.NoError(t, p.Put(one))
	require.NoError(t, p.Release(one))
	require.NoError(t, p.Put(one))
	require.ErrorIs(t, p.Put(one), pool.ErrNotLent)
	require.Equal(t, 2, p.Idle())
	for range 3 {
		_, err := p.GetContext(bg)
		require.NoError(t, err)
	}
	require.Equal(t, 3, p.Flush())
	for range 3 {
		require.NoError(t, p.Put(one))
	}
	require.ErrorIs(t, p.Put(one), pool.ErrForeign)
	conserved(t, p.Stats())
}

// closer is an interface of items, as a facade has it.
type closer interface{ Close() error }

// list is an item that cannot be compared.
type list []byte

func (list) Close() error { return nil }

func TestItemsThatCannotBeComparedAreRefused(t *testing.T) {
	var next closer
	p, err := pool.NewOf(pool.Source[closer]{Open: func(context.Context) (closer, error) { return next, nil }},
		pool.Config{MaxConns: 1, BackoffBase: -1})
	require.NoError(t, err)
	defer p.Close()
	next = list{}
	_, err = p.GetContext(bg)
	require.ErrorContains(t, err, "return pointers")
	next = nil
	_, err = p.GetContext(bg)
	require.ErrorContains(t, err, "neither")

	require.Panics(t, func() { p.Put(list{}) })
	next = &blank{}
	got, err := p.GetContext(bg)
	require.NoError(t, err, "the pool goes on")
	require.NoError(t, p.Put(got))
}

func TestAConnectionTooOldIsClosedWhenItIsPutBack(t *testing.T) {
	bubble(t, &source{}, pool.Config{MaxLifetime: 10 * time.Minute}, func(t *testing.T, p *pool.Of[*item]) {
		held := get(t, p)
		time.Sleep(8 * time.Minute)
		put(t, p, held)
		require.Same(t, held, get(t, p), "not before 90 % of it")
		time.Sleep(2*time.Minute + 2*time.Second)
		put(t, p, held)
		require.EqualValues(t, 1, held.closed.Load())
		assert.EqualValues(t, 1, p.Stats().ClosedBy[pool.TooOld])
		get(t, p)
	})
}
