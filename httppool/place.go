package httppool

import (
	"context"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/list"
)

// grant is what a caller that wanted a connection has: an idle one that is lent to it, or a place
// for a dial, and then perhaps a connection to be closed before.
type grant struct {
	c     *conn
	place *server
	evict *conn
}

// hasRoomLocked reports whether the server has an idle connection, or a place that can be had.
func (p *HTTPConnectionPool) hasRoomLocked(s *server) bool {
	return s.idle.Len() > 0 ||
		*s.places < p.cfg.MaxConnectionsPerServer && (p.places < p.cfg.MaxTotalConnections || p.idle.Len() > 0)
}

// grantLocked gives what the server has. There is room.
func (p *HTTPConnectionPool) grantLocked(s *server) grant {
	s.load.Begin()
	p.lent++
	if c := s.idle.Back(); c != nil {
		p.unlistLocked(c)
		if limit := p.cfg.idleLimit(); limit == 0 || time.Since(c.since) <= limit {
			c.state = lent
			p.used.PushBack(&c.inAll, c)
			return grant{c: c}
		}
		return grant{place: s, evict: c} // its place goes over
	}
	*s.places++
	if p.places < p.cfg.MaxTotalConnections {
		p.places++
		return grant{place: s}
	}
	c := p.idle.Front() // of another server
	p.unlistLocked(c)
	return grant{place: s, evict: c}
}

// makeRoom closes what has to be closed before a dial in the granted place.
func (p *HTTPConnectionPool) makeRoom(g grant) {
	c := g.evict
	if c == nil {
		return
	}
	c.shut()
	if c.s != g.place {
		p.mu.Lock()
		p.leaveLocked(c.s)
		p.serveLocked(c.s)
		p.mu.Unlock()
	}
}

// giveBack returns what was granted to a waiter that had gone.
func (p *HTTPConnectionPool) giveBack(g grant) {
	p.makeRoom(g)
	if g.c != nil {
		p.release(g.c)
	} else {
		p.freePlace(g.place)
	}
}

// unlistLocked takes an idle connection out. It keeps its place until that is freed or goes
// over to another.
func (p *HTTPConnectionPool) unlistLocked(c *conn) {
	c.state = gone
	p.idle.Remove(&c.inAll)
	c.s.idle.Remove(&c.here)
}

// release takes back a connection: it goes to a waiter, becomes idle, or is closed.
func (p *HTTPConnectionPool) release(c *conn) {
	s := c.s
	p.mu.Lock()
	if c.sock.Load() == nil || c.redials > 0 || c.ending.Load() || p.closed || s.removed || s.judge.State() == health.Down ||
		p.cfg.DisableKeepAlives || p.cfg.MaxIdleConnections < 0 {
		p.mu.Unlock()
		p.scrap(c)
		return
	}
	p.used.Remove(&c.inAll)
	p.lent--
	s.load.End()
	c.state, c.since = idle, time.Now()
	p.idle.PushBack(&c.inAll, c)
	s.idle.PushBack(&c.here, c)
	p.serveLocked(s)
	var over []*conn
	if p.idle.Len() > p.cfg.MaxIdleConnections {
		over = append(over, p.spareLocked())
		p.unlistLocked(over[0])
	}
	p.hushLocked()
	p.mu.Unlock()
	p.discard(over)
}

// scrap closes a connection that is lent, and frees its place, or has the dial free it that
// its transport is about.
func (p *HTTPConnectionPool) scrap(c *conn) {
	p.mu.Lock()
	c.state = gone
	p.used.Remove(&c.inAll)
	dialling := c.redials > 0
	p.mu.Unlock()
	c.shut()
	if !dialling {
		p.freePlace(c.s)
	}
}

// vacate closes a connection that is lent and keeps its place, for a dial. It reports whether that
// was possible; else the place is given up.
func (p *HTTPConnectionPool) vacate(c *conn) bool {
	p.mu.Lock()
	if c.redials > 0 {
		p.mu.Unlock()
		p.scrap(c)
		return false
	}
	c.state = gone
	p.used.Remove(&c.inAll)
	p.mu.Unlock()
	c.shut()
	return true
}

// freePlace frees a place that is lent, without a connection in it.
func (p *HTTPConnectionPool) freePlace(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent--
	s.load.End()
	p.freeLocked(s)
	p.hushLocked()
}

func (p *HTTPConnectionPool) freeLocked(s *server) {
	p.leaveLocked(s)
	p.places--
	p.serveLocked(s)
	p.warmLocked()
}

// leaveLocked counts one place of the server's less.
func (p *HTTPConnectionPool) leaveLocked(s *server) {
	*s.places--
	if *s.places == 0 && p.leaving[s.name] == s.places {
		delete(p.leaving, s.name)
	}
}

// discard closes connections that were taken out, and frees their places.
func (p *HTTPConnectionPool) discard(all []*conn) {
	for _, c := range all {
		c.shut()
		p.mu.Lock()
		p.freeLocked(c.s)
		p.mu.Unlock()
	}
}

// socketClosed is told of each socket that was closed, by whomever.
func (p *HTTPConnectionPool) socketClosed(c *conn, sock *socket) {
	p.counts.destroyed.Add(1)
	c.sock.CompareAndSwap(sock, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.state == idle {
		p.unlistLocked(c)
		p.freeLocked(c.s)
	}
}

// wait is called with the lock held and gives it up. It waits for a connection or a place of
// the server's, or of any if s is nil.
func (p *HTTPConnectionPool) wait(ctx context.Context, s *server, lane list.Lane) (grant, error) {
	p.seq++
	w := &waiter{lane: lane, seq: p.seq, ready: make(chan struct{}, 1)}
	queue := &p.waiting
	if s != nil {
		queue = &s.waiting
	}
	queue.push(w)
	p.mu.Unlock()
	select {
	case <-w.ready:
		return w.grant, w.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if w.in != nil {
		w.in.remove(w)
		p.mu.Unlock()
		return grant{}, ended(ctx)
	}
	p.mu.Unlock()
	<-w.ready // the goroutine that took it out has served it already
	if w.err == nil {
		p.giveBack(w.grant)
	}
	return grant{}, ended(ctx)
}

// serveLocked gives waiters what has come free at a server, or because of it elsewhere.
func (p *HTTPConnectionPool) serveLocked(s *server) {
	p.serveByLocked(s)
	p.serveAllLocked()
}

// serveByLocked serves those that wait for the server or for any.
func (p *HTTPConnectionPool) serveByLocked(s *server) {
	for p.hasRoomLocked(s) {
		w := s.waiting.front()
		if s.judge.Share() > 0 && !s.removed {
			if other := p.waiting.front(); other.before(w) {
				w = other
			}
		}
		if w == nil {
			return
		}
		w.in.take(w)
		w.grant = p.grantLocked(s)
		w.ready <- struct{}{}
	}
}

// serveAllLocked serves the waiters for which there is room.
func (p *HTTPConnectionPool) serveAllLocked() {
	for p.waiting.len() > 0 {
		s, err := p.balancer.Pick(0, func(s *server) bool { return !p.hasRoomLocked(s) })
		if err != nil {
			break
		}
		w := p.waiting.front()
		p.waiting.take(w)
		w.grant = p.grantLocked(s)
		w.ready <- struct{}{}
	}
	if p.places < p.cfg.MaxTotalConnections || p.idle.Len() > 0 {
		for _, s := range p.servers {
			if s.waiting.len() > 0 {
				p.serveByLocked(s)
			}
		}
	}
}
