package paired

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Stats is what a pool has done since it was made, and how it stands. The counts
// are taken one after the other while the pool works, so they may differ by what
// happened meanwhile; those that describe connections are taken together.
type Stats struct {
	// Connections. Opened - Active is how many have been closed, or are being.
	Active, Idle, InUse int
	// Bringing is how many places are given to dials, or to handshakes that wait
	// only for the ID to be sent.
	Bringing int
	// Waiting is how many ServerGet calls wait.
	Waiting  int
	Capacity int
	Interval time.Duration

	Opened uint64 // connections that became ready for the first time
	Gets   uint64 // connections handed out
	Puts   uint64 // connections put back

	// Failures to get a connection. They count in ErrorCount too.
	DialErrors      uint64 // Dial failed (client)
	HandshakeErrors uint64 // no TLS handshake, or no ID, in time
	Collisions      uint64 // of the handshake errors: the ID was in use
	IPRejects       uint64 // ClientIP excludes the peer (server)
	Rejected        uint64 // the pool was full, or MaxHandshakes reached (server)
	AcceptErrors    uint64 // the listener failed (server)

	// Why connections left the pool without an owner's Close.
	Died     uint64 // found dead while ready
	Evicted  uint64 // ready for longer than IdleTimeout
	Poisoned uint64 // put back with unread bytes
	Broken   uint64 // put back broken
	Full     uint64 // put back above capacity
	Cleaned  uint64 // by Clean, Flush and Close

	// GetErrors is how many ClientGet and ServerGet calls failed.
	GetErrors uint64
}

// failure is a reason why the pool got no connection.
type failure int

const (
	failedDial failure = iota
	failedHandshake
	failedAddress
	failedFull
	failedAccept
	failureKinds
)

// counters are the counts of Stats.
type counters struct {
	opened, gets, puts, getErrors                  atomic.Uint64
	died, evicted, poisoned, broken, full, cleaned atomic.Uint64
	collisions                                     atomic.Uint64
	failures                                       [failureKinds]atomic.Uint64
}

// Stats returns the pool's counts.
func (p *Pool) Stats() Stats {
	c := &p.count
	s := Stats{
		Opened: c.opened.Load(), Gets: c.gets.Load(), Puts: c.puts.Load(), GetErrors: c.getErrors.Load(),
		DialErrors:      c.failures[failedDial].Load(),
		HandshakeErrors: c.failures[failedHandshake].Load(),
		Collisions:      c.collisions.Load(),
		IPRejects:       c.failures[failedAddress].Load(),
		Rejected:        c.failures[failedFull].Load(),
		AcceptErrors:    c.failures[failedAccept].Load(),
		Died:            c.died.Load(), Evicted: c.evicted.Load(), Poisoned: c.poisoned.Load(),
		Broken: c.broken.Load(), Full: c.full.Load(), Cleaned: c.cleaned.Load(),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Active, s.Idle = len(p.shelf.open), p.shelf.idle.Len()
	s.Bringing, s.Waiting = p.bringing, p.shelf.anyone.Len()
	s.InUse = s.Active - s.Idle
	s.Capacity, s.Interval = p.capacity, p.interval
	return s
}

// Active returns how many connections the pool has, those that are taken included.
func (p *Pool) Active() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.shelf.open)
}

// Idle returns how many connections are ready to be taken.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shelf.idle.Len()
}

// InUse returns how many connections are taken: handed out, and neither put back
// nor closed.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.shelf.open) - p.shelf.idle.Len()
}

// Capacity returns how many connections the pool may have now. A server's is
// always MaxCapacity.
func (p *Pool) Capacity() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.capacity
}

// Interval returns the pause between two turns of the manager without demand. A
// server's is always ServerConfig.Interval.
func (p *Pool) Interval() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.interval
}

// Ready reports whether the pool is open and has at least MinCapacity connections,
// those that are taken included.
func (p *Pool) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readyLocked()
}

func (p *Pool) readyLocked() bool { return !p.closed && len(p.shelf.open) >= p.minCapacity }

// WaitReady waits until the pool is Ready. The error is a *GetError, as
// ServerGet's.
func (p *Pool) WaitReady(ctx context.Context) error {
	for { // a connection may go between the signal and the look
		p.mu.Lock()
		if p.readyLocked() {
			p.mu.Unlock()
			return nil
		}
		if p.closed {
			p.mu.Unlock()
			return &GetError{Err: ErrClosed}
		}
		if p.isReady == nil {
			p.isReady = make(chan struct{})
		}
		isReady := p.isReady
		p.mu.Unlock()
		select {
		case <-isReady:
		case <-ctx.Done():
			return p.getError("", ctx.Err())
		case <-p.ctx.Done():
		}
	}
}

// AddError counts an error that the pool cannot see, in the use of a connection for
// example. What fails in the pool itself it counts on its own.
func (p *Pool) AddError() { p.errors.Add(1) }

// ErrorCount returns how many errors there were since the last ResetError: those of
// AddError, and the failures in Stats to get a connection.
func (p *Pool) ErrorCount() uint64 { return p.errors.Load() }

// ResetError sets ErrorCount to zero. Stats keeps its counts.
func (p *Pool) ResetError() { p.errors.Store(0) }

// failed records why the pool got no connection. What its own end makes fail is no
// failure.
func (p *Pool) failed(why failure, err error, peer string) {
	if errors.Is(err, ErrClosed) || p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	p.last = err
	p.mu.Unlock()
	p.count.failures[why].Add(1)
	p.errors.Add(1)
	p.warn(why, err, peer)
}
