package pool

import (
	"errors"

	"github.com/ringwire/ringwire/internal/liveness"
)

// Put gives back a connection in order, with nothing unread. The pool keeps it, or
// closes it if it is too old, does not pass the peek, or the pool is closed: none of
// that is an error. The caller must not use it again.
//
// The error is an *Error around ErrForeign or ErrNotLent. The pool has then done
// nothing.
func (p *Of[T]) Put(item T) error {
	e, kept, err := p.putBack(item)
	if e != nil {
		bad := e.peeker.Peek() // it is the caller's connection still
		p.lock()
		kept = p.keepLocked(e, bad)
		p.mu.Unlock()
	}
	kept.waiter.wake()
	if kept.out != nil {
		p.dispose(kept.out)
	}
	return err
}

// keeping is what keepLocked has decided.
type keeping[T Item] struct {
	waiter *waiter[T] // to be woken
	out    *entry[T]  // to be disposed of
}

// putBack finds the item's entry. One that must be peeked at first is returned,
// any other one is dealt with.
func (p *Of[T]) putBack(item T) (peek *entry[T], kept keeping[T], err error) {
	e := p.find(item)
	p.lock()
	e, err = owned(e)
	switch {
	case err != nil:
		err = &Error{Op: "put", Addr: p.cfg.Addr, Err: err}
	case e.peeker != nil && e.state == lent && !p.closed:
		e.returning = true
		peek = e
	default:
		kept = p.keepLocked(e, nil)
	}
	p.mu.Unlock()
	return peek, kept, err
}

// keepLocked takes back an entry that a peek found bad, or not: it becomes idle or
// goes to a waiter, or has to be closed.
func (p *Of[T]) keepLocked(e *entry[T], bad error) (kept keeping[T]) {
	e.returning = false
	switch {
	case e.state == flushed:
		p.forgetLocked(e)
		e.state = gone
		return kept
	case p.closed:
		p.leaveLocked(e, ClosedByPool)
	case bad != nil:
		p.errorCount.Add(1)
		p.leaveLocked(e, reasonOf(bad))
	case e.expires != 0 && e.expires <= p.clock:
		p.leaveLocked(e, TooOld)
	default:
		kept.waiter = p.serveLocked(e)
		return kept
	}
	kept.out = e
	return kept
}

// Release closes a connection and frees its place, for a new one if somebody waits.
// It returns when the connection is closed.
//
// The error is an *Error around ErrForeign or ErrNotLent. The pool has then done
// nothing. What Close returned is of no use and is dropped.
func (p *Of[T]) Release(item T) error {
	e, err := p.takeOut(item)
	if err != nil {
		return &Error{Op: "release", Addr: p.cfg.Addr, Err: err}
	}
	if e != nil {
		p.dispose(e)
	}
	return nil
}

// takeOut finds the item's entry and takes it out of the pool. It is nil if the
// item has been closed already.
func (p *Of[T]) takeOut(item T) (*entry[T], error) {
	e := p.find(item)
	p.lock()
	defer p.mu.Unlock()
	e, err := owned(e)
	if err != nil {
		return nil, err
	}
	if e.state == flushed {
		p.forgetLocked(e)
		e.state = gone
		return nil, nil
	}
	p.leaveLocked(e, Released)
	return e, nil
}

// find returns the first entry that holds item, or nil. It panics if the item
// cannot be compared, which is the caller's bug.
func (p *Of[T]) find(item T) *entry[T] {
	e, _ := p.items.Load(item)
	first, _ := e.(*entry[T])
	return first
}

// owned returns the entry of a chain that a caller may give back. The lock must be
// held.
func owned[T Item](e *entry[T]) (*entry[T], error) {
	err := ErrForeign
	for ; e != nil; e = e.twin {
		if (e.state == lent || e.state == flushed) && !e.returning {
			return e, nil
		}
		if e.state != gone {
			err = ErrNotLent
		}
	}
	return nil, err
}

// rejectLocked has an entry closed that failed the peek with err.
func (p *Of[T]) rejectLocked(e *entry[T], err error) {
	p.errorCount.Add(1)
	p.closeLocked(e, reasonOf(err))
}

func reasonOf(peek error) Reason {
	if errors.Is(peek, liveness.ErrUnsolicited) {
		return Unsolicited
	}
	return PeerClosed
}

// closeLocked has an entry closed by a goroutine of the pool.
func (p *Of[T]) closeLocked(e *entry[T], reason Reason) {
	if e.state == flushed || e.state == gone {
		p.forgetLocked(e) // it is closed; its owner has given it back
		e.state = gone
		return
	}
	p.leaveLocked(e, reason)
	p.spawnLocked(func() { p.dispose(e) })
}

// leaveLocked takes an entry out of the pool. Its place is free once it is closed:
// the caller owes a dispose.
func (p *Of[T]) leaveLocked(e *entry[T], reason Reason) {
	if e.state == lent {
		p.returnedLocked()
	} else {
		p.idle.Remove(&e.place)
	}
	p.forgetLocked(e)
	p.partLocked(e, gone, reason)
}

// partLocked counts an entry as closed, for reason, while its place is still taken.
func (p *Of[T]) partLocked(e *entry[T], s state, reason Reason) {
	e.state = s
	p.leaving++
	p.stats.ClosedBy[reason]++
}

// dispose closes an entry's item and frees its place.
func (p *Of[T]) dispose(e *entry[T]) {
	e.item.Close() // its error is of no use: nobody owns it any more
	p.lock()
	p.leaving--
	p.places--
	p.fillLocked()
	p.mu.Unlock()
}

// rememberLocked and forgetLocked keep items. Entries with equal items form a chain.
func (p *Of[T]) rememberLocked(e *entry[T]) {
	e.twin = p.find(e.item)
	p.items.Store(e.item, e)
}

func (p *Of[T]) forgetLocked(e *entry[T]) {
	first := p.find(e.item)
	if first == e {
		if e.twin == nil {
			p.items.Delete(e.item)
		} else {
			p.items.Store(e.item, e.twin)
		}
		return
	}
	for at := first; at != nil; at = at.twin {
		if at.twin == e {
			at.twin = e.twin
			return
		}
	}
}
