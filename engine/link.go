package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// link keeps one connection to one address: it dials, waits for the
// connection's end, and dials again. Links share nothing, so one that hangs or
// backs off does not hold up another.
type link struct {
	b       *Broker
	addr    string // as configured, for errors and logs
	network string
	target  string

	// current takes requests: up, being dialled, or nil while the link backs off.
	current atomic.Pointer[conn]
	// lastErr is why the link backs off.
	lastErr atomic.Pointer[OpError]

	dials, dialErrors, connsLost atomic.Uint64
}

func newLink(b *Broker, addr string) *link {
	l := &link{b: b, addr: addr}
	l.network, l.target, _ = splitAddr(addr) // validated by New
	l.install()                              // so that requests can be made as soon as New returns
	return l
}

// install makes a new connection the link's current one.
func (l *link) install() *conn {
	c := newConn(l)
	l.b.adopt(c)
	l.current.Store(c)
	return c
}

// run is the link's goroutine.
func (l *link) run() {
	defer l.b.wg.Done()
	setRole("link")
	c, failures := l.current.Load(), 0
	for {
		nc, err := l.dial(c)
		if err != nil {
			failures++
			l.down(c, err)
			if !l.pause(jitter(l.b.cfg.BackoffBase, l.b.cfg.BackoffMax, failures)) {
				return
			}
			c = l.install()
			continue
		}
		failures = 0
		if c.start(nc) {
			l.b.notify()
			l.b.cfg.Logger.Info("connected", slog.String("addr", l.addr))
		}
		old := c
		select {
		case <-c.dead:
		case <-c.retire:
		case <-l.b.ctx.Done():
		}
		if l.b.ctx.Err() != nil {
			l.end(old)
			return
		}
		c = l.install() // first, so that a request refused by the old one finds the new one
		l.lay(old)
		// Requests made during this pause wait in the new connection's queue.
		if !l.pause(jitter(l.b.cfg.BackoffBase, l.b.cfg.BackoffMax, 0)) {
			l.end(c)
			return
		}
	}
}

// end completes the last connection when the broker closes.
func (l *link) end(c *conn) {
	c.fail("close", ErrClosingBroker)
	l.abandon(c)
	c.finish()
	l.current.Store(nil)
}

// lay gives a connection that was lost or is being replaced its end.
func (l *link) lay(c *conn) {
	select {
	case <-c.dead:
		l.abandon(c)
		l.connsLost.Add(1)
		l.b.cfg.Logger.Warn("connection lost", slog.String("addr", l.addr), slog.Any("cause", c.cause))
		c.finish()
	default: // retired: its last requests may still be answered
		l.b.wg.Add(1)
		go func() {
			defer l.b.wg.Done()
			<-c.dead
			c.finish()
		}()
	}
}

// down fails the requests that waited for a dial that failed.
func (l *link) down(c *conn, err error) {
	op := &OpError{Op: "dial", Addr: l.addr, Err: err}
	l.lastErr.Store(op)
	l.current.Store(nil)
	c.fail("dial", err)
	l.abandon(c)
	c.finish()
	l.b.notify()
}

// abandon empties the queue of a connection that never got a flusher: the link
// still holds its token.
func (l *link) abandon(c *conn) {
	if c.net == nil {
		c.gone = true
		c.handOver()
	}
}

// pause waits, and reports false when the broker closes first.
func (l *link) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.b.ctx.Done():
		return false
	}
}

// jitter returns a uniform pause in (0, min(most, base·2ⁿ)]: full jitter spreads
// clients that lost the same server (AWS Architecture Blog, 2015).
func jitter(base, most time.Duration, n int) time.Duration {
	span := most
	if n < 30 && base<<n > 0 && base<<n < most {
		span = base << n
	}
	return 1 + rand.N(span)
}

// dial connects c's socket. It returns when the broker closes even if the dial
// function does not; a connection that comes later is closed.
func (l *link) dial(c *conn) (net.Conn, error) {
	l.dials.Add(1)
	ctx, cancel := withTimeout(l.b.ctx, l.b.cfg.DialTimeout)
	defer cancel()
	type result struct {
		nc  net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() { // not in b.wg: a dial function that ignores its context cannot be ended
		nc, err := l.connect(ctx)
		done <- result{nc, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				late.nc.Close()
			}
		}()
		r.err = ctx.Err()
	}
	if r.err == nil {
		return r.nc, nil
	}
	l.dialErrors.Add(1)
	switch {
	case l.b.ctx.Err() != nil:
		return nil, ErrClosingBroker
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: no connection within %v", ErrTimeout, l.b.cfg.DialTimeout)
	}
	return nil, r.err
}

// connect dials and, if asked for, does the TLS handshake.
func (l *link) connect(ctx context.Context) (net.Conn, error) {
	nc, err := l.b.cfg.DialContext(ctx, l.network, l.target)
	if err != nil || l.b.cfg.TLS == nil {
		return nc, err
	}
	host, _, err := net.SplitHostPort(l.target)
	if err != nil {
		host = l.target
	}
	tc := tls.Client(nc, l.b.tlsConfig(host))
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}
