package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/adapt"
	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/liveness"
	"github.com/ringwire/ringwire/internal/role"
)

// parallelMax bounds the dials under way.
const parallelMax = 16

// client is what a pool that dials has besides. The pool's mutex guards the second
// part.
type client struct {
	addr        string
	dial        func(ctx context.Context, addr string) (net.Conn, error)
	dialTimeout time.Duration
	pauses      backoff.Policy

	minInterval, maxInterval time.Duration

	dialAt    time.Time // when the next round of dials is due
	lastRound time.Time
	round     uint64 // counts the rounds
	quota     int    // dials that this round may still begin
	failures  int    // rounds in a row that failed
	failedIn  uint64 // the last round that counts as failed
	dials     rate   // of this turn
	lastDials rate   // of the last turn in which there were any
}

// rate is how many of a number of attempts succeeded.
type rate struct{ successes, attempts uint64 }

// NewClientPool makes a pool that dials a server pool and keeps connections to it
// ready. It works at once and until Close, and returns before the first connection
// is there; see WaitReady. A server that cannot be reached is no error here: the
// pool goes on trying, and Stats and the errors of ClientGet and ServerGet tell.
func NewClientPool(config ClientConfig) (*Pool, error) {
	c := config.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("paired: %w", err)
	}
	conf, err := clientTLS(&c)
	if err != nil {
		return nil, fmt.Errorf("paired: %w", err)
	}
	p := newPool(c.MinCapacity, c.MaxCapacity, c.MinInterval, c.Logger)
	p.idleTimeout, p.keepAlive, p.handshakeTimeout, p.tls = c.IdleTimeout, c.KeepAlive, c.HandshakeTimeout, conf
	p.capacity = c.MinCapacity
	p.client = &client{
		addr: c.Addr, dial: c.Dial, dialTimeout: c.DialTimeout,
		pauses:      backoff.Policy{Min: c.MinInterval, Max: c.BackoffMax},
		minInterval: c.MinInterval, maxInterval: c.MaxInterval,
	}
	p.wg.Go(p.manage)
	return p, nil
}

// dialTurn begins the dials that are due and returns when the next are.
func (p *Pool) dialTurn(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.client
	due := c.dialAt
	if soonest := c.lastRound.Add(c.minInterval); c.failures == 0 && p.shortLocked() && soonest.Before(due) {
		due = soonest
	}
	if now.Before(due) || p.closed {
		return due
	}
	p.adjustLocked()
	c.lastRound, c.dialAt = now, now.Add(p.interval)
	c.round++
	c.quota = p.capacity - len(p.shelf.open) - p.bringing
	if c.failures > 0 {
		c.quota = min(c.quota, 1-p.bringing) // one tries whether the server is back
	}
	for c.quota > 0 && p.bringing < parallelMax {
		c.quota--
		p.bringing++
		round := c.round
		p.wg.Go(func() { p.dialer(round) })
	}
	if c.failures == 0 && p.shortLocked() {
		return c.lastRound.Add(c.minInterval)
	}
	return c.dialAt
}

// adjustLocked sets capacity and interval for the next turn.
func (p *Pool) adjustLocked() {
	c := p.client
	fresh := c.dials.attempts > 0
	if fresh {
		c.lastDials, c.dials = c.dials, rate{}
	}
	p.capacity = nextCapacity(load{
		capacity: p.capacity, min: p.minCapacity, max: p.maxCapacity,
		wanted: len(p.shelf.open) - p.shelf.idle.Len() + p.shelf.anyone.Len(),
		dials:  c.lastDials, fresh: fresh,
	})
	p.interval = adapt.Interval(p.interval, c.minInterval, c.maxInterval,
		p.shelf.idle.Len(), p.capacity)
}

// load is what the capacity of the next turn depends on.
type load struct {
	capacity, min, max int
	wanted             int  // connections that are taken, and callers who wait for one
	dials              rate // of the last turn that had any
	fresh              bool // that was this turn
}

// nextCapacity shrinks by one when dials of this turn failed, and grows, when dials
// succeed, only for demand: by one when more than four fifths are wanted, or to
// what is wanted if that is more.
func nextCapacity(l load) int {
	next := adapt.Capacity(l.capacity, l.min, l.max, l.dials.successes, l.dials.attempts)
	switch {
	case next < l.capacity && !l.fresh, next > l.capacity && 5*l.wanted <= 4*l.capacity:
		return l.capacity
	case next > l.capacity:
		return min(max(next, l.wanted), l.max)
	}
	return next
}

// dialer fills one place after the other while its round has any left and nothing
// fails.
func (p *Pool) dialer(round uint64) {
	role.Set("paired dialer")
	for {
		id, nc, why, err := p.connect()
		if !p.dialed(round, id, nc, why, err) {
			return
		}
	}
}

// dialed brings the outcome of a dial into the pool, and reports whether the same
// goroutine is to dial once more.
func (p *Pool) dialed(round uint64, id connID, nc net.Conn, why failure, err error) (more bool) {
	c := p.client
	var e *entry
	p.mu.Lock()
	if err != nil {
		p.bringing--
	} else if e, err = p.joinLocked(id, nc, time.Now()); err != nil {
		why = failedHandshake
		defer nc.Close()
	}
	c.dials.attempts++
	if err == nil {
		c.dials.successes++
		c.failures = 0
		if more = c.quota > 0 && !p.closed; more {
			c.quota--
			p.bringing++
		}
	} else {
		c.quota = 0
		if c.failedIn != round { // dials that fail together are one failure
			c.failedIn = round
			c.failures++
			c.dialAt = time.Now().Add(c.pauses.Delay(c.failures))
		}
	}
	p.mu.Unlock()
	p.nudge()
	if err != nil {
		p.failed(why, err, c.addr)
		return false
	}
	p.event("connected", e)
	return more
}

// connect dials, does the TLS handshake and reads the ID.
func (p *Pool) connect() (id connID, nc net.Conn, why failure, err error) {
	c := p.client
	ctx, cancel := context.WithTimeout(p.ctx, c.dialTimeout)
	nc, err = c.dial(ctx, c.addr)
	cancel()
	if err == nil && nc == nil {
		err = errors.New("ClientConfig.Dial returned neither a connection nor an error")
	}
	if err != nil {
		return id, nil, failedDial, fmt.Errorf("dial %s: %w", c.addr, err)
	}
	raw := nc
	ctx, cancel = context.WithTimeout(p.ctx, p.handshakeTimeout)
	defer cancel()
	// Closing is what ends a handshake, or a read, that waits for the peer.
	unwatch := context.AfterFunc(ctx, func() { raw.Close() })
	err = liveness.KeepAlive(raw, p.keepAlive)
	if err == nil && p.tls != nil {
		nc, err = secure(ctx, tls.Client(raw, p.tls))
	}
	if err == nil {
		id, err = readID(nc)
	}
	if !unwatch() {
		err = fmt.Errorf("no ID came within %v: %w", p.handshakeTimeout, ctx.Err())
	}
	if err != nil {
		raw.Close()
		return id, nil, failedHandshake, fmt.Errorf("handshake with %s: %w", c.addr, err)
	}
	return id, nc, 0, nil
}

func readID(nc net.Conn) (id connID, err error) {
	_, err = io.ReadFull(nc, id[:])
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the server closed without sending an ID; it is full, does not allow this address, or is no server pool: %w", err)
	}
	return id, err
}
