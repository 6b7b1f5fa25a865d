package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/pool"
)

const (
	// connsPerLink is how many connections a link may have at once: the current one and
	// some that are being replaced or whose socket takes long to close.
	connsPerLink = 4
	// dialGrace bounds how long Close waits for a dial that ignores its context.
	dialGrace = 100 * time.Millisecond
)

// link keeps one connection to one address: it gets one from the address's pool, which
// dials and backs off, waits for its end, and gets the next. Addresses share nothing, so
// one that hangs or backs off does not hold up another.
type link struct {
	b      *Broker
	addr   string // as configured, for errors and logs
	pool   *pool.Pool
	poller *poller // of its connections; nil: they are not polled

	// current takes requests; nil while there is no connection.
	current atomic.Pointer[conn]
	// lastErr is that of the last dial that failed.
	lastErr atomic.Pointer[OpError]
	// owed counts the callbacks of ended requests that are still to return.
	owed atomic.Int32

	hopeful bool // counted in Broker.hopeful; the link's goroutine's

	connsLost atomic.Uint64
}

// newPool returns the pool of connections to one address. It only makes them: they are
// never idle, and their life ends with what the broker meets on them.
func newPool(cfg *Config, addr string) (*pool.Pool, error) {
	network, target, err := netaddr.Split(addr)
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
		MinInterval:        defaults.MaxTimeout, // there is nothing to manage
		MaxInterval:        defaults.MaxTimeout,
		CloseTimeout:       dialGrace,
	})
}

// run is the link's goroutine.
func (l *link) run() {
	defer l.b.wg.Done()
	role.Set("link")
	for {
		nc, err := l.pool.GetContext(l.b.ctx)
		if l.b.ctx.Err() != nil {
			if err == nil {
				l.b.wg.Go(func() { _ = l.pool.Release(nc) }) // it may take long
			}
			return
		}
		if err != nil {
			l.down(err)
			continue // the pool pauses before it dials again
		}
		l.keep(nc)
		if l.b.ctx.Err() != nil || !l.pause(l.b.relax.Delay(1)) {
			return
		}
	}
}

// keep has a connection take requests until it ends or is to be replaced.
func (l *link) keep(nc net.Conn) {
	c := newConn(l, nc)
	l.b.adopt(c)
	c.run()
	l.current.Store(c)
	l.setHope(true)
	l.b.backlog.moveOn()
	l.b.notify()
	l.b.log(slog.LevelInfo, "connected", slog.String("addr", l.addr))
	select {
	case <-c.dead:
	case <-c.retire:
	case <-l.b.ctx.Done():
		c.fail("close", ErrClosingBroker)
	}
	l.current.Store(nil) // the next requests wait for the next connection
	select {
	case <-c.dead:
		if l.b.ctx.Err() == nil {
			l.connsLost.Add(1)
			l.b.log(slog.LevelWarn, "connection lost",
				slog.String("addr", l.addr), slog.Any("cause", c.cause))
		}
		c.finish()
	default: // retired: its last requests may still be answered
		l.b.wg.Go(func() {
			<-c.dead
			c.finish()
		})
	}
}

// down notes that a dial failed. When no link has better hopes, the requests that wait
// fail.
func (l *link) down(err error) {
	var at *pool.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, pool.ErrDialTimeout) {
		err = fmt.Errorf("%w: no connection within %v", ErrTimeout, l.b.cfg.DialTimeout)
	}
	failed := &OpError{Op: "dial", Addr: l.addr, Err: err}
	l.lastErr.Store(failed)
	l.setHope(false)
	if l.b.hopeful.Load() == 0 {
		l.b.backlog.failAll(&OpError{Op: "dial", Addr: l.addr, Err: joinErrors(ErrNoPoolsAvailable, err)})
	}
	l.b.notify()
}

// setHope says whether requests may wait for the link: it has a connection, or its next
// dial is the first since it had one.
func (l *link) setHope(hopeful bool) {
	if hopeful == l.hopeful {
		return
	}
	l.hopeful = hopeful
	if hopeful {
		l.b.hopeful.Add(1)
	} else {
		l.b.hopeful.Add(-1)
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
