package pool

import "context"

// readyAt is how many connections make the pool ready.
func (p *Of[T]) readyAt() int { return max(1, p.cfg.MinConns) }

func (p *Of[T]) readyLocked() bool {
	return !p.closed && p.idle.Len()+p.lent >= p.readyAt()
}

// Ready reports whether MinConns connections are open, and at least one.
func (p *Of[T]) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readyLocked()
}

// WaitReady has connections dialled, if need be, until the pool is ready, and waits
// for that until ctx ends. Its error is an *Error around ErrClosed, or around ctx's
// error with that of the last dial.
func (p *Of[T]) WaitReady(ctx context.Context) error {
	p.mu.Lock()
	p.wantReady++
	p.fillLocked()
	for !p.readyLocked() && !p.closed && ctx.Err() == nil {
		if p.ready == nil {
			p.ready = make(chan struct{})
		}
		ready := p.ready
		p.mu.Unlock()
		select {
		case <-ready:
		case <-ctx.Done():
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	p.wantReady--
	switch {
	case p.closed:
		return p.fail("wait ready", ErrClosed)
	case p.readyLocked():
		return nil
	}
	err := &Error{Op: "wait ready", Addr: p.cfg.Addr, Err: ctx.Err()}
	if p.dialling.failures > 0 {
		err.Dial = p.dialling.lastErr
	}
	return err
}

// tellReadyLocked wakes the callers that wait for the pool to become ready, to look.
func (p *Of[T]) tellReadyLocked() {
	if p.ready != nil && (p.closed || p.readyLocked()) {
		close(p.ready)
		p.ready = nil
	}
}
