package paired

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Conn is a connection that somebody has taken from a pool: what ClientGet and
// ServerGet return as a net.Conn. It lives until Put or Close; from then on every
// method but ID, LocalAddr and RemoteAddr returns ErrReturned. No Read or Write
// may be under way during Put.
//
// Like every net.Conn it may be used by several goroutines.
type Conn struct {
	pool *Pool
	e    *entry

	returned atomic.Bool // by Put or Close: no longer the holder's
	broken   atomic.Bool // a Read or Write has failed: not to be used again
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
)

// ID returns the connection's name at both ends: 16 hexadecimal digits.
func (c *Conn) ID() string { return c.e.id.String() }

// NetConn returns the connection below, a *tls.Conn with TLS, for options and for
// half-closing. It must not be kept beyond Put, nor be read from: Conn may hold
// back a byte that was read ahead.
func (c *Conn) NetConn() net.Conn { return c.e.nc }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if c.returned.Load() {
		return 0, ErrReturned
	}
	if len(b) > 0 {
		if ahead, ok := c.e.ahead.take(); ok {
			b[0] = ahead
			return 1, nil
		}
	}
	n, err := c.e.nc.Read(b)
	if err != nil && !isTimeout(err) {
		c.broken.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	if c.returned.Load() {
		return 0, ErrReturned
	}
	n, err := c.e.nc.Write(b)
	if err != nil {
		c.broken.Store(true) // part of b may be on the wire
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom, so that io.Copy between two connections can
// stay in the kernel.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if c.returned.Load() {
		return 0, ErrReturned
	}
	n, err := io.Copy(c.e.nc, r)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// WriteTo implements io.WriterTo, for the same reason. It returns at the end of
// what the peer sends.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if c.returned.Load() {
		return 0, ErrReturned
	}
	c.broken.Store(true) // its end will have been read
	if ahead, ok := c.e.ahead.take(); ok {
		if n, err := w.Write([]byte{ahead}); err != nil {
			return int64(n), err
		}
		n, err := io.Copy(w, c.e.nc)
		return n + 1, err
	}
	return io.Copy(w, c.e.nc)
}

// Close ends the connection and makes room in the pool. With TLS it may take five
// seconds, while the peer takes no bytes. It does nothing after Put.
func (c *Conn) Close() error {
	if !c.returned.CompareAndSwap(false, true) {
		return ErrReturned
	}
	return c.pool.end(c.e)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.e.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.e.nc.RemoteAddr() }

// SetDeadline implements net.Conn. Put removes deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if c.returned.Load() {
		return ErrReturned
	}
	return c.e.nc.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.returned.Load() {
		return ErrReturned
	}
	return c.e.nc.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.returned.Load() {
		return ErrReturned
	}
	return c.e.nc.SetWriteDeadline(t)
}
