package pool

import (
	"context"
	"fmt"
	"time"
)

// closers is how many connections are closed at once.
const closers = 8

// Clean closes all that are idle and returns how many they were, when they are
// closed: eight at a time, and a TLS connection whose peer reads nothing takes five
// seconds. Those being examined are closed too.
func (p *Of[T]) Clean() int {
	p.mu.Lock()
	out := p.takeIdleLocked(Flushed)
	wait := p.disposeAllLocked(out)
	p.mu.Unlock()
	wait()
	return len(out)
}

// Flush closes all connections, also those that are lent out: their owners find
// them closed, and still have to put them back or release them. The pool goes on.
// It returns as Clean does.
func (p *Of[T]) Flush() int {
	p.mu.Lock()
	out := append(p.takeIdleLocked(Flushed), p.takeLentLocked(Flushed)...)
	wait := p.disposeAllLocked(out)
	p.mu.Unlock()
	wait()
	return len(out)
}

// Retire closes the pool to callers that want a connection, and closes the idle
// connections; those that are lent out are closed when they come back. Waiting Gets fail
// with ErrClosed, dials and pings are cancelled. It does not wait for any of this, and
// may be called again. Close has to follow only where its bound matters.
func (p *Of[T]) Retire() {
	p.mu.Lock()
	failed := p.retireLocked()
	p.mu.Unlock()
	wakeAll(failed)
}

// Shutdown retires the pool, waits until nothing is lent out or ctx ends, and then
// closes it. It returns ctx's error if that ended first, or Close's.
func (p *Of[T]) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	failed := p.retireLocked()
	back := p.returned
	if back == nil && p.lent > 0 {
		back = make(chan struct{})
		p.returned = back
	}
	p.mu.Unlock()
	wakeAll(failed)

	var early error
	if back != nil {
		select {
		case <-back:
		case <-ctx.Done():
			early = p.fail("shutdown", ctx.Err())
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	return early
}

// Close retires the pool and closes all connections, also those that are lent out,
// and waits, at most CloseTimeout, until dials, pings and closings have ended. The
// error says how many had not: a Dial that ignores its context goes on, and what it
// returns is closed. Close may be called again, and at once.
func (p *Of[T]) Close() error {
	p.mu.Lock()
	failed := p.retireLocked()
	p.disposeAllLocked(p.takeLentLocked(ClosedByPool))
	return p.settleLocked(failed)
}

// Settle is Close that leaves what is lent out to its owners: it is closed when it comes back.
func (p *Of[T]) Settle() error {
	p.mu.Lock()
	return p.settleLocked(p.retireLocked())
}

// settleLocked gives the lock up, wakes the waiters and waits until nothing runs any more.
func (p *Of[T]) settleLocked(failed []*waiter[T]) error {
	quiet := p.quiet
	if quiet == nil && p.running > 0 {
		quiet = make(chan struct{})
		p.quiet = quiet
	}
	p.mu.Unlock()
	wakeAll(failed)
	if quiet == nil || p.cfg.CloseTimeout < 0 {
		return nil
	}
	t := time.NewTimer(p.cfg.CloseTimeout)
	defer t.Stop()
	select {
	case <-quiet:
		return nil
	case <-t.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fail("close", fmt.Errorf("%d dials, pings and closings still under way after %v", p.running, p.cfg.CloseTimeout))
}

// retireLocked returns the waiters to be woken.
func (p *Of[T]) retireLocked() []*waiter[T] {
	if p.closed {
		return nil
	}
	p.closed = true
	p.cancel()
	if p.watch != nil {
		p.watch.Stop()
	}
	p.disposeAllLocked(p.takeIdleLocked(ClosedByPool))
	p.tellReadyLocked() // that it never will be
	return p.waiters.failAll(p.fail("get", ErrClosed))
}

// takeIdleLocked takes all idle entries out. They must be disposed of.
func (p *Of[T]) takeIdleLocked(reason Reason) (out []*entry[T]) {
	for e := p.idle.Back(); e != nil; e = p.idle.Back() {
		p.leaveLocked(e, reason)
		out = append(out, e)
	}
	clear(p.pinging)
	p.pinging = p.pinging[:0]
	return out
}

// takeLentLocked takes all lent entries' places away. They must be disposed of;
// their owners still have to give them back.
func (p *Of[T]) takeLentLocked(reason Reason) (out []*entry[T]) {
	for _, first := range p.items.Range {
		for e := first.(*entry[T]); e != nil; e = e.twin {
			if e.state == lent {
				p.returnedLocked()
				p.partLocked(e, flushed, reason)
				out = append(out, e)
			}
		}
	}
	return out
}

// disposeAllLocked closes entries on goroutines of the pool. wait returns when they
// are closed; it must be called without the lock.
func (p *Of[T]) disposeAllLocked(out []*entry[T]) (wait func()) {
	if len(out) == 0 {
		return func() {}
	}
	todo, done := make(chan *entry[T], len(out)), make(chan struct{}, closers)
	for _, e := range out {
		todo <- e
	}
	close(todo)
	n := min(closers, len(out))
	for range n {
		p.spawnLocked(func() {
			for e := range todo {
				p.dispose(e)
			}
			done <- struct{}{}
		})
	}
	return func() {
		for range n {
			<-done
		}
	}
}
