package pool

import (
	"context"

	"github.com/ringwire/ringwire/internal/invariant"
)

// Get is GetContext with a context that never ends.
func (p *Of[T]) Get() (T, error) { return p.GetContext(context.Background()) }

// GetContext lends out a connection: the one that was put back last, or a new one, or,
// when all places are taken, the first to come back. It waits at most until ctx
// ends. The caller owns the connection until it calls Put or Release.
//
// The error is an *Error around ErrClosed, what the dial returned, ErrDialTimeout,
// or ctx's error; see the package's text on failing dials.
func (p *Of[T]) GetContext(ctx context.Context) (item T, err error) {
	if err := ctx.Err(); err != nil {
		return item, p.fail("get", err)
	}
	for { // each turn closes a connection that was idle
		p.lock()
		e := p.idle.pop()
		if e == nil {
			return p.wait(ctx)
		}
		e.state = lent
		p.lent++
		p.gets++
		p.mu.Unlock()
		if e.peeker == nil {
			return e.item, nil
		}
		bad := e.peeker.Peek()
		if bad == nil {
			return e.item, nil
		}
		p.lock()
		p.gets--
		p.rejectLocked(e, bad)
		p.mu.Unlock()
	}
}

// wait is called with the lock held and gives it up.
func (p *Of[T]) wait(ctx context.Context) (item T, err error) {
	if p.closed {
		p.mu.Unlock()
		return item, p.fail("get", ErrClosed)
	}
	w := p.waiterPool.Get().(*waiter[T])
	p.waiters.PushBack(&w.place, w)
	p.stats.Waits++
	// A Get that nothing can cancel dials itself: that saves waking another thread,
	// twice. Others must be able to leave a dial behind.
	var own *attempt
	if p.wantedLocked() > 0 {
		if ctx.Done() == nil {
			own = p.beginLocked()
			p.running++
		}
		p.fillLocked()
	}
	p.preemptLocked()
	p.mu.Unlock()
	if own != nil {
		p.open(own)
		p.exited()
	}

	if done := ctx.Done(); done == nil {
		<-w.ready // a plain receive costs half of a select
	} else {
		select {
		case <-w.ready:
		case <-done:
			if err := p.giveUp(w, ctx); err != nil {
				return item, err
			}
			<-w.ready // the goroutine that took it out of the queue is about to wake it
		}
	}
	e, err := w.e, w.err
	w.e, w.err = nil, nil
	p.waiterPool.Put(w)
	if err != nil {
		return item, err
	}
	return e.item, nil
}

// giveUp takes w out of the queue and returns why it got nothing, or nil if it has
// been served.
func (p *Of[T]) giveUp(w *waiter[T], ctx context.Context) error {
	p.lock()
	defer p.mu.Unlock()
	if !p.waiters.Remove(&w.place) {
		return nil
	}
	p.waiterPool.Put(w)
	p.stats.Cancelled++
	err := &Error{Op: "get", Addr: p.cfg.Addr, Err: ctx.Err()}
	if p.dialling.failures > 0 {
		err.Dial = p.dialling.lastErr
	}
	return err
}

// serveLocked gives an entry that is lent to nobody in particular to the longest
// waiter, which is returned and must be woken, or makes it idle.
func (p *Of[T]) serveLocked(e *entry[T]) *waiter[T] {
	w := p.waiters.pop()
	if w == nil {
		e.state, e.since = idle, p.clock
		p.idle.PushFront(&e.place, e)
		p.returnedLocked()
		return nil
	}
	w.e = e
	p.gets++
	return w
}

// returnedLocked counts one connection less lent out.
func (p *Of[T]) returnedLocked() {
	p.lent--
	invariant.Check(p.lent >= 0, "pool: more came back than was lent out")
	if p.lent == 0 && p.returned != nil {
		close(p.returned)
		p.returned = nil
	}
}
