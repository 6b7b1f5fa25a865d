// Package liveness tells whether a connection that nobody uses is still good,
// without reading from it, and has the kernel watch it.
package liveness

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// What Peek finds wrong. Other errors are the kernel's own, as *net.OpError or
// syscall.Errno.
var (
	// ErrClosed says that the peer has closed its direction, or that the
	// connection was closed here.
	ErrClosed = errors.New("liveness: the connection is closed")
	// ErrReset says that the peer has reset the connection. It joins the
	// kernel's ECONNRESET.
	ErrReset = errors.New("liveness: the connection was reset")
	// ErrUnsolicited says that bytes wait although nothing was asked for. They
	// would be taken for the answer to the next request.
	ErrUnsolicited = errors.New("liveness: unread bytes wait on the connection")
)

// maxWrappers bounds the NetConn calls that below follows.
const maxWrappers = 8

// Peek looks at the connection without blocking and without consuming anything.
// It returns nil when the peer is silent and has neither closed nor reset.
//
// A wrapper with a method NetConn() net.Conn, such as *tls.Conn, is looked
// through. Below TLS, bytes that wait say nothing: TLS 1.3 servers send session
// tickets on their own, and a closing alert looks the same without its key. So
// under TLS unread bytes are nil, unless the kernel says that the peer has ended the
// connection behind them, which only Linux is asked. Nor does Peek see bytes that a
// wrapper has read and keeps, crypto/tls among them.
//
// A connection that has no descriptor to look at, such as net.Pipe's, and every
// connection on systems without MSG_DONTWAIT, is taken for good: nil.
//
// Deadlines do not matter to it. It takes the kernel's pending error, if there
// is one, with it: a connection that Peek found bad must be closed. Peek is safe
// beside any other use of the connection, but bytes on their way to a reader are
// unsolicited to it. It is not meant for listening or datagram sockets.
func Peek(nc net.Conn) error {
	p := NewPeeker(nc)
	if p == nil {
		return nil
	}
	return p.Peek()
}

// Peeker peeks at one connection again and again without allocating. It is for
// one goroutine at a time.
type Peeker struct {
	rc      syscall.RawConn
	broken  error // the connection gave no RawConn
	secured bool
	look    func(fd uintptr) // kept, so that it is allocated once

	found finding
	errno error
}

// NewPeeker returns a Peeker for nc, or nil if Peek takes nc for good whatever
// happens.
func NewPeeker(nc net.Conn) *Peeker {
	bottom, secured := below(nc)
	sc, ok := bottom.(syscall.Conn)
	if !ok || !canLook {
		return nil
	}
	p := &Peeker{secured: secured}
	p.rc, p.broken = sc.SyscallConn()
	p.look = func(fd uintptr) {
		p.found, p.errno = look(fd)
		if p.found == waiting && p.secured && ended(fd) {
			p.found = gone
		}
	}
	return p
}

// Peek is as the function Peek.
func (p *Peeker) Peek() error {
	if p.broken != nil {
		return errors.Join(ErrClosed, p.broken)
	}
	// Not rc.Read, which fails when a read deadline has passed and waits for a
	// reader.
	if err := p.rc.Control(p.look); err != nil {
		if errors.Is(err, net.ErrClosed) {
			return errors.Join(ErrClosed, err)
		}
		return err
	}
	switch {
	case p.found == gone:
		return ErrClosed
	case p.found == waiting && !p.secured:
		return ErrUnsolicited
	case p.errno == syscall.ECONNRESET:
		return errors.Join(ErrReset, p.errno)
	}
	return p.errno
}

// finding is what a look at a descriptor shows.
type finding uint8

const (
	unknown finding = iota // also silence: nothing speaks against the connection
	waiting                // bytes
	gone                   // end of file
)

// below follows NetConn to the connection that owns the descriptor, and reports
// whether TLS was on the way.
func below(nc net.Conn) (bottom net.Conn, secured bool) {
	for range maxWrappers {
		if _, ok := nc.(*tls.Conn); ok {
			secured = true
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner := w.NetConn()
		if inner == nil {
			break
		}
		nc = inner
	}
	return nc, secured
}
