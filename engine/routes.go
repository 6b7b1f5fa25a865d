package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
)

// routes are the connections that take requests. They are replaced, never changed, when
// a connection comes up, ends, or becomes suspect, and when the judge of an address changes
// its mind.
type routes struct {
	conns   []*conn  // that take requests in turn,
	servers []*route // and the same by server
	trials  []*conn  // one request each: their address has to prove itself
	probed  bool     // it does so by probes, and gets no request meanwhile
}

// route is one server among the routes.
type route struct {
	addr  *address
	conns []*conn // at least one
	share int     // percent of its part that it takes
	at    int     // its index among the servers
}

// alike reports whether two have the same connections and shares.
func (rt *routes) alike(o *routes) bool {
	return slices.Equal(rt.conns, o.conns) && slices.Equal(rt.trials, o.trials) &&
		slices.EqualFunc(rt.servers, o.servers, func(a, b *route) bool { return a.share == b.share })
}

// reroute makes the routes anew.
func (b *Broker) reroute() {
	b.mu.Lock()
	was := b.routes.Load()
	now := b.findRoutes()
	if now.alike(was) {
		b.mu.Unlock()
		return
	}
	for _, c := range now.trials {
		if !slices.Contains(was.trials, c) { // its own trial begins, whatever came before
			c.standing.tried.Store(false)
			c.standing.news.Or(newsReply)
			c.link.addr.probeSoon()
		}
	}
	if len(now.conns) == 0 && len(was.conns) > 0 {
		b.downSince.Store(int64(b.uptime()))
	}
	b.routes.Store(now)
	b.balance(now)
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// rejudge follows a change of a judge's mind. Calls may overlap.
func (b *Broker) rejudge() {
	b.judged.Store(true)
	b.reroute()
	if b.silent {
		return
	}
	for _, a := range b.servers() {
		a.logState()
	}
}

// findRoutes goes over the connections. An address on trial takes its full share when no
// other is up, and so does one that is ejected when there is nobody else.
func (b *Broker) findRoutes() *routes {
	r := &routes{probed: b.cfg.Probe != nil}
	var ejected []*conn
	for _, a := range b.servers() {
		for _, l := range a.links {
			c := l.current.Load()
			if c == nil || c.phase.Load() != phaseUp || c.standing.suspect.Load() {
				continue
			}
			switch a.judge.State() {
			case health.Up, health.Rising:
				r.conns = append(r.conns, c)
			case health.Ejected:
				ejected = append(ejected, c)
			default:
				r.trials = append(r.trials, c)
			}
		}
	}
	if len(r.conns) == 0 {
		r.conns, r.trials = r.trials, nil
	}
	if len(r.conns) == 0 {
		r.conns = ejected
	}
	for _, c := range r.conns { // those of a server lie side by side
		if n := len(r.servers); n > 0 && r.servers[n-1].addr == c.link.addr {
			r.servers[n-1].conns = append(r.servers[n-1].conns, c)
			continue
		}
		r.servers = append(r.servers, &route{
			addr: c.link.addr, conns: []*conn{c}, share: c.link.addr.judge.Share(), at: len(r.servers),
		})
	}
	return r
}

// balance has the balancer choose among the servers of the routes, by their weights of
// now and the shares of these routes. Broker.mu is held.
func (b *Broker) balance(rt *routes) {
	members := make([]balance.Member[*route], len(rt.servers))
	for i, s := range rt.servers {
		members[i] = balance.Member[*route]{
			Name: s.addr.name, Server: s, Weight: int(s.addr.weight.Load()), Share: s.share, Load: s.addr.load,
		}
	}
	if err := b.choice.Replace(members); err != nil {
		panic("engine: a set of servers that AddServer has let in: " + err.Error())
	}
}

// try offers the request to the connections that are on trial, unless it has failed there.
func (rt *routes) try(r *request, relieve bool) bool {
	if rt.probed {
		return false
	}
	failed := r.failedAt()
	for _, c := range rt.trials {
		a := c.link.addr
		if c.standing.tried.Load() || a == failed || r.shuns(a) || !c.standing.tried.CompareAndSwap(false, true) {
			continue
		}
		if c.submit(r, relieve) == accepted {
			return true
		}
		c.standing.tried.Store(false)
	}
	return false
}

// wanting reports whether a connection on trial has not had its request.
func (rt *routes) wanting() bool {
	return !rt.probed && slices.ContainsFunc(rt.trials, func(c *conn) bool { return !c.standing.tried.Load() })
}

// some reports whether there is such a connection that takes requests.
func (rt *routes) some(such func(*conn) bool) bool {
	return slices.ContainsFunc(rt.conns, such) || !rt.probed && slices.ContainsFunc(rt.trials, such)
}

// hopes reports whether requests may wait although no connection is up: some dial is the
// first, or the last connection was lost less than ConnectWait ago.
func (b *Broker) hopes() bool {
	if b.untried.Load() > 0 {
		return true
	}
	since := b.downSince.Load()
	return since != 0 && b.uptime()-time.Duration(since) < b.cfg.ConnectWait
}

// isDown reports whether no connection is up and none is hoped for. The hope is looked at
// first: it ends after a connection can be seen.
func (b *Broker) isDown() bool { return !b.hopes() && len(b.routes.Load().conns) == 0 }

// failIfDown fails what waits if it waits in vain.
func (b *Broker) failIfDown() {
	if b.backlog.len() > 0 && b.isDown() {
		down := b.downError()
		n := b.backlog.failWhere(func(*pending) error {
			if b.isDown() {
				return down
			}
			return nil
		})
		b.ends.failed.Add(uint64(n))
	}
}

// uptime is the time since New, never 0.
func (b *Broker) uptime() time.Duration { return time.Since(b.born) + 1 }

// lastStretch returns when the last dial within ConnectWait should begin, spread over its
// second half, zero if nothing waits for a connection now.
func (b *Broker) lastStretch() time.Time {
	since, wait := time.Duration(b.downSince.Load()), b.cfg.ConnectWait
	if since == 0 || wait <= 0 || b.uptime()-since > wait {
		return time.Time{}
	}
	return b.born.Add(since + wait/2 + rand.N(wait*7/16+1))
}

// hurry has the addresses dialled soon, for a call that finds no connection.
func (b *Broker) hurry() {
	for _, a := range b.servers() {
		a.hurry()
	}
}

// WaitReady waits until at least one connection is up. It fails when ctx ends, with the
// last error of dialling, when the broker is closed, or from a callback.
func (b *Broker) WaitReady(ctx context.Context) error {
	b.awaited.Add(1)
	defer b.awaited.Add(-1)
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if err := b.stateError(); err != nil {
			return err
		}
		if len(b.routes.Load().conns) > 0 {
			return nil
		}
		if b.callbacks.isOne() {
			return &OpError{Op: "dial", Err: ErrInCallback}
		}
		b.hurry()
		select {
		case <-changed:
		case <-b.ctx.Done():
		case <-ctx.Done():
			return &OpError{Op: "dial", Err: joinErrors(contextError(ctx), b.downError())}
		}
	}
}
