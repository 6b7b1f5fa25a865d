package pool

import (
	"time"

	"github.com/ringwire/ringwire/internal/adapt"
)

// The pool's clock is read at least every 64th of IdleTimeout, within these bounds.
const (
	ticks   = 64
	minTick = 10 * time.Millisecond
	maxTick = time.Second
)

// manage is the manager's goroutine: it closes what is too old, replaces what is
// missing, and adapts capacity and interval.
func (p *Of[T]) manage() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.kick:
		case <-p.ctx.Done():
			return
		}
		timer.Reset(p.turn())
	}
}

// turn does what is due and returns when the next turn is.
func (p *Of[T]) turn() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.clock = now
	if p.closed {
		return maxTick // the context has ended
	}
	p.evictLocked(now)
	if now >= p.nextTurn {
		p.adaptLocked(now)
	}
	if p.examines() && now >= p.nextPass && !p.passing {
		p.passing = true
		p.spawnLocked(p.pass)
	}
	p.fillLocked()
	return max(p.nextLocked(now)-now, 0)
}

// adaptLocked changes capacity and interval by a step.
func (p *Of[T]) adaptLocked(now time.Duration) {
	d := &p.dialling
	p.capacity = adapt.Capacity(p.capacity, p.cfg.MinCapacity, p.cfg.MaxConns, d.succeeded, d.ended)
	d.succeeded, d.ended, d.noWarm = 0, 0, false
	p.interval = adapt.Interval(p.interval, p.cfg.MinInterval, p.cfg.MaxInterval,
		p.idle.Len(), p.capacity)
	p.nextTurn = now + p.interval
}

// evictLocked has the idle connections closed that are too old, or idle for too
// long. Those under examination are left to the next turn.
func (p *Of[T]) evictLocked(now time.Duration) {
	var old []*entry[T]
	for e := p.idle.Back(); e != nil; {
		before := e.place.Prev()
		if reason, is := p.outlived(e, now); is && e.state == idle {
			p.leaveLocked(e, reason)
			old = append(old, e)
		}
		e = before
	}
	p.disposeAllLocked(old)
}

// outlived reports whether an idle entry has to go, and why.
func (p *Of[T]) outlived(e *entry[T], now time.Duration) (Reason, bool) {
	switch {
	case p.cfg.IdleTimeout > 0 && now-e.since >= p.cfg.IdleTimeout:
		return IdleTooLong, true
	case e.expires != 0 && now >= e.expires:
		return TooOld, true
	}
	return 0, false
}

// nextLocked returns when the manager has to look again, on the pool's clock.
func (p *Of[T]) nextLocked(now time.Duration) time.Duration {
	next := p.nextTurn
	if p.cfg.IdleTimeout > 0 {
		next = min(next, now+min(max(p.cfg.IdleTimeout/ticks, minTick), maxTick))
		// The goroutine that examines the oldest entry wakes the manager afterwards.
		if oldest := p.idle.Back(); oldest != nil && oldest.state == idle {
			next = min(next, oldest.since+p.cfg.IdleTimeout)
		}
	}
	if p.dialling.failures > 0 && p.dialling.retryAt > now {
		next = min(next, p.dialling.retryAt)
	}
	if p.examines() && !p.passing {
		next = min(next, max(p.nextPass, now))
	}
	return next
}
