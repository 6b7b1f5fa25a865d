package httppool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/list"
)

// place says where a connection is.
type place uint8

const (
	lent place = iota // a caller uses it
	idle              // the pool
	gone              // nobody: it has no place any more
)

// conn is one place for a socket, and the transport that speaks HTTP on it. It has one socket
// at a time: a server may close it after a response, and the next request in the same lease
// then has another one dialled.
type conn struct {
	s         *server
	transport *http.Transport
	sock      atomic.Pointer[socket]
	sent      atomic.Bool // something was written since the exchange began, or may have been
	ending    atomic.Bool // its socket is of no use after the last response; its user's

	// Guarded by the pool's lock.
	state   place
	first   net.Conn        // dialled and not yet taken by the transport
	redials int             // dials of the transport's under way; until they end the place is taken
	since   time.Time       // it is idle
	inAll   list.Node[conn] // of the pool's idle, or of its used
	here    list.Node[conn] // of the server's idle
}

// errGone is the transport's when it dials after its connection's end.
var errGone = errors.New("httppool: connection has no place any more")

// errLost is what a request has met whose connection the server has closed without a response.
var errLost = fmt.Errorf("the server has closed the connection without a response: %w", io.ErrUnexpectedEOF)

func newConn(s *server) *conn {
	c := &conn{s: s}
	cfg := &s.p.cfg
	c.transport = &http.Transport{
		DialContext: c.socketFor, DialTLSContext: c.socketFor,
		MaxConnsPerHost: 1, MaxIdleConns: 1, MaxIdleConnsPerHost: 1,
		DisableKeepAlives: cfg.DisableKeepAlives, DisableCompression: cfg.DisableCompression,
		MaxResponseHeaderBytes: cfg.MaxResponseHeaderSize,
		WriteBufferSize:        cfg.WriteBufferSize, ReadBufferSize: cfg.ReadBufferSize,
		ExpectContinueTimeout: time.Second,
		Protocols:             http1,
	}
	return c
}

// http1 keeps the promise that a connection carries one exchange at a time.
var http1 = func() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}()

// socketFor gives the transport its socket: the one that the pool has dialled, or a new one. There is
// none for an exchange that has begun to write: the transport would repeat a request there by
// itself that the server may have had. Whether it is repeated, the pool says, which keeps count.
func (c *conn) socketFor(ctx context.Context, _, _ string) (net.Conn, error) {
	primed(ctx)
	p := c.s.p
	p.mu.Lock()
	nc := c.first
	c.first = nil
	if nc != nil || c.state != lent { // a request that was given up may still ask
		p.mu.Unlock()
		if nc == nil {
			return nil, errGone
		}
		return nc, nil
	}
	if c.sent.Load() {
		p.mu.Unlock()
		return nil, errLost
	}
	c.redials++
	p.mu.Unlock()
	return c.redial(ctx)
}

// redial dials for the transport, in the place of a socket that the server has closed. DialContext,
// which is the user's, may end the goroutine.
func (c *conn) redial(ctx context.Context) (nc net.Conn, err error) {
	p := c.s.p
	defer func() {
		p.mu.Lock()
		c.redials--
		ended := c.state != lent
		last := ended && c.redials == 0
		p.mu.Unlock()
		if ended {
			c.shut()
			nc, err = nil, errGone
		}
		if last {
			p.freePlace(c.s)
		}
	}()
	if old := c.sock.Load(); old != nil {
		old.Close() // it is about to be
	}
	return c.s.connect(ctx, c)
}

// alive reports whether the connection may be handed out again. Nothing may wait to be read: a
// goroutine of net/http's that waits for the end too may not have seen it yet.
func (c *conn) alive() bool {
	sock := c.sock.Load()
	return sock != nil && (sock.peeker == nil || sock.peeker.Peek() == nil)
}

// leave notes whether the last response was read to its end. If not, net/http closes the socket,
// but only soon.
func (c *conn) leave(whole bool) {
	if !whole {
		c.ending.Store(true)
	}
}

// shut closes the socket. The caller has taken its place away; the transport finds the end by
// itself.
func (c *conn) shut() {
	if c == nil {
		return
	}
	if sock := c.sock.Load(); sock != nil {
		sock.Close()
	}
	c.transport.CloseIdleConnections()
}
