package pool

import "time"

// Reason says why a connection was closed.
type Reason uint8

const (
	// Released: its owner called Release.
	Released Reason = iota
	// IdleTooLong: it lay idle for IdleTimeout.
	IdleTooLong
	// TooOld: it reached its share of MaxLifetime.
	TooOld
	// PeerClosed: a peek found that the peer, or its owner, had closed it, or that
	// it was reset or broken.
	PeerClosed
	// Unsolicited: a peek found bytes nobody had asked for.
	Unsolicited
	// PingFailed: a Ping or Validate failed or took too long.
	PingFailed
	// Preempted: somebody needed its place while it was being pinged.
	Preempted
	// Flushed: by Clean or Flush.
	Flushed
	// ClosedByPool: the pool was closed.
	ClosedByPool
	// Reasons is their number.
	Reasons
)

var reasonNames = [Reasons]string{
	"released", "idle too long", "too old", "peer closed", "unsolicited bytes",
	"ping failed", "preempted", "flushed", "pool closed",
}

func (r Reason) String() string {
	if r < Reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Stats is a snapshot, consistent in itself: Opened is Idle + InUse + all of
// ClosedBy.
type Stats struct {
	// Now:
	Idle, InUse int // open connections
	Validating  int // of Idle, those that a Ping or Validate is at
	Opening     int // dials under way
	Closing     int // closings under way
	Waiting     int // Gets that wait
	Capacity    int
	Interval    time.Duration

	// Since the pool was made:
	Gets       uint64 // that got a connection
	Waits      uint64 // that found none idle
	Cancelled  uint64 // that gave up waiting
	Dials      uint64
	DialErrors uint64
	Opened     uint64
	ClosedBy   [Reasons]uint64

	// LastDialError is that of the last dial that failed, or nil.
	LastDialError error
}

// Closed is the number of connections that were closed.
func (s Stats) Closed() (n uint64) {
	for _, c := range s.ClosedBy {
		n += c
	}
	return n
}

// Stats returns a snapshot.
func (p *Of[T]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Gets = p.gets
	s.Idle, s.InUse, s.Validating = p.idle.Len(), p.lent, len(p.pinging)
	s.Opening, s.Closing = len(p.opening)+p.overdue, p.leaving
	s.Waiting = p.waiters.Len()
	s.Capacity, s.Interval = p.capacity, p.interval
	s.LastDialError = p.dialling.lastErr
	return s
}

// Len is the number of open connections: idle and lent out.
func (p *Of[T]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle.Len() + p.lent
}

// Active is Len.
func (p *Of[T]) Active() int { return p.Len() }

// Idle is the number of connections that are not lent out.
func (p *Of[T]) Idle() int { return p.Stats().Idle }

// InUse is the number of connections that are lent out.
func (p *Of[T]) InUse() int { return p.Stats().InUse }

// Cap is the largest capacity: MaxConns.
func (p *Of[T]) Cap() int { return p.cfg.MaxConns }

// Capacity is how many connections there may be at present.
func (p *Of[T]) Capacity() int { return p.Stats().Capacity }

// Interval is the pause between turns of the manager at present.
func (p *Of[T]) Interval() time.Duration { return p.Stats().Interval }

// AddError counts an error that the pool cannot see, such as one of the user's
// protocol.
func (p *Of[T]) AddError() { p.errorCount.Add(1) }

// ErrorCount is the number of errors since the last ResetError: failed dials,
// failed examinations, and calls of AddError. Stats has the pool's own by cause.
func (p *Of[T]) ErrorCount() uint64 { return p.errorCount.Load() }

// ResetError sets ErrorCount to 0. Stats are not changed.
func (p *Of[T]) ResetError() { p.errorCount.Store(0) }
