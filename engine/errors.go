package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/framing"
)

// The errors a Broker returns, mostly wrapped in an [OpError]; compare them with
// errors.Is.
var (
	// ErrTimeout: no reply within RequestTimeout, ReadTimeout, Call.Timeout or the
	// context's deadline; the text names which. It also is context.DeadlineExceeded, and a
	// net.Error whose Timeout method reports true.
	ErrTimeout error = timeoutError{}

	// ErrQuit: the broker has been closed. It also is net.ErrClosed.
	ErrQuit error = &sentinel{"broker is quitting", net.ErrClosed}

	// ErrClosingBroker: the broker is closing and takes no more requests, or
	// closed while this one was pending. It also is net.ErrClosed.
	ErrClosingBroker error = &sentinel{"broker is closing", net.ErrClosed}

	// ErrQueueFull: QueueSize requests wait to be written, or MaxInFlight are unanswered
	// on every connection. Send less, raise the limits, or set WaitQueue.
	ErrQueueFull = errors.New("broker queue full")

	// ErrNoHealthyServer: no server has a connection, and the last attempts to dial failed;
	// the cause is wrapped beside it. Or all servers were removed. It also is
	// ErrNoPoolsAvailable.
	ErrNoHealthyServer = fmt.Errorf("no healthy server: %w", balance.ErrNoPoolsAvailable)

	// ErrNoPoolsAvailable is what ErrNoHealthyServer also is, the name that anet has for it.
	ErrNoPoolsAvailable = balance.ErrNoPoolsAvailable

	// ErrDial: no connection could be made, or one was made and ended before a reply came
	// on it. The cause is wrapped beside it. Nothing was sent, so it is safe to retry.
	ErrDial = errors.New("cannot connect")

	// ErrNoExtension: Config.Extensions is on, and the server does not answer our hello. It
	// is wrapped beside ErrDial.
	ErrNoExtension = errors.New("the server does not speak the extension")

	// ErrRefused: the server has refused the request, and has not executed it. The error is
	// a *RefusedError, too.
	ErrRefused = errors.New("the server refuses the request")

	// ErrConnLost: the connection ended before the reply came. The cause is
	// wrapped beside it. If the server said before that it has not executed the request,
	// Written is false in the OpError.
	ErrConnLost = errors.New("connection lost")

	// ErrInCallback: a call that would block was made from a callback of the same broker,
	// which may be what it would wait for. Make it on a goroutine of your own.
	ErrInCallback = errors.New(
		"called from a callback of the same broker, which must not block; start a goroutine")

	// ErrClosing: a pool that was given to package anet is closing. A Broker of this package
	// never returns it.
	ErrClosing error = &sentinel{"pool is closing", net.ErrClosed}

	// ErrInvalidMsgLength: the peer sent a length below the ID's or above the
	// format's limit. The connection is closed.
	ErrInvalidMsgLength = framing.ErrInvalidMsgLength

	// ErrMaxLenExceeded: the request does not fit a frame. Nothing was sent.
	ErrMaxLenExceeded = framing.ErrMaxLenExceeded
)

// sentinel is an error that also matches a standard one.
type sentinel struct {
	text string
	also error
}

func (e *sentinel) Error() string   { return e.text }
func (e *sentinel) Is(t error) bool { return t == e.also }

type timeoutError struct{}

func (timeoutError) Error() string     { return "no reply in time" }
func (timeoutError) Timeout() bool     { return true }
func (timeoutError) Temporary() bool   { return true }
func (timeoutError) Is(err error) bool { return err == context.DeadlineExceeded }

// OpError tells which step of a request failed, where, and whether the peer may
// have seen the request. It may be shared between calls and must not be changed.
type OpError struct {
	// Op is the step: "submit", "dial", "write", "wait", "read" or "close".
	Op string
	// Addr is the peer's address as configured; empty if none was chosen.
	Addr string
	// Written is false only if no byte of the request can have been written to
	// a connection, or the server has said that it has not executed the request.
	Written bool
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *OpError) Error() string {
	text := "engine: " + e.Op
	if e.Addr != "" {
		text += " " + e.Addr
	}
	text += ": " + e.Err.Error()
	if _, answered := e.Err.(*RemoteError); e.Written && !answered {
		text += " (the request may have been received)"
	}
	return text
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Timeout implements net.Error.
func (e *OpError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary implements net.Error. It reports what SafeToRetry does.
func (e *OpError) Temporary() bool { return SafeToRetry(e) }

// SafeToRetry reports whether the request of a failed call can be sent again
// without any risk that it is carried out twice: no byte of it was written, or the server
// has not executed it, and a repetition could succeed. It is false for nil, for errors that are not
// of this package, for a closed broker, for a request that cannot be framed, and when the caller's
// own context ended.
func SafeToRetry(err error) bool {
	var op *OpError
	if !errors.As(err, &op) || op.Written {
		return false
	}
	for _, final := range []error{ErrMaxLenExceeded, ErrClosingBroker, ErrQuit, ErrTimeout, ErrInCallback, context.Canceled} {
		if errors.Is(op.Err, final) {
			return false
		}
	}
	return true
}

// contextError turns the end of a caller's context into the error of a call: a
// passed deadline is ErrTimeout, cancellation is the context's own error and
// cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return errContextDeadline
	}
	if cause := context.Cause(ctx); cause != nil && cause != err {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// errContextDeadline is the end of a call by its context's deadline.
var errContextDeadline = fmt.Errorf("%w: the context's deadline", ErrTimeout)

// lost wraps the reason for a connection's end.
func lost(cause error) error {
	return fmt.Errorf("%w: %w", ErrConnLost, cause)
}

// joinErrors wraps both errors in one line of text.
func joinErrors(a, b error) error {
	return fmt.Errorf("%w: %w", a, b)
}

// errReplaced: the connection had a successor, and was not needed any more.
var errReplaced = errors.New("the connection was replaced by a new one")

// errNoAnswer: a connection ended before any reply had come on it.
var errNoAnswer = errors.New("the connection was accepted and ended before any reply")

// limited names the limit that ended a call.
func limited(name string, d time.Duration) error {
	return fmt.Errorf("%w: %s, %v", ErrTimeout, name, d)
}
