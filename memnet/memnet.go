// Package memnet connects a client and a server in one process without a socket, for tests above
// all: they need no port, leave no descriptor behind, and run in virtual time under
// testing/synctest.
//
//	ln := memnet.Listen()
//	err := s.Serve(ln) // a *server.Server
//	b, err := engine.New(engine.Config{Addrs: []string{"memory:1"}, DialContext: ln.DialContext})
//
// The connections are those of [net.Pipe]: synchronous and without a buffer, with deadlines.
package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Network is what the Network method of the addresses returns.
const Network = "memory"

// Addr is the address of a listener, or of the end of a connection.
type Addr string

// Network returns "memory".
func (Addr) Network() string { return Network }

func (a Addr) String() string { return string(a) }

// Listener is a [net.Listener] for connections within the process. It is safe for concurrent
// use.
type Listener struct {
	dialled chan net.Conn
	closing chan struct{}
	once    sync.Once
	clients atomic.Uint64
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a new listener. Close it, as every other.
func Listen() *Listener {
	return &Listener{dialled: make(chan net.Conn), closing: make(chan struct{})}
}

// Accept waits for the next connection. After Close it fails with [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closing:
		return nil, l.closed("accept")
	default:
	}
	select {
	case nc := <-l.dialled:
		return nc, nil
	case <-l.closing:
		return nil, l.closed("accept")
	}
}

// Close ends Accept and all dials that wait. Connections that were accepted stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closing) })
	return nil
}

// Addr returns the listener's address, which is the same for all.
func (l *Listener) Addr() net.Addr { return Addr("memory") }

// DialContext connects: it waits until the connection is accepted, until the listener is closed, or
// until ctx ends. network and addr are not looked at, so that it serves as the DialContext of an
// engine.Config.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	client := Addr(fmt.Sprintf("memory client %d", l.clients.Add(1)))
	select {
	case l.dialled <- &conn{theirs, l.Addr(), client}:
		return &conn{ours, client, l.Addr()}, nil
	case <-l.closing:
		return nil, l.closed("dial")
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: Network, Addr: l.Addr(), Err: ctx.Err()}
	}
}

func (l *Listener) closed(op string) error {
	return &net.OpError{Op: op, Net: Network, Addr: l.Addr(), Err: net.ErrClosed}
}

// conn is one end of a connection.
type conn struct {
	net.Conn
	local, remote net.Addr
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }
