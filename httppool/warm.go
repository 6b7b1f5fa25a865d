package httppool

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/backoff"
)

// warmPause is before a server is dialled again that could not be reached, or that closes what was
// dialled at once.
var warmPause = backoff.Policy{Min: 100 * time.Millisecond, Max: 5 * time.Second}

// warmCalm is how long after the last dial one is no longer part of the same burst.
const warmCalm = time.Second

// warmth is what there is about a server's WarmConnections. It is guarded by the pool's lock.
type warmth struct {
	dialling bool // or pausing before it
	failures int  // in a row
	burst    int  // dials in quick succession that succeeded
	last     time.Time
}

// coldLocked reports whether the server is to get another connection before one is needed.
func (p *HTTPConnectionPool) coldLocked(s *server) bool {
	return *s.places < p.cfg.WarmConnections && !p.closed && !s.removed &&
		p.places < p.cfg.MaxTotalConnections && p.idle.Len()+p.warming < p.cfg.MaxIdleConnections &&
		(s.judge.State() == health.Up || s.judge.State() == health.Rising)
}

// warmLocked has connections dialled where WarmConnections asks for them. It is called when a
// server may have come up, and when a place has come free.
func (p *HTTPConnectionPool) warmLocked() {
	if p.cfg.WarmConnections == 0 {
		return
	}
	for _, s := range p.servers {
		w := &s.warm
		if w.dialling || !p.coldLocked(s) {
			continue
		}
		if time.Since(w.last) > warmCalm {
			w.burst = 0
		}
		w.dialling = true
		delay := max(warmPause.Delay(w.failures), warmPause.Delay(w.burst-p.cfg.WarmConnections))
		p.spawnLocked(func() { p.warm(s, delay) })
	}
}

// warm dials one connection for the server, if it still is to have one after the pause. It runs on
// a goroutine of its own, which DialContext, the user's, may end.
func (p *HTTPConnectionPool) warm(s *server, delay time.Duration) {
	defer func() {
		p.mu.Lock()
		s.warm.dialling = false
		p.warmLocked()
		p.mu.Unlock()
	}()
	pause := time.NewTimer(delay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-p.watching.Done():
		return
	}
	p.mu.Lock()
	if !p.coldLocked(s) {
		p.mu.Unlock()
		return
	}
	s.load.Begin()
	p.lent++
	*s.places++
	p.places++
	p.warming++
	p.mu.Unlock()

	c, began := newConn(s), time.Now()
	var nc net.Conn
	var err error = &Error{Op: "dial", Server: s.name, Err: errors.New("DialContext ended its goroutine")}
	defer func() { p.warmed(c, nc, began, err) }()
	nc, err = s.connect(p.watching, c)
}

// warmed takes what a dial of warm's has come to.
func (p *HTTPConnectionPool) warmed(c *conn, nc net.Conn, began time.Time, err error) {
	s := c.s
	p.mu.Lock()
	s.warm.last = time.Now()
	if err == nil {
		s.warm.failures = 0
		s.warm.burst++
		c.first = nc
		p.used.PushBack(&c.inAll, c)
	} else {
		s.warm.failures++
	}
	p.mu.Unlock()
	if err == nil {
		c.prime()
		p.release(c)
	} else {
		p.freePlace(s)
		if p.watching.Err() == nil {
			s.judge.Report(health.Unreachable, began, err)
		}
	}
	p.mu.Lock() // now that it is among the idle, so that they never are too many
	p.warming--
	p.mu.Unlock()
}

// spareLocked returns the idle connection that is closed when there are too many: the one that has
// been so for longest of a server that has more than WarmConnections, or else of any.
func (p *HTTPConnectionPool) spareLocked() *conn {
	for c := p.idle.Front(); c != nil; c = c.inAll.Next() {
		if *c.s.places > p.cfg.WarmConnections {
			return c
		}
	}
	return p.idle.Front()
}

// priming is a request that is given up while its transport asks for a socket.
type priming struct {
	giveUp   context.CancelFunc
	returned chan struct{} // closed when RoundTrip has
}

type primingKey struct{}

// prime has the transport take the socket before there is a request, so that it sees when the
// server closes it. net/http keeps a connection whose request was given up while it was dialled, for
// the next one. Nothing is written: the transport gets the socket when it has nobody any more to
// hand it to. The conn is the caller's.
func (c *conn) prime() {
	ctx, cancel := context.WithCancel(c.s.p.watching)
	defer cancel()
	pr := &priming{cancel, make(chan struct{})}
	defer close(pr.returned)
	ctx = context.WithValue(ctx, primingKey{}, pr)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.s.name, nil)
	if err != nil {
		return // the transport takes it with the first request
	}
	if resp, err := c.transport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
}

// primed waits until nobody waits for the socket, if it is asked for because of prime.
func primed(ctx context.Context) {
	if pr, ok := ctx.Value(primingKey{}).(*priming); ok {
		pr.giveUp()
		<-pr.returned
	}
}
