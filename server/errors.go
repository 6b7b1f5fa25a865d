package server

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
)

var (
	// ErrNoReply is what a handler returns to send no reply. It is not counted as
	// a failure. A client with the extension is told that there is none, unless it asked for
	// none (engine's SendOneWay), because it must know of each request what became of it.
	ErrNoReply = errors.New("server: no reply")

	// ErrOverloaded is the err that Config.ErrorReply gets for a request that was not run
	// because it had waited for Config.QueueTimeout. A handler may return it, too, for a
	// request that it has not begun with.
	ErrOverloaded = errors.New("server: overloaded: the request was not run")

	// ErrExpired is the err that Config.ErrorReply would get for a request that was not run
	// because its caller had given up. Only clients with the extension say how long they wait,
	// and they get a status instead.
	ErrExpired = errors.New("server: expired: the request was not run")

	// ErrServerClosed is what Start and Serve return after Shutdown or Close. It
	// also is net.ErrClosed.
	ErrServerClosed error = closedError{}

	// ErrGoexit is the Value of the PanicError of a handler that called runtime.Goexit, as
	// testing.T.FailNow does.
	ErrGoexit = errors.New("server: handler called runtime.Goexit")

	// ErrHandlersRunning is wrapped by the error of Shutdown and Close when
	// handlers did not return in time. Their goroutines, and on an event loop
	// that loop with its connections, remain until they do.
	ErrHandlersRunning = errors.New("handlers are still running")
)

type closedError struct{}

func (closedError) Error() string   { return "server: closed; make a new one" }
func (closedError) Is(e error) bool { return e == net.ErrClosed }

// Error is what a handler returns to choose what a client with the extension gets: a code
// and a text. Of other errors it gets the code 0 and the error's text, of a panic a text that
// says so. Without the extension it is an error like any other.
type Error struct {
	Code uint32
	Text string // of which at most 1,024 bytes are sent
}

// Error returns the text, and the code.
func (e *Error) Error() string { return fmt.Sprintf("%s (code %d)", e.Text, e.Code) }

// PanicError is the err that Config.ErrorReply gets when a handler panicked, or called
// runtime.Goexit: then it is ErrGoexit as well.
type PanicError struct {
	// Value is what was passed to panic. It may hold payload.
	Value any
}

// Error names the type of the value and, if it is an error of the runtime, its
// text. Other values are left out, because they may hold payload.
func (e *PanicError) Error() string {
	if e.Value == ErrGoexit {
		return "handler called runtime.Goexit"
	}
	if err, ok := e.Value.(runtime.Error); ok {
		return "handler panicked: " + err.Error()
	}
	return fmt.Sprintf("handler panicked with a %T", e.Value)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// reason says why a connection ended. The first one that is set counts.
type reason uint32

const (
	reasonNone       reason = iota
	reasonPeer              // the peer closed between two frames
	reasonReset             // a read or write failed
	reasonDead              // TCP gave up on the peer
	reasonTruncated         // the peer closed inside a frame
	reasonBadLength         // a length field out of range
	reasonTLS               // a TLS handshake where none is due
	reasonPlain             // no TLS where it is due
	reasonHandshake         // a TLS handshake that failed
	reasonHTTP              // an HTTP request
	reasonFrameTime         // FrameTimeout
	reasonMalformed         // none of what the extension allows
	reasonIdle              // IdleTimeout
	reasonSlowReader        // WriteTimeout
	reasonInput             // MaxUnparsed
	reasonMemory            // MaxHeld
	reasonFirstFrame        // FirstFrameTimeout
	reasonEvicted           // it had said nothing, and others came
	reasonHandler           // Conn.Close
	reasonShutdown          // Shutdown or Close
	reasonLoop              // a handler ended the goroutine of the event loop, or the connection's
	reasonInternal          // a fault of the server
	reasonCount
)

var reasonText = [reasonCount]string{
	reasonNone:       "none",
	reasonPeer:       "closed by the peer",
	reasonReset:      "connection failed",
	reasonDead:       "peer is unreachable",
	reasonTruncated:  "closed by the peer inside a frame",
	reasonBadLength:  "invalid frame length",
	reasonTLS:        "TLS on a plain port",
	reasonPlain:      "no TLS on a TLS port",
	reasonHandshake:  "TLS handshake failed",
	reasonHTTP:       "HTTP on a plain port",
	reasonFrameTime:  "frame not complete in time",
	reasonMalformed:  "malformed for the extension",
	reasonIdle:       "idle for too long",
	reasonSlowReader: "peer does not read its replies",
	reasonInput:      "too many bytes wait to be parsed",
	reasonMemory:     "server holds too many bytes",
	reasonFirstFrame: "first frame not complete in time",
	reasonEvicted:    "no frame so far, and others need the room",
	reasonHandler:    "closed by a handler",
	reasonShutdown:   "server is closing",
	reasonLoop:       "its goroutine was ended by a handler",
	reasonInternal:   "internal error",
}

func (r reason) String() string { return reasonText[r] }

// peersFault reports whether the reason is worth a line in the log: the ordinary
// ends of a connection are not.
func (r reason) peersFault() bool {
	switch r {
	case reasonNone, reasonPeer, reasonReset, reasonDead, reasonIdle, reasonHandler, reasonShutdown, reasonLoop:
		return false
	}
	return true
}

// exhausted reports whether the system had no descriptor or memory to spare: the
// condition passes when somebody gives some back.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
