package server

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/server"
)

// ServerConn is one client's connection, as a handler sees it: the same for all
// requests of a connection.
type ServerConn struct {
	// Conn is a view of the connection, which belongs to the server: addresses,
	// Close and deadlines work. Close lets the requests that run be answered
	// first. A read deadline that passes closes the connection. What is written goes
	// out whole, in the order of the writes, between replies; it must be whole
	// frames. A write does not wait: it fails while the client leaves too much
	// unread. Reading fails, because the server reads.
	Conn net.Conn

	view connView // Conn points to it
}

// connView is the net.Conn of a ServerConn.
type connView struct {
	conn *server.Conn

	mu     sync.Mutex  // guards expiry
	expiry *time.Timer // of the read deadline; nil if there never was one
}

var errNotYours = fmt.Errorf("anet/server: the connection is read by the server, which hands requests to the handler: %w",
	errors.ErrUnsupported)

func (v *connView) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: v.LocalAddr().Network(), Source: v.LocalAddr(), Addr: v.RemoteAddr(), Err: err}
}

func (v *connView) Read([]byte) (int, error) { return 0, v.opError("read", errNotYours) }

// Write queues p to be written in one piece.
func (v *connView) Write(p []byte) (int, error) {
	if err := v.conn.Push(p); err != nil {
		return 0, v.opError("write", err)
	}
	return len(p), nil
}

func (v *connView) Close() error         { return v.conn.Close() }
func (v *connView) LocalAddr() net.Addr  { return v.conn.LocalAddr() }
func (v *connView) RemoteAddr() net.Addr { return v.conn.RemoteAddr() }

// SetDeadline is SetReadDeadline, because what is written is the server's.
func (v *connView) SetDeadline(t time.Time) error { return v.SetReadDeadline(t) }

// SetWriteDeadline does nothing: ServerConfig.WriteTimeout bounds the writes.
func (v *connView) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline has the connection closed at t; the zero time takes that back.
func (v *connView) SetReadDeadline(t time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.expiry != nil {
		v.expiry.Stop()
	}
	if t.IsZero() {
		return nil
	}
	if v.expiry == nil {
		v.expiry = time.AfterFunc(time.Until(t), func() { _ = v.conn.Close() })
		return nil
	}
	v.expiry.Reset(time.Until(t))
	return nil
}
