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
	// first. A read deadline that passes closes the connection. Reading and
	// writing fail, because both are the server's.
	Conn net.Conn

	view connView // Conn points to it
}

// connView is the net.Conn of a ServerConn.
type connView struct {
	conn *server.Conn

	mu     sync.Mutex  // guards expiry
	expiry *time.Timer // of the read deadline; nil if there never was one
}

var errNotYours = fmt.Errorf("anet/server: the connection is read and written by the server; return the reply from the handler: %w",
	errors.ErrUnsupported)

func (v *connView) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: v.LocalAddr().Network(), Source: v.LocalAddr(), Addr: v.RemoteAddr(), Err: err}
}

func (v *connView) Read([]byte) (int, error)  { return 0, v.opError("read", errNotYours) }
func (v *connView) Write([]byte) (int, error) { return 0, v.opError("write", errNotYours) }
func (v *connView) Close() error              { return v.conn.Close() }
func (v *connView) LocalAddr() net.Addr       { return v.conn.LocalAddr() }
func (v *connView) RemoteAddr() net.Addr      { return v.conn.RemoteAddr() }

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
