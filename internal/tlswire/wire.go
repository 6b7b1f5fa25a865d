// Package tlswire lies between crypto/tls and a socket.
//
// By itself crypto/tls takes two reads or more for each record and a write for each, and
// its Read waits. A Wire reads what the socket has in one system call, lets a TLS connection be
// read and written without waiting, and has all records of one write leave together. It holds
// no memory while nothing is under way. Handshakes compute in places, of which there are few:
// see Layer, which lies below those of connections without a Wire, too.
//
// A Wire keeps what it has read apart by records and gives crypto/tls no byte beyond the record
// that it reads. So what is not decrypted is in the Wire, and it knows whether another
// record is whole. crypto/tls keeps a record that has come in part, and goes on with it,
// if the error was temporary: deadlines rely on that, and so does errNothing.
package tlswire

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/rawio"
)

const (
	// headerSize is the size of a record's header, of which the last two bytes are the
	// length of the rest.
	headerSize = 5
	// readSize is what one read takes at most: more than three of the largest records.
	readSize = 64 << 10
	// recordMax is the most payload of a record, recordExtra more than its header, its nonce and
	// its tag take.
	recordMax   = 16 << 10
	recordExtra = 64
	// bodyMax is the longest rest of a record that any version allows.
	bodyMax = recordMax + 2048
)

// nothing is the error of a Read that was not to wait. It is temporary, as a timeout is, so
// that crypto/tls goes on afterwards.
type nothing struct{}

func (nothing) Error() string   { return "tlswire: there is nothing to read yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing error = nothing{}

// Wire is the connection below a tls.Conn. As a net.Conn it is used by crypto/tls; the owner of
// the tls.Conn uses Read, Write, TryRead, TryWrite and WaitRead below.
//
// One goroutine at a time may read, another one write, as with every net.Conn; crypto/tls
// writes now and then when it reads.
type Wire struct {
	net.Conn
	raw syscall.RawConn // of Conn

	// The reader's.
	in      *bytepool.Buffer // what was read, from head on not taken; nil: nothing is there
	head    int
	left    int  // bytes that are to come of the record that crypto/tls reads
	hurried bool // a Read that finds nothing fails
	again   bool // crypto/tls may have something that it needs no socket for
	end     error
	try     attempt
	place
	readFn func(fd uintptr) bool // bound once: a method value allocates
	waitFn func(fd uintptr) bool

	output
}

// attempt is the outcome of a single system call.
type attempt struct {
	n   int
	err error
}

// New returns a Wire over a socket, and false if nc has none that can be asked without waiting.
func New(nc net.Conn) (*Wire, bool) {
	if !rawio.Available {
		return nil, false
	}
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil, false // its Read may do more than read
	}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, false
	}
	w := &Wire{Conn: nc, raw: raw}
	w.flushed = sync.NewCond(&w.mu)
	w.readFn, w.waitFn, w.writeFn = w.attemptRead, w.awaitRead, w.attemptWrite
	return w, true
}

// Below returns the Wire that lies below a connection, nil if there is none.
func Below(nc net.Conn) (*tls.Conn, *Wire) {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	w, _ := tc.NetConn().(*Wire)
	return tc, w
}

// NetConn returns the socket.
func (w *Wire) NetConn() net.Conn { return w.Conn }

// SyscallConn implements syscall.Conn, for socket options.
func (w *Wire) SyscallConn() (syscall.RawConn, error) { return w.raw, nil }

// Release gives the memory back that w holds. Nobody may read or write at the time, or later.
func (w *Wire) Release() {
	for _, b := range []**bytepool.Buffer{&w.in, &w.records} {
		if *b != nil {
			bytepool.Put(*b)
			*b = nil
		}
	}
}
