package load

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/load/wire"
)

// redial bounds the pauses between dials that fail.
var redial = backoff.Policy{Min: 20 * time.Millisecond, Max: time.Second}

// link keeps one connection up, from the run's beginning to its end.
type link struct {
	run     *run
	target  Target
	shard   *shard
	current atomic.Pointer[session] // nil: none is up
}

// keepUp dials, takes replies until the connection ends, and dials again. tried is called
// when the first dial has ended.
func (l *link) keepUp(tried func()) {
	defer l.run.ended.Done()
	once := sync.OnceFunc(tried)
	defer once()
	for failures := 0; l.run.pause(redial.Delay(failures)); {
		conn, dec, err := l.connect()
		if err != nil {
			failures++
			l.run.conns.dialFailed(err, l.run.ctx)
			once()
			if !l.run.stopped() {
				l.run.failed("a connection that cannot be made")
			}
			continue
		}
		s := newSession(l, conn, dec)
		l.run.conns.opened.Add(1)
		l.current.Store(s)
		if l.run.stopped() {
			_ = conn.Close() // nobody else has seen it
		}
		once()
		l.run.ended.Go(s.writer)
		s.start()
		ours, why := s.end(s.read())
		l.current.Store(nil)
		if l.run.stopped() {
			return
		}
		l.run.conns.ended(ours, why, len(s.dec.Rest()) > 0)
		failures++
		if ours || s.replies > 0 {
			failures = 0
		}
		if !ours {
			l.run.failed("a connection that was lost")
		}
	}
}

// start gives the connection its first requests.
func (s *session) start() {
	s.mu.Lock()
	s.refill(s.run.now())
	s.mu.Unlock()
	s.flush()
}

// connect makes a connection and its first requests.
func (l *link) connect() (net.Conn, *wire.Decoder, error) {
	conn, err := l.dial()
	if err != nil {
		return nil, nil, err
	}
	r := l.run
	dec := wire.NewDecoder(r.cfg.Codec)
	if len(r.cfg.Open) == 0 {
		return conn, dec, nil
	}
	stop := context.AfterFunc(r.ctx, func() { _ = conn.Close() })
	defer stop()
	if err := l.open(conn, dec, r.openings.Add(1)-1); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, dec, nil
}

// dial makes the connection, and its TLS handshake, when it is its turn.
func (l *link) dial() (net.Conn, error) {
	r := l.run
	if !r.pause(r.dials.turn()) {
		return nil, context.Canceled
	}
	if r.cfg.Listener != nil {
		return r.accepted()
	}
	return r.cfg.Dial(r.ctx, l.target)
}

// errNoVisitor is for a connection that the backend did not make.
var errNoVisitor = errors.New("the backend has not connected")

// accepted waits for a connection that the backend makes.
func (r *run) accepted() (net.Conn, error) {
	timer := time.NewTimer(r.cfg.DialTimeout)
	defer timer.Stop()
	select {
	case conn := <-r.visitors:
		if secured, ok := conn.(*tls.Conn); ok {
			ctx, cancel := context.WithTimeout(r.ctx, r.cfg.DialTimeout)
			defer cancel()
			if err := secured.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				return nil, &handshakeError{err}
			}
		}
		return conn, nil
	case <-timer.C:
		return nil, errNoVisitor
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// accept takes the backend's connections and hands them to links that have none. Those
// that no link has room for wait, one here and the others in the listener's queue.
func (r *run) accept() {
	for failures := 0; r.pause(redial.Delay(failures)); {
		conn, err := r.cfg.Listener.Accept()
		if err != nil {
			failures++
			continue
		}
		failures = 0
		select {
		case r.visitors <- conn:
		case <-r.ctx.Done():
			_ = conn.Close()
		}
	}
}

// Dial makes a connection to a target as a run would, with its TLS handshake, in at most
// DialTimeout.
func (c *Config) Dial(ctx context.Context, t Target) (net.Conn, error) {
	timeout := c.DialTimeout
	if timeout == 0 {
		timeout = DefaultDialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d := net.Dialer{LocalAddr: c.LocalAddr}
	conn, err := d.DialContext(ctx, t.Network, t.Address)
	if err != nil || !t.TLS {
		return conn, err
	}
	cfg := c.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(t.Address)
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &handshakeError{err}
	}
	return secured, nil
}

type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// dialTurns spaces dials out.
type dialTurns struct {
	every time.Duration // 0: they are not
	mu    sync.Mutex    // guards next
	next  time.Time
}

// turn returns how long to wait for the next one.
func (d *dialTurns) turn() time.Duration {
	if d.every == 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	at := d.next
	if at.Before(now) {
		at = now
	}
	d.next = at.Add(d.every)
	return at.Sub(now)
}

// conns counts what becomes of connections.
type conns struct {
	opened atomic.Uint64

	mu       sync.Mutex // guards what follows
	lost     uint64
	replaced uint64
	cut      uint64            // of those lost, with part of a frame
	errors   map[string]uint64 // by cause
}

func (c *conns) dialFailed(err error, ctx context.Context) {
	if ctx.Err() != nil {
		return // we gave it up
	}
	text := "dial: " + cause(err)
	var opening *openError
	if errors.As(err, &opening) {
		text = "opening: " + cause(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLocked(text)
}

// causesMax bounds the causes that are told apart: a refused opening names the peer's status.
const causesMax = 64

func (c *conns) countLocked(text string) {
	if c.errors[text] == 0 && len(c.errors) >= causesMax {
		text = OtherCodes
	}
	c.errors[text]++
}

func (c *conns) ended(ours bool, why error, rest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ours {
		c.replaced++
		return
	}
	c.lost++
	if rest {
		c.cut++
	}
	c.countLocked("connection: " + cause(why))
}

// Cause is the text of an error of a connection, without what differs from one connection
// to the next, such as ports.
func Cause(err error) string { return cause(err) }

// cause is an error's text without what differs from one connection to the next, so that
// there are few.
func cause(err error) string {
	var errno syscall.Errno
	var op *net.OpError
	var dns *net.DNSError
	var handshake *handshakeError
	var opening *openError
	switch {
	case errors.As(err, &opening):
		return opening.Error()
	case errors.As(err, &handshake):
		return "TLS handshake: " + cause(handshake.err)
	case err == nil || errors.Is(err, io.EOF):
		return "closed by the peer"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &dns):
		return "no address for " + dns.Name
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return lengthCause(err)
}
