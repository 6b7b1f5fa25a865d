package pool

import (
	"context"
	"sync"
)

// examiners is how many pings a pass has under way at once.
const examiners = 8

// examines reports whether there are background passes.
func (p *Of[T]) examines() bool {
	return p.cfg.ValidationInterval > 0 && p.cfg.Validation != ValidateNone
}

// pass examines all that are idle, those idle longest first, on a goroutine of its
// own.
func (p *Of[T]) pass() {
	p.mu.Lock()
	todo := make(chan *entry[T], p.idle.Len())
	for e := p.idle.Back(); e != nil; e = e.place.Prev() {
		todo <- e
	}
	p.mu.Unlock()
	close(todo)

	var wg sync.WaitGroup
	for range min(examiners, len(todo)) {
		wg.Go(func() {
			for e := range todo {
				p.examine(e)
			}
		})
	}
	wg.Wait()

	p.mu.Lock()
	p.passing = false
	p.nextPass = p.now() + jittered(p.cfg.ValidationInterval)
	p.mu.Unlock()
	p.wakeManager()
}

// examine looks at an entry in its place in the idle list, if it is still there.
func (p *Of[T]) examine(e *entry[T]) {
	slow := e.validate != nil || p.cfg.Validation == ValidatePing
	if !slow && e.peeker == nil {
		return
	}
	p.mu.Lock()
	if p.closed || e.state != idle {
		p.mu.Unlock()
		return
	}
	e.state = checking
	e.round++
	round := e.round
	if slow {
		p.pinging = append(p.pinging, e)
	}
	p.mu.Unlock()

	var bad error
	if e.peeker != nil {
		bad = e.peeker.Peek()
	}
	alive := true
	if bad == nil && slow {
		alive = p.ping(e, round)
	}

	p.mu.Lock()
	var w *waiter[T]
	switch {
	case e.state != checking || e.round != round: // it was taken away meanwhile
	case bad != nil:
		p.unpingLocked(e)
		p.rejectLocked(e, bad)
	case !alive:
		p.unpingLocked(e)
		p.errorCount.Add(1)
		p.closeLocked(e, PingFailed)
	default:
		p.unpingLocked(e)
		w = p.examinedLocked(e)
	}
	p.mu.Unlock()
	w.wake()
}

// examinedLocked returns an entry from its examination: it is idle again, in its
// place, unless a waiter came for it, which must be woken.
func (p *Of[T]) examinedLocked(e *entry[T]) *waiter[T] {
	e.state = idle
	if p.waiters.Len() == 0 {
		return nil
	}
	p.idle.Remove(&e.place)
	e.state = lent
	p.lent++
	return p.serveLocked(e)
}

// ping calls the user's examination. When the time is over it closes the item
// under it.
func (p *Of[T]) ping(e *entry[T], round uint64) (alive bool) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.ValidationTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.abandon(e, round) })
	defer stop()
	if e.validate != nil {
		return e.validate()
	}
	return p.src.Ping(ctx, e.item) == nil
}

// abandon closes an item whose examination takes too long.
func (p *Of[T]) abandon(e *entry[T], round uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.state == checking && e.round == round {
		p.unpingLocked(e)
		p.errorCount.Add(1)
		p.closeLocked(e, PingFailed)
	}
}

// preemptLocked closes connections under a ping when a Get waits that would have to wait
// for the ping: a dial is bounded and certain, the ping of a dead connection takes all
// its time.
func (p *Of[T]) preemptLocked() {
	if p.places < p.capacity || p.dialling.failures > 0 {
		return // there is room, or no dial can begin in its place
	}
	for len(p.pinging) > 0 && p.waiters.Len() > len(p.opening)+p.leaving {
		e := p.pinging[0]
		p.unpingLocked(e)
		p.closeLocked(e, Preempted)
	}
}

func (p *Of[T]) unpingLocked(e *entry[T]) {
	for i, at := range p.pinging {
		if at == e {
			last := len(p.pinging) - 1
			p.pinging[i] = p.pinging[last]
			p.pinging[last] = nil
			p.pinging = p.pinging[:last]
			return
		}
	}
}
