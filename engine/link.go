package engine

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/pool"
)

const (
	// connsPerLink is how many connections a link may have at once: the current one, its
	// successor, and older ones that go on for the sake of their last requests, or whose
	// socket takes long to close.
	connsPerLink = 8
	// dialGrace bounds how long Close waits for a dial that ignores its context.
	dialGrace = 100 * time.Millisecond
	// lifetimeJitter is by which share, as a divisor, a connection may end before its
	// MaxLifetime, so that those that began together do not end together.
	lifetimeJitter = 10
	// idleLooks is how often in IdleTimeout it is looked whether a connection was used: so
	// precisely is it known since when it is idle.
	idleLooks = 8
)

// link keeps one connection to one address up. It asks the address when it may dial, has
// the pool dial, and puts the successor in the place of a connection that has ended or
// shall be replaced. A connection that shall be replaced stays until its successor is up,
// and then until its last request has its outcome.
//
// The fields without a comment on their users belong to the link's goroutine.
type link struct {
	b      *Broker
	addr   *address
	poller *poller // of its connections; nil: they are not polled

	current atomic.Pointer[conn] // stored by the link's goroutine
	owed    atomic.Int32         // callbacks of ended requests that are still to return
	poked   chan struct{}        // wakes the link's goroutine; capacity 1

	dials   chan dialled // capacity 1
	dialing bool
	resting bool    // IdleTimeout has passed; it dials when a call waits
	old     []*conn // replaced, and not known to have ended
	active  int64   // requests written when the link last looked whether the current one is idle
	idleAt  time.Time
}

// dialled is the outcome of a dial.
type dialled struct {
	nc    net.Conn
	err   error
	began time.Time
}

