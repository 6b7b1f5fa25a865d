package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/pool"
)

const (
	// connsPerLink is how many connections a link may have at once: the current one
	// and some that are being replaced.
	connsPerLink = 4
	// dialGrace bounds how long Close waits for a dial that ignores its context.
	dialGrace = 100 * time.Millisecond
)

// link keeps one connection to one address: it gets one from the address's pool,
// which dials and backs off, waits for its end, and gets the next. Addresses share
// nothing, so one that hangs or backs off does not hold up another.
type link struct {
	b    *Broker
	addr string // as configured, for errors and logs
	pool *pool.Pool

	// current takes requests: up, being dialled, or nil after a dial that failed until
	// one succeeds.
	current atomic.Pointer[conn]
	// lastErr is that of the last dial that failed.
	lastErr atomic.Pointer[OpError]

	connsLost atomic.Uint64
}

func newLink(b *Broker, addr string, conns *pool.Pool) *link {
	l := &link{b: b, addr: addr, pool: conns}
	l.install() // so that requests can be made as soon as New returns
	return l
}

// newPool returns the pool of connections to one address. It only makes them: they
// are never idle, and their life ends with what the broker meets on them.
func newPool(cfg *Config, addr string) (*pool.Pool, error) {
	network, target, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	return pool.New(pool.Config{
		Network: network,
		Addr:    target,
		// Those that are being replaced go on for the sake of their last requests.
		MaxConns:    cfg.ConnsPerAddr * connsPerLink,
		MaxDials:    cfg.ConnsPerAddr,
		DialTimeout: cfg.DialTimeout,
		BackoffBase: cfg.BackoffBase,
		BackoffMax:  cfg.BackoffMax,
		KeepAlive:   cfg.KeepAlive,
		TLS:         cfg.TLS,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return cfg.DialContext(ctx, network, addr)
		},
		Validation:         pool.ValidateNone,
		ValidationInterval: -1,
		IdleTimeout:        -1,
		MaxLifetime:        -1,
		MinInterval:        MaxTimeout, // there is nothing to manage
		MaxInterval:        MaxTimeout,
		CloseTimeout:       dialGrace,
	})
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
	for c := l.current.Load(); ; {
		nc, err := l.pool.GetContext(l.b.ctx)
		if l.b.ctx.Err() != nil {
			if err == nil {
				_ = l.pool.Release(nc)
			}
			l.end(c)
			return
		}
		if err != nil {
			l.down(c, err)
			c = nil
			continue // the pool pauses before it dials again
		}
		if c == nil {
			c = l.install()
		}
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
			_ = l.pool.Release(nc)
			return
		}
		c = l.install() // first, so that a request refused by the old one finds the new one
		l.lay(old, nc)
		// Requests made during this pause wait in the new connection's queue.
		if !l.pause(l.b.relax.Delay(1)) {
			l.end(c)
			return
		}
	}
}

// end completes the last connection, if there is one, when the broker closes.
func (l *link) end(c *conn) {
	if c == nil {
		return
	}
	c.fail("close", ErrClosingBroker)
	l.abandon(c)
	c.finish()
	l.current.Store(nil)
}

// lay gives a connection that was lost or is being replaced its end, and its socket
// back to the pool.
func (l *link) lay(c *conn, nc net.Conn) {
	select {
	case <-c.dead:
		l.abandon(c)
		l.connsLost.Add(1)
		l.b.cfg.Logger.Warn("connection lost", slog.String("addr", l.addr), slog.Any("cause", c.cause))
		c.finish()
		_ = l.pool.Release(nc)
	default: // retired: its last requests may still be answered
		l.b.wg.Add(1)
		go func() {
			defer l.b.wg.Done()
			<-c.dead
			c.finish()
			_ = l.pool.Release(nc)
		}()
	}
}

// down fails the requests that waited for a dial that failed. c is nil if the dial
// before failed too: then there are none.
func (l *link) down(c *conn, err error) {
	var at *pool.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, pool.ErrDialTimeout) {
		err = fmt.Errorf("%w: no connection within %v", ErrTimeout, l.b.cfg.DialTimeout)
	}
	l.lastErr.Store(&OpError{Op: "dial", Addr: l.addr, Err: err})
	if c != nil {
		l.current.Store(nil)
		c.fail("dial", err)
		l.abandon(c)
		c.finish()
	}
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
