package httppool

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/liveness"
)

// errConnectTimeout says that a dial took longer than ConnectTimeout.
var errConnectTimeout error = timeout("no connection within ConnectTimeout")

// socket is a connection's connection: it tells the pool when it is closed, and the conn when
// something is written, be it a request or, in a dial of the transport's, a handshake.
type socket struct {
	net.Conn
	c      *conn
	peeker *liveness.Peeker // for the caller that has the conn; nil: cannot be looked at

	closing sync.Once
	err     error // of Close
}

// NetConn lets the peeker look through.
func (s *socket) NetConn() net.Conn { return s.Conn }

func (s *socket) Write(b []byte) (int, error) {
	if !s.c.sent.Load() {
		s.c.sent.Store(true) // before it is written: what is not set was not
	}
	return s.Conn.Write(b)
}

// Close closes the socket, and only then frees its place. Whoever calls it returns after both.
func (s *socket) Close() error {
	s.closing.Do(func() {
		s.err = s.Conn.Close()
		s.c.s.p.socketClosed(s.c, s)
	})
	return s.err
}

// netDial returns the dial function of pools without one. The examples, whose servers have names
// of example.com, have another one put in its place.
var netDial = func(keepAlive time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: keepAlive}).DialContext
}

// connect dials the server and does the TLS handshake. The caller's is the place.
func (s *server) connect(ctx context.Context, c *conn) (_ net.Conn, err error) {
	p := s.p
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.ConnectTimeout, errConnectTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			p.counts.connectErrors.Add(1)
			if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errConnectTimeout) {
				err = cause
			}
			err = &Error{Op: "dial", Server: s.name, Err: err}
		}
	}()
	dial := p.cfg.DialContext
	if dial == nil {
		dial = netDial(p.cfg.KeepAliveTimeout)
	}
	nc, err := dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, errors.New("DialContext returned neither a connection nor an error")
	}
	sock := &socket{Conn: nc, c: c}
	p.counts.created.Add(1)
	var out net.Conn = sock
	if s.tls != nil {
		out = tls.Client(sock, s.tls)
	}
	sock.peeker = liveness.NewPeeker(out)
	c.sock.Store(sock)
	if secured, ok := out.(*tls.Conn); ok {
		if err := secured.HandshakeContext(ctx); err != nil {
			sock.Close()
			return nil, err
		}
	}
	return out, nil
}

// attempt is a dial. It runs on a goroutine of its own, so that no caller waits longer than it
// wants to, and what comes too late for one that gave up serves another.
type attempt struct {
	began time.Time
	done  chan struct{}
	c     *conn // lent to the waiter
	err   error
	left  bool // nobody waits any more; guarded by the pool's lock
}

// dial makes a connection in a place that is the caller's.
func (p *HTTPConnectionPool) dial(ctx context.Context, s *server) (*conn, error) {
	a := &attempt{began: time.Now(), done: make(chan struct{})}
	c := newConn(s)
	p.spawn(func() {
		var nc net.Conn
		var err error = &Error{Op: "dial", Server: s.name, Err: errors.New("DialContext ended its goroutine")}
		defer func() { p.dialled(a, s, c, nc, err) }()
		nc, err = s.connect(p.ctx, c)
	})
	// For a dialer that does not return when it should.
	overdue := time.NewTimer(p.cfg.ConnectTimeout + p.cfg.ConnectTimeout/8)
	defer overdue.Stop()
	var err error
	select {
	case <-a.done:
	case <-ctx.Done():
		err = ended(ctx)
	case <-overdue.C:
		err = &Error{Op: "dial", Server: s.name, Err: errConnectTimeout}
	}
	if err != nil && p.leave(a) {
		return nil, err
	}
	<-a.done
	if a.err != nil {
		p.freePlace(s)
		return nil, a.err
	}
	return a.c, nil
}

// leave gives up waiting for an attempt, unless it has ended.
func (p *HTTPConnectionPool) leave(a *attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.c != nil {
		return false
	}
	a.left = true
	return true
}

// dialled takes what a dial has come to.
func (p *HTTPConnectionPool) dialled(a *attempt, s *server, c *conn, nc net.Conn, err error) {
	p.mu.Lock()
	c.first, a.c, a.err = nc, c, err
	if err == nil {
		p.used.PushBack(&c.inAll, c)
	}
	left := a.left
	p.mu.Unlock()
	switch {
	case !left:
		close(a.done)
	case err != nil:
		p.freePlace(s)
		if p.ctx.Err() == nil {
			s.judge.Report(health.Unreachable, a.began, err)
		}
	default:
		p.release(c)
	}
}