// newPool returns the pool of connections to one address. It only makes them: they are
// never idle, their life ends with what the broker meets on them, and when to dial is the
// address's to say.
func newPool(cfg *Config, addr string) (*pool.Pool, error) {
	network, target, err := netaddr.Split(addr)
	if err != nil {
		return nil, err
	}
	var hellos func(context.Context, net.Conn) error
	if cfg.Extensions {
		format := cfg.Framing
		hellos = func(ctx context.Context, nc net.Conn) error { return greet(ctx, nc, format, addr) }
	}
	return pool.New(pool.Config{
		Network:            network,
		Addr:               target,
		MaxConns:           cfg.ConnsPerAddr * connsPerLink,
		MaxDials:           cfg.ConnsPerAddr,
		DialTimeout:        cfg.DialTimeout,
		BackoffBase:        -1,
		KeepAlive:          cfg.KeepAlive,
		TLS:                tlsConfig(cfg),
		Greet:              hellos,
		Dial:               dialer(cfg, network),
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c := l.current.Load()
		again := l.look(c, time.Now())
		c = l.current.Load() // look may have let it go
		timer.Stop()
		if !again.IsZero() {
			timer.Reset(time.Until(again))
		}
		var dead chan struct{}
		if c != nil {
			dead = c.dead
		}
		select {
		case <-l.poked:
		case <-timer.C:
		case <-dead:
			l.lose(c)
		case d := <-l.dials:
			l.dialing = false
			l.take(d)
		case <-l.addr.removed:
			l.drain(c)
			return
		case <-l.b.ctx.Done():
			l.quit(c)
			return
		}
	}
}

// look does what is due: it begins a dial, has an old connection replaced, lets an idle
// one go. It returns when to look again, zero for when something happens.
func (l *link) look(c *conn, now time.Time) (again time.Time) {
	if c != nil && c.phase.Load() == phaseRetiring {
		l.partFrom(c)
		c = nil
	}
	if c != nil && !c.made.until.IsZero() && !now.Before(c.made.until) {
		c.standing.aged.Store(true)
	}
	if c != nil && !c.standing.suspect.Load() && !c.standing.aged.Load() {
		return earlier(c.made.until, l.watchIdle(c, now))
	}
	if c == nil && l.resting {
		if l.b.backlog.len() == 0 && l.b.awaited.Load() == 0 {
			return time.Time{}
		}
		l.resting = false
	}
	if l.dialing || l.b.ctx.Err() != nil {
		return time.Time{}
	}
	again, ok := l.addr.admit(now)
	if !ok {
		waited := l.b.backlog.len() > 0 || l.b.awaited.Load() > 0
		if waited && !again.IsZero() && !l.addr.hurried.Load() {
			l.addr.hurry()
		}
		return again
	}
	l.dialing = true
	l.b.wg.Go(func() {
		role.Set("dial")
		nc, err := l.addr.pool.GetContext(l.b.ctx)
		if l.b.ctx.Err() == nil {
			l.addr.dialled(now, err)
		}
		l.dials <- dialled{nc, err, now}
	})
	return time.Time{}
}

// earlier returns the earlier of two times that may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// watchIdle lets a connection go that was not used for IdleTimeout, and returns when to
// look again.
func (l *link) watchIdle(c *conn, now time.Time) time.Time {
	limit := l.b.cfg.IdleTimeout
	if limit <= 0 {
		return time.Time{}
	}
	if sent := c.out.requests(); sent != l.active || c.open() > 0 || c.out.ready() {
		l.active, l.idleAt = sent, now
	}
	if now.Sub(l.idleAt) < limit {
		return earlier(l.idleAt.Add(limit), now.Add(limit/idleLooks+1))
	}
	l.resting = true
	l.addr.rest()
	l.use(nil)
	l.b.reroute()
	l.let(c)
	l.wakeUp() // a call may have come meanwhile
	return time.Time{}
}

// take puts a connection that was dialled into its place.
func (l *link) take(d dialled) {
	if d.err != nil {
		l.addr.tested()
		l.addr.log(slog.LevelWarn, "cannot connect", slog.Any("cause", d.err))
		l.b.failIfDown()
		return
	}
	c := newConn(l, d)
	l.b.adopt(c)
	c.run()
	before := l.use(c)
	l.active, l.idleAt = 0, time.Now()
	l.b.reroute()
	l.addr.tested()
	l.b.backlog.moveOn()
	l.addr.log(slog.LevelInfo, "connected")
	l.b.tell(l.b.cfg.OnConnect, l.addr.name, nil)
	if before != nil {
		l.let(before)
	}
}

// use makes a connection the current one, nil for none, and returns the one before.
func (l *link) use(c *conn) (before *conn) {
	before = l.current.Swap(c)
	switch {
	case before == nil && c != nil:
		l.addr.judge.AddConnections(1)
	case before != nil && c == nil:
		l.addr.judge.AddConnections(-1)
	}
	return before
}

// let lets a connection go on without new requests, until its last one has its outcome.
func (l *link) let(c *conn) {
	l.old = slices.DeleteFunc(l.old, func(o *conn) bool { return o.phase.Load() >= phaseEnded })
	if len(l.old) >= connsPerLink-2 {
		l.old[0].fail("close", lost(errReplaced))
		l.old = l.old[1:]
	}
	l.old = append(l.old, c)
	c.phase.reach(phaseRetiring)
	c.table.Seal() // a submitter that has seen it in the routes finds another one
	l.b.clock.rouse()
	l.b.wg.Go(func() {
		<-c.dead
		l.gone(c)
	})
}

// lose is called when the current connection has ended.
func (l *link) lose(c *conn) {
	l.use(nil)
	l.addr.report(eventLost, c.made.dialled, time.Since(c.made.at), c.cause)
	if c.standing.news.Load()&newsFrame != 0 { // it never answered
		l.addr.lastErr.Store(&OpError{Op: "dial", Addr: l.addr.name,
			Err: joinErrors(ErrDial, joinErrors(errNoAnswer, c.cause))})
	}
	l.b.reroute()
	l.gone(c)
}

// gone completes or moves on what an ended connection has left open.
func (l *link) gone(c *conn) {
	if l.b.ctx.Err() == nil && c.op != "close" {
		l.addr.connsLost.Add(1)
		l.addr.log(slog.LevelWarn, "connection lost", slog.Any("cause", c.cause))
	}
	c.finish()
	l.b.tell(l.b.cfg.OnDisconnect, l.addr.name, c.cause)
}

// quit ends the link with the broker.
func (l *link) quit(c *conn) {
	if c != nil {
		c.fail("close", ErrClosingBroker)
		l.use(nil)
		l.b.reroute()
		<-c.dead
		l.gone(c)
	}
	l.abandonDial()
}

// abandonDial leaves a dial that is under way to itself.
func (l *link) abandonDial() {
	if !l.dialing {
		return
	}
	l.b.wg.Go(func() { // closing it may take long
		if d := <-l.dials; d.err == nil {
			_ = l.addr.pool.Release(d.nc)
		}
	})
}

// wakeUp has the link look at what is to be done. Anybody may call it.
func (l *link) wakeUp() {
	select {
	case l.poked <- struct{}{}:
	default: // it is about to look
	}
}

// lifetime returns when a connection that begins now is to be replaced, zero for never.
func lifetime(cfg *Config, now time.Time) time.Time {
	d := cfg.MaxLifetime
	if d <= 0 {
		return time.Time{}
	}
	return now.Add(d - rand.N(d/lifetimeJitter+1))
}
