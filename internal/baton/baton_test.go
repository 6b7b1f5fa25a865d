package baton

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// in returns a right in a state that its transitions led to.
func in(t *testing.T, s State) *Right {
	t.Helper()
	r := &Right{}
	r.Init()
	switch s {
	case Free:
	case Held:
		require.True(t, r.Take())
	case Promised:
		require.True(t, r.Promise())
	case Borrowed:
		require.True(t, r.Promise())
		require.True(t, r.Borrow())
	case Kept:
		require.True(t, r.Assign())
		<-r.Wait()
	}
	require.Equal(t, s, r.State())
	return r
}

// requireHanded finds exactly one token for the keeper, or none.
func requireHanded(t *testing.T, r *Right, handed bool) {
	t.Helper()
	require.Equal(t, map[bool]int{true: 1}[handed], len(r.Wait()))
	if handed {
		<-r.Wait()
	}
}

func TestTransitionsOfARight(t *testing.T) {
	for name, c := range map[string]struct {
		do       func(r *Right) bool
		from, to State // from anywhere else it is refused
	}{
		"Take":    {(*Right).Take, Free, Held},
		"Promise": {(*Right).Promise, Free, Promised},
		"Redeem":  {(*Right).Redeem, Promised, Held},
		"Borrow":  {(*Right).Borrow, Promised, Borrowed},
		"Revoke":  {(*Right).Revoke, Promised, Kept},
		"Assign":  {(*Right).Assign, Free, Kept},
	} {
		t.Run(name, func(t *testing.T) {
			for from := Free; from <= Kept; from++ {
				r := in(t, from)
				require.Equal(t, from == c.from, c.do(r), "from %d", from)
				if from != c.from {
					require.Equal(t, from, r.State(), "a refusal changes nothing")
					requireHanded(t, r, false)
					continue
				}
				require.Equal(t, c.to, r.State())
				requireHanded(t, r, c.to == Kept)
			}
		})
	}
}

func TestRenewTurnsTheRightIntoAPromise(t *testing.T) {
	for _, from := range []State{Held, Borrowed, Kept} {
		r := in(t, from)
		r.Renew()
		assert.Equal(t, Promised, r.State())
		assert.False(t, r.Take())
		assert.True(t, r.Redeem())
		requireHanded(t, r, false)
	}
}

func TestKeepHandsTheRightToTheKeeper(t *testing.T) {
	for _, from := range []State{Held, Borrowed, Kept} {
		r := in(t, from)
		r.Keep()
		assert.Equal(t, Kept, r.State())
		requireHanded(t, r, true)
		assert.False(t, r.Release(func() bool { return false }))
		assert.True(t, r.Take())
	}
}

func TestReleaseFreesTheRightBeforeItLooks(t *testing.T) {
	for _, from := range []State{Held, Kept} {
		r := in(t, from)
		looked := false
		assert.False(t, r.Release(func() bool {
			looked = true
			assert.Equal(t, Free, r.State())
			return false
		}))
		assert.True(t, looked)
		assert.Equal(t, Free, r.State())
	}
}

func TestReleaseTakesTheRightAgainForWork(t *testing.T) {
	for _, from := range []State{Held, Kept} {
		r := in(t, from)
		assert.True(t, r.Release(func() bool { return true }))
		assert.Equal(t, Held, r.State(), "also by the keeper")
	}
}

func TestReleaseLeavesWorkToWhoeverWasFaster(t *testing.T) {
	for state, faster := range map[State]func(r *Right) bool{
		Held:     (*Right).Take,
		Promised: (*Right).Promise,
		Kept:     (*Right).Assign,
	} {
		r := in(t, Held)
		assert.False(t, r.Release(func() bool { return faster(r) }))
		assert.Equal(t, state, r.State())
	}
}

func TestRevokedPromiseIsGone(t *testing.T) {
	r := in(t, Promised)
	require.True(t, r.Revoke())
	assert.False(t, r.Redeem())
	assert.False(t, r.Borrow())
	assert.False(t, r.Revoke())
	<-r.Wait()
	assert.False(t, r.Release(func() bool { return false }))
	assert.False(t, r.Redeem())
	assert.Equal(t, Free, r.State())
}

func TestBorrowedPromiseIsThereAgainAfterRenew(t *testing.T) {
	r := in(t, Borrowed)
	assert.False(t, r.Redeem(), "not while it is borrowed")
	assert.False(t, r.Revoke())
	assert.False(t, r.Borrow(), "by one at a time")
	r.Renew()
	assert.True(t, r.Redeem())
}
