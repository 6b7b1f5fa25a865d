package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// routes are the connections that take requests. They are replaced, never changed, when
// a connection comes up, ends, or becomes suspect, and when an address fails or proves
// itself.
type routes struct {
	conns  []*conn // in turn
	trials []*conn // one request each: their address has to prove itself
}

// reroute makes the routes anew.
func (b *Broker) reroute() {
	b.mu.Lock()
	was := b.routes.Load()
	now := b.findRoutes()
	if slices.Equal(was.conns, now.conns) && slices.Equal(was.trials, now.trials) {
		b.mu.Unlock()
		return
	}
	if len(now.conns) == 0 && len(was.conns) > 0 {
		b.downSince.Store(int64(b.uptime()))
	}
	b.routes.Store(now)
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// findRoutes goes over the connections. An address on trial takes its full share when no
// other is up.
func (b *Broker) findRoutes() *routes {
	r := new(routes)
	for _, a := range b.addrs {
		for _, l := range a.links {
			c := l.current.Load()
			if c == nil || c.phase.Load() != phaseUp || c.standing.suspect.Load() {
				continue
			}
			if a.proven.Load() {
				r.conns = append(r.conns, c)
			} else {
				r.trials = append(r.trials, c)
			}
		}
	}
	if len(r.conns) == 0 {
		r.conns, r.trials = r.trials, nil
	}
	return r
}

// try offers the request to the connections that are on trial.
func (rt *routes) try(r *request, relieve bool) bool {
	for _, c := range rt.trials {
		if c.standing.tried.Load() || r.shuns(c) || !c.standing.tried.CompareAndSwap(false, true) {
			continue
		}
		if c.submit(r, relieve) == accepted {
			return true
		}
		c.standing.tried.Store(false)
	}
	return false
}

// offer offers the request to the connections that are up, in turn. relieve allows to
// write where the outbox is full; whoever offers under a lock must not.
func (b *Broker) offer(r *request, relieve bool) bool {
	rt := b.routes.Load()
	if len(rt.trials) > 0 && rt.try(r, relieve) {
		return true
	}
	n := uint64(len(rt.conns))
	if n == 1 {
		return rt.conns[0].submit(r, relieve) == accepted
	}
	if n == 0 {
		return false
	}
	turn := b.turn.Add(1)
	for i := range n {
		if c := rt.conns[(turn+i)%n]; c != r.avoid && !r.shuns(c) && c.submit(r, relieve) == accepted {
			return true
		}
	}
	for _, c := range rt.conns { // rather where it was refused than nowhere
		if c != r.avoid && r.shuns(c) && c.submit(r, relieve) == accepted {
			return true
		}
	}
	return r.avoid != nil && slices.Contains(rt.conns, r.avoid) &&
		r.avoid.submit(r, relieve) == accepted
}

// wanting reports whether a connection on trial has not had its request.
func (rt *routes) wanting() bool {
	return slices.ContainsFunc(rt.trials, func(c *conn) bool { return !c.standing.tried.Load() })
}

// next returns the next connection in turn, or nil, also when a trial comes first. share
// is its part of n requests.
func (b *Broker) next(n int) (c *conn, share int) {
	rt := b.routes.Load()
	switch {
	case len(rt.conns) == 0 || rt.wanting():
		return nil, 0
	case len(rt.conns) == 1:
		return rt.conns[0], n
	}
	count := len(rt.conns)
	return rt.conns[b.turn.Add(1)%uint64(count)], (n + count - 1) / count
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
	for _, a := range b.addrs {
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
			if down := b.downError(); down != nil {
				return &OpError{Op: "dial", Err: joinErrors(contextError(ctx), down)}
			}
			return &OpError{Op: "dial", Err: contextError(ctx)}
		}
	}
}
