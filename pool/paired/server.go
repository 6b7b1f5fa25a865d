package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/liveness"
	"github.com/ringwire/ringwire/internal/role"
)

// acceptPauses bounds the pauses after failed accepts: descriptors that ran out are
// no reason to give up.
var acceptPauses = backoff.Policy{Min: 5 * time.Millisecond, Max: time.Second}

// graceShare is the share of the handshake timeout for which a guest is safe from
// those that come later.
const graceShare = 4

// idTries bounds the search for an ID that no connection has. One in 2^47 fails
// with the largest pool.
const idTries = 8

// server is what a pool that accepts has besides.
type server struct {
	listener  net.Listener
	clients   allowed
	guestsMax int
	newID     func() connID

	promised map[connID]struct{} // IDs that are being sent; the pool's mutex guards it

	mu     sync.Mutex       // guards guests; the pool's is never taken under it
	guests list.List[guest] // in the order they came
}

// guest is a connection that has no ID yet.
type guest struct {
	nc    net.Conn
	since time.Time
	place list.Node[guest] // in guests
}

// NewServerPool makes a pool that accepts connections from a listener, which it
// owns from then on, unless there is an error. It works at once and until Close.
func NewServerPool(config ServerConfig) (*Pool, error) {
	p, err := newServerPool(config, randomID)
	if err != nil {
		return nil, fmt.Errorf("paired: %w", err)
	}
	p.wg.Go(p.manage)
	p.wg.Go(p.acceptAll)
	return p, nil
}

func newServerPool(config ServerConfig, newID func() connID) (*Pool, error) {
	c := config.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	clients, err := parseAllowed(c.ClientIP)
	if err != nil {
		return nil, fmt.Errorf("ServerConfig.ClientIP: %w", err)
	}
	conf, err := serverTLS(c.TLS)
	if err != nil {
		return nil, err
	}
	p := newPool(c.MinCapacity, c.MaxCapacity, c.Interval, c.Logger)
	p.idleTimeout, p.keepAlive, p.handshakeTimeout, p.tls = c.IdleTimeout, c.KeepAlive, c.HandshakeTimeout, conf
	p.capacity = c.MaxCapacity
	p.server = &server{
		listener: c.Listener, clients: clients, guestsMax: c.MaxHandshakes, newID: newID,
		promised: make(map[connID]struct{}),
	}
	return p, nil
}

// acceptAll accepts until the listener or the pool is closed. It never waits for a
// peer.
func (p *Pool) acceptAll() {
	role.Set("paired accept")
	failures := 0
	for {
		nc, err := p.server.listener.Accept()
		if p.ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return
		}
		if err == nil {
			failures = 0
			p.receive(nc)
			continue
		}
		p.failed(failedAccept, err, p.server.listener.Addr().String())
		if errors.Is(err, net.ErrClosed) {
			return // somebody else closed the listener
		}
		failures++
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(acceptPauses.Delay(failures)):
		}
	}
}

// receive begins the handshake of an accepted connection, or closes it.
func (p *Pool) receive(nc net.Conn) {
	peer := peerName(nc.RemoteAddr())
	if !p.server.clients.allows(nc.RemoteAddr()) {
		nc.Close()
		p.failed(failedAddress, fmt.Errorf("ClientIP does not allow %s", peer), peer)
		return
	}
	p.mu.Lock()
	full := len(p.shelf.open)+p.bringing >= p.maxCapacity
	p.mu.Unlock()
	g := &guest{nc: nc, since: time.Now()}
	switch {
	case full:
		nc.Close()
		p.failed(failedFull, fmt.Errorf("%d connections are open", p.maxCapacity), peer)
	case !p.server.seat(g, p.handshakeTimeout/graceShare):
		nc.Close()
		p.failed(failedFull, fmt.Errorf("%d handshakes are under way", p.server.guestsMax), peer)
	default:
		p.wg.Go(func() { p.welcome(g, peer) })
	}
}

// seat admits a guest. When all places are taken, it has to be the oldest one's,
// which is cut off if it has had its time: peers that keep silent must not keep
// out others.
func (s *server) seat(g *guest, grace time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests.Len() >= s.guestsMax {
		oldest := s.guests.Front()
		if g.since.Sub(oldest.since) < grace {
			return false
		}
		s.guests.Remove(&oldest.place)
		oldest.nc.Close() // a socket without TLS: it does not wait
	}
	s.guests.PushBack(&g.place, g)
	return true
}

// leave gives up a guest's place, if it still has it.
func (s *server) leave(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests.Remove(&g.place)
}

// welcome does the handshake, sends the ID and makes the connection ready.
func (p *Pool) welcome(g *guest, peer string) {
	role.Set("paired handshake")
	ctx, cancel := context.WithTimeout(p.ctx, p.handshakeTimeout)
	defer cancel()
	// Closing is what ends a handshake, or a write, that waits for the peer.
	unwatch := context.AfterFunc(ctx, func() { g.nc.Close() })
	defer p.server.leave(g)

	nc := g.nc
	err := liveness.KeepAlive(nc, p.keepAlive)
	if err == nil && p.tls != nil {
		nc, err = secure(ctx, tls.Server(nc, p.tls))
	}
	if err != nil {
		g.nc.Close()
		p.failed(failedHandshake, fmt.Errorf("handshake: %w", err), peer)
		return
	}
	id, why, err := p.reserve()
	if err != nil {
		g.nc.Close()
		p.failed(why, err, peer)
		return
	}
	_, err = nc.Write(id[:])
	if !unwatch() {
		err = fmt.Errorf("the ID was not taken within %v: %w", p.handshakeTimeout, ctx.Err())
	}
	p.arrived(id, nc, g.nc, err, peer)
}

// arrived brings the outcome of a handshake that was given a place into the pool.
func (p *Pool) arrived(id connID, nc, raw net.Conn, err error, peer string) {
	var e *entry
	p.mu.Lock()
	delete(p.server.promised, id)
	if err != nil {
		p.bringing--
	} else {
		e, err = p.joinLocked(id, nc, time.Now())
	}
	p.mu.Unlock()
	if err != nil {
		raw.Close()
		p.failed(failedHandshake, err, peer)
		return
	}
	p.event("accepted", e)
}

// reserve takes a place for a connection and makes its ID, which no other has.
func (p *Pool) reserve() (id connID, why failure, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return id, 0, ErrClosed
	}
	if len(p.shelf.open)+p.bringing >= p.maxCapacity {
		return id, failedFull, fmt.Errorf("%d connections are open", p.maxCapacity)
	}
	for range idTries {
		id = p.server.newID()
		if _, promised := p.server.promised[id]; !promised && p.shelf.open[id] == nil {
			p.server.promised[id] = struct{}{}
			p.bringing++
			return id, 0, nil
		}
		p.count.collisions.Add(1)
	}
	return id, failedHandshake, errors.New("every ID that was drawn is in use; the source of random numbers is broken")
}

// peerName returns an address for logs and errors.
func peerName(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	return a.String()
}
