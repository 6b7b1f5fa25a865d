package paired

import (
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/list"
)

// state says what has an entry. The pool's mutex guards it.
type state uint8

const (
	taken    state = iota // its owner, or the goroutine that brings it in
	ready                 // on the shelf
	checking              // on the shelf, and looked at by the manager
	gone                  // out of the pool, closed or about to be
)

// entry is one connection of the pool. Its state, since and place are guarded by the
// pool's mutex; ahead and partial belong to the goroutine that has taken it or is
// checking it.
type entry struct {
	id    connID
	nc    net.Conn
	state state
	since time.Time        // when it was last put on the shelf
	place list.Node[entry] // on the shelf

	ahead   readAhead
	partial bool // part of a TLS record was seen to wait
}

// waiter is a call that waits for a connection.
type waiter struct {
	id    connID
	byID  bool              // id is wanted, and no other
	out   chan *entry       // made by wait; room for one, written under the pool's mutex
	place list.Node[waiter] // in its queue
}

// shelf holds all connections of a pool, those that are ready, and the waiters for
// one. It does no I/O, and the pool's mutex guards it. Ready connections are
// ordered by when they came: the youngest is in front and is taken first, so that
// those nobody needs grow old at the back.
type shelf struct {
	open map[connID]*entry
	idle list.List[entry] // ready or checking

	anyone list.List[waiter]             // in the order they came
	byID   map[connID]*list.List[waiter] // likewise; no list is empty
}

func newShelf() shelf {
	return shelf{
		open: make(map[connID]*entry),
		byID: make(map[connID]*list.List[waiter]),
	}
}

// put gives a taken entry to a waiter, else makes it ready.
func (s *shelf) put(e *entry, now time.Time) {
	e.since = now
	if s.serve(e) {
		return
	}
	e.state = ready
	s.idle.PushFront(&e.place, e)
}

// checked ends the check of an entry that proved good.
func (s *shelf) checked(e *entry) {
	e.state = ready
	if s.wanted(e) {
		s.unlink(e)
		s.serve(e)
	}
}

// wanted reports whether somebody waits for e.
func (s *shelf) wanted(e *entry) bool { return s.byID[e.id] != nil || s.anyone.Len() > 0 }

// serve hands e to the waiter that is due, if there is one: one that wants this very
// connection goes before one that wants any.
func (s *shelf) serve(e *entry) bool {
	queue := &s.anyone
	if q := s.byID[e.id]; q != nil {
		queue = q
	}
	w := queue.Front()
	if w == nil {
		return false
	}
	s.leave(w)
	e.state = taken
	w.out <- e
	return true
}

// takeAny takes the youngest ready entry, or returns nil.
func (s *shelf) takeAny() *entry {
	for e := s.idle.Front(); e != nil; e = e.place.Next() { // at most one is being checked
		if e.state == ready {
			s.unlink(e)
			return e
		}
	}
	return nil
}

// takeID takes the entry of this ID if it is ready, or returns nil.
func (s *shelf) takeID(id connID) *entry {
	e := s.open[id]
	if e == nil || e.state != ready {
		return nil
	}
	s.unlink(e)
	return e
}

// unlink takes a ready or checked entry off the shelf.
func (s *shelf) unlink(e *entry) {
	s.idle.Remove(&e.place)
	e.state = taken
}

// drop takes an entry out of the pool and reports whether it still was in it.
// The caller that gets true closes the connection, outside the lock.
func (s *shelf) drop(e *entry) bool {
	switch e.state {
	case gone:
		return false
	case ready, checking:
		s.unlink(e)
	}
	e.state = gone
	delete(s.open, e.id)
	return true
}

// dropAll drops every entry for which which is true and returns them.
func (s *shelf) dropAll(which func(*entry) bool) (dropped []*entry) {
	for _, e := range s.open {
		if which(e) {
			s.drop(e)
			dropped = append(dropped, e)
		}
	}
	return dropped
}

// wait enters w in its queue.
func (s *shelf) wait(w *waiter) {
	w.out = make(chan *entry, 1)
	queue := &s.anyone
	if w.byID {
		queue = s.byID[w.id]
		if queue == nil {
			queue = new(list.List[waiter])
			s.byID[w.id] = queue
		}
	}
	queue.PushBack(&w.place, w)
}

// leave removes w from its queue if it is still there.
func (s *shelf) leave(w *waiter) {
	if !w.place.Listed() {
		return
	}
	queue := &s.anyone
	if w.byID {
		queue = s.byID[w.id]
	}
	queue.Remove(&w.place)
	if w.byID && queue.Len() == 0 {
		delete(s.byID, w.id)
	}
}
