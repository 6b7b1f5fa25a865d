package paired

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// modelShelf says what a shelf must do, in the plainest way.
type modelShelf struct {
	ready   []*entry // the youngest last
	taken   []*entry
	waiters []*waiter
}

// first returns the waiter that gets an entry of this ID.
func (m *modelShelf) first(id connID) int {
	i := slices.IndexFunc(m.waiters, func(w *waiter) bool { return w.byID && w.id == id })
	if i < 0 {
		i = slices.IndexFunc(m.waiters, func(w *waiter) bool { return !w.byID })
	}
	return i
}

// TestShelfAgainstItsModel makes random moves and compares every answer.
func TestShelfAgainstItsModel(t *testing.T) {
	moves := 1_000_000
	if testing.Short() || raceEnabled {
		moves = 10_000
	}
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	s, m, now := newShelf(), &modelShelf{}, time.Unix(0, 0)
	for range moves {
		now = now.Add(1)
		if r.IntN(7) < 4 {
			moveConnection(t, r, &s, m, now)
		} else {
			moveWaiter(t, r, &s, m)
		}
		compare(t, &s, m)
	}
}

func someID(r *rand.Rand) connID { return connID{byte(r.IntN(16))} }

// moveConnection brings a connection, puts one back, or takes one.
func moveConnection(t *testing.T, r *rand.Rand, s *shelf, m *modelShelf, now time.Time) {
	switch r.IntN(4) {
	case 0: // a connection comes
		e := &entry{id: someID(r)}
		if s.open[e.id] != nil {
			return
		}
		s.open[e.id] = e
		put(t, s, m, e, now)
	case 1: // one is put back
		if len(m.taken) == 0 {
			return
		}
		i := r.IntN(len(m.taken))
		e := m.taken[i]
		m.taken = slices.Delete(m.taken, i, i+1)
		put(t, s, m, e, now)
	case 2: // any is taken
		var want *entry
		if n := len(m.ready); n > 0 {
			want = m.ready[n-1]
		}
		takeAs(t, m, want, s.takeAny())
	case 3: // a certain one is
		want := someID(r)
		i := slices.IndexFunc(m.ready, func(e *entry) bool { return e.id == want })
		var e *entry
		if i >= 0 {
			e = m.ready[i]
		}
		takeAs(t, m, e, s.takeID(want))
	}
}

// moveWaiter has somebody wait or give up waiting, or drops a connection.
func moveWaiter(t *testing.T, r *rand.Rand, s *shelf, m *modelShelf) {
	switch r.IntN(3) {
	case 0: // somebody waits, if there is reason to
		w := &waiter{}
		if r.IntN(2) == 0 {
			w.id, w.byID = someID(r), true
			if e := s.open[w.id]; e != nil && e.state == ready {
				return
			}
		} else if len(m.ready) > 0 {
			return
		}
		if len(m.waiters) < 10 {
			s.wait(w)
			m.waiters = append(m.waiters, w)
		}
	case 1: // somebody gives up waiting, perhaps twice
		if len(m.waiters) == 0 {
			return
		}
		i := r.IntN(len(m.waiters))
		s.leave(m.waiters[i])
		s.leave(m.waiters[i])
		m.waiters = slices.Delete(m.waiters, i, i+1)
	case 2: // one is dropped, on the shelf or taken
		all := slices.Concat(m.ready, m.taken)
		if len(all) == 0 {
			return
		}
		e := all[r.IntN(len(all))]
		require.True(t, s.drop(e))
		require.False(t, s.drop(e))
		gone := func(x *entry) bool { return x == e }
		m.ready, m.taken = slices.DeleteFunc(m.ready, gone), slices.DeleteFunc(m.taken, gone)
	}
}

func put(t *testing.T, s *shelf, m *modelShelf, e *entry, now time.Time) {
	s.put(e, now)
	i := m.first(e.id)
	if i < 0 {
		m.ready = append(m.ready, e)
		return
	}
	w := m.waiters[i]
	m.waiters = slices.Delete(m.waiters, i, i+1)
	m.taken = append(m.taken, e)
	select {
	case got := <-w.out:
		if got != e {
			t.Fatal("a waiter got another connection")
		}
	default:
		t.Fatal("the waiter who was due got nothing")
	}
}

func takeAs(t *testing.T, m *modelShelf, want, got *entry) {
	if got != want {
		t.Fatalf("took %v, want %v", got, want)
	}
	if got != nil {
		m.ready = slices.DeleteFunc(m.ready, func(e *entry) bool { return e == got })
		m.taken = append(m.taken, got)
	}
}

func compare(t *testing.T, s *shelf, m *modelShelf) {
	if len(s.open) != len(m.ready)+len(m.taken) || s.idle.Len() != len(m.ready) {
		t.Fatalf("%d open, %d idle; the model has %d and %d",
			len(s.open), s.idle.Len(), len(m.ready)+len(m.taken), len(m.ready))
	}
	var prev *entry
	i := 0
	for e := s.idle.Back(); e != nil; e = e.place.Prev() {
		if e != m.ready[i] || e.state != ready || s.open[e.id] != e ||
			e.place.Next() != prev || prev != nil && prev.since.After(e.since) {
			t.Fatalf("place %d from the back is wrong", i)
		}
		prev = e
		i++
	}
	if i != len(m.ready) || prev != s.idle.Front() {
		t.Fatal("the list is broken")
	}
	waiting := s.anyone.Len()
	for _, q := range s.byID {
		if q.Len() == 0 {
			t.Fatal("an empty queue is kept")
		}
		waiting += q.Len()
	}
	if waiting != len(m.waiters) {
		t.Fatalf("%d wait, the model has %d", waiting, len(m.waiters))
	}
}

func TestAConnectionUnderCheckIsNotTakenAndKeepsItsPlace(t *testing.T) {
	s, now := newShelf(), time.Unix(0, 0)
	var all []*entry
	for i := range 3 {
		e := &entry{id: connID{byte(i)}}
		s.open[e.id] = e
		s.put(e, now.Add(time.Duration(i)))
		all = append(all, e)
	}
	all[2].state = checking
	require.Equal(t, 3, s.idle.Len())
	require.Nil(t, s.takeID(all[2].id))
	require.Same(t, all[1], s.takeAny())
	s.checked(all[2])
	require.Same(t, all[2], s.takeAny())

	all[0].state = checking
	require.Nil(t, s.takeAny())
	w := &waiter{}
	s.wait(w)
	s.checked(all[0])
	require.Same(t, all[0], <-w.out)
	require.Zero(t, s.idle.Len())
	require.Equal(t, taken, all[0].state)
}
