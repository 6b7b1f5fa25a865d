package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/invariant"
)

// attempt is one dial, and the context of it. A context's channel and timer cost as
// much as a dial in memory, and waking the poller for a new timer more than that. So
// they are made only for a source that asks for them; one timer of the pool sees to
// it that nobody waits for a dial that is overdue.
type attempt struct {
	pool     context.Context // the pool's
	deadline time.Time       // zero: none
	epoch    uint64          // when it began
	overdue  bool            // nobody waits for it any more; guarded by the pool's lock

	once sync.Once // makes the two below
	ctx  context.Context
	stop context.CancelFunc
}

func (a *attempt) Deadline() (time.Time, bool) { return a.deadline, !a.deadline.IsZero() }
func (a *attempt) Done() <-chan struct{}       { return a.real().Done() }
func (a *attempt) Err() error                  { return a.real().Err() }

// Value leads contexts made from this one to the real one: they end with it without
// a goroutine.
func (a *attempt) Value(key any) any { return a.real().Value(key) }

// real makes the context that the source asks for.
func (a *attempt) real() context.Context {
	a.once.Do(func() {
		if a.deadline.IsZero() {
			a.ctx, a.stop = context.WithCancel(a.pool)
		} else {
			a.ctx, a.stop = context.WithDeadline(a.pool, a.deadline)
		}
	})
	return a.ctx
}

// end ends the context: the dial is over.
func (a *attempt) end() {
	a.once.Do(func() { a.ctx = over })
	if a.stop != nil {
		a.stop()
	}
}

// over is the context for a source that asks for one after the end.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// tooLate reports whether the deadline has passed.
func (a *attempt) tooLate() bool { return !a.deadline.IsZero() && !time.Now().Before(a.deadline) }

// beginLocked takes a place for a dial. The caller owes an open.
func (p *Of[T]) beginLocked() *attempt {
	a := &attempt{pool: p.ctx, epoch: p.dialling.epoch}
	if p.cfg.DialTimeout > 0 {
		a.deadline = time.Now().Add(p.cfg.DialTimeout)
	}
	p.opening = append(p.opening, a)
	p.places++
	p.stats.Dials++
	invariant.Check(p.places <= p.cfg.MaxConns, "pool: more places than MaxConns")
	p.watchLocked()
	return a
}

// watchLocked sets the timer for the dial that is overdue first: the one that began
// first. A timer that runs already is for an earlier one, and will be set anew.
func (p *Of[T]) watchLocked() {
	if p.watching || p.closed || len(p.opening) == 0 || p.cfg.DialTimeout <= 0 {
		return
	}
	p.watching = true
	wait := max(time.Until(p.opening[0].deadline), 0)
	if p.watch == nil {
		p.watch = time.AfterFunc(wait, p.overran)
		return
	}
	p.watch.Reset(wait)
}

// overran ends the wait for dials that are overdue: a source that ignores its
// context must not keep anybody waiting. It runs on the timer's goroutine.
func (p *Of[T]) overran() {
	p.mu.Lock()
	p.watching = false
	var failed []*waiter[T]
	for len(p.opening) > 0 && p.opening[0].tooLate() {
		a := p.opening[0]
		p.opening = slices.Delete(p.opening, 0, 1)
		a.overdue = true
		p.overdue++
		failed = append(failed, p.dialFailedLocked(a, ErrDialTimeout)...)
	}
	p.watchLocked()
	p.mu.Unlock()
	wakeAll(failed)
	p.wakeManager()
}

// endLocked notes that the source returned. It reports whether that was in time.
func (p *Of[T]) endLocked(a *attempt) bool {
	if a.overdue {
		p.overdue--
		return false
	}
	i := slices.Index(p.opening, a)
	p.opening = slices.Delete(p.opening, i, i+1)
	return true
}
