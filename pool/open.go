package pool

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// dialState is what the pool knows about the address; guarded by the pool's lock.
type dialState struct {
	failures int           // in a row; those of dials begun together count once
	epoch    uint64        // counts failures that counted
	retryAt  time.Duration // no dial before; on the pool's clock
	lastErr  error         // of the last dial that failed, an *Error
	noWarm   bool          // no dial that nobody waits for until the next turn

	// Ended since the last turn, for the rate.
	succeeded, ended uint64
}

// fillLocked begins the dials that are wanted and allowed, on goroutines of the pool.
func (p *Of[T]) fillLocked() {
	for range p.wantedLocked() {
		a := p.beginLocked()
		p.spawnLocked(func() { p.open(a) })
	}
}

// wantedLocked returns how many dials are wanted and allowed.
func (p *Of[T]) wantedLocked() int {
	if p.closed {
		return 0
	}
	// Demand: room for the waiters that no dial and no place about to be free will serve.
	if more := p.waiters.Len() - len(p.opening) - p.leaving; more > 0 && p.dialling.failures == 0 {
		p.capacity = max(p.capacity, min(p.places+more, p.cfg.MaxConns))
	}
	wanted := max(p.waiters.Len(), p.warmLocked()) - len(p.opening)
	wanted = min(wanted, p.capacity-p.places, p.cfg.MaxDials-len(p.opening)-p.overdue)
	if wanted > 0 && p.dialling.failures > 0 {
		if len(p.opening) > 0 || p.now() < p.dialling.retryAt {
			return 0
		}
		wanted = 1
	}
	return max(wanted, 0)
}

// warmLocked is how many connections should be opened although nobody waits for
// them, those under way included.
func (p *Of[T]) warmLocked() int {
	if p.dialling.noWarm {
		return 0
	}
	open := p.lent + p.idle.Len()
	wanted := max(p.cfg.MinConns, p.lent+p.cfg.MinIdle)
	if p.wantReady > 0 {
		wanted = max(wanted, p.readyAt())
	}
	return wanted - open
}

// open dials, and serves the Get that has waited longest by then. It runs on a goroutine
// of the pool, or on that of a Get that cannot be cancelled anyway.
func (p *Of[T]) open(a *attempt) {
	item, err := p.src.Open(a)
	a.end()
	if err != nil && p.ctx.Err() == nil && a.tooLate() {
		err = errors.Join(ErrDialTimeout, err)
	}
	if err == nil {
		err = checkItem(item)
	}
	if err == nil {
		p.opened(a, p.newEntry(item))
		return
	}
	p.mu.Lock()
	var failed []*waiter[T]
	if p.endLocked(a) {
		failed = p.dialFailedLocked(a, err)
	}
	p.places--
	p.fillLocked()
	p.mu.Unlock()
	wakeAll(failed)
	p.wakeManager()
}

// opened takes in an item that was dialled.
func (p *Of[T]) opened(a *attempt, e *entry[T]) {
	p.mu.Lock()
	p.endLocked(a)
	p.dialling.failures = 0
	p.dialling.succeeded++
	p.dialling.ended++
	p.stats.Opened++
	p.lent++
	p.rememberLocked(e)
	var w *waiter[T]
	if p.closed {
		p.closeLocked(e, ClosedByPool)
	} else {
		w = p.serveLocked(e)
		p.tellReadyLocked()
		p.fillLocked() // the others, if the address was failing
	}
	p.mu.Unlock()
	w.wake()
}

// dialFailedLocked counts a failure and returns the waiters that it is an answer
// for. They must be woken.
func (p *Of[T]) dialFailedLocked(a *attempt, err error) (failed []*waiter[T]) {
	if p.closed {
		return nil // nobody waits, and Close is the cause
	}
	err = &Error{Op: "dial", Addr: p.cfg.Addr, Err: err}
	p.stats.DialErrors++
	p.dialling.ended++
	p.dialling.lastErr = err
	p.errorCount.Add(1)
	if w := p.waiters.pop(); w != nil {
		w.err = err
		failed = append(failed, w)
	}
	if p.cfg.BackoffBase < 0 {
		p.dialling.noWarm = true
		return failed
	}
	if a.epoch == p.dialling.epoch { // else it is news already known
		p.dialling.epoch++
		p.dialling.failures++
		p.dialling.retryAt = p.now() + p.backoff.Delay(p.dialling.failures)
	}
	if p.lent+len(p.opening)+p.idle.Len() == 0 { // nothing can come back before the pause ends
		failed = append(failed, p.waiters.failAll(err)...)
	}
	return failed
}

// checkItem reports what a source must not return without an error.
func checkItem[T Item](item T) error {
	v := reflect.ValueOf(&item).Elem()
	if v.Kind() == reflect.Interface && v.IsNil() {
		return errors.New("the source returned neither an item nor an error")
	}
	if !v.Comparable() {
		item.Close()
		return fmt.Errorf("items of type %T cannot be compared; return pointers", item)
	}
	return nil
}
