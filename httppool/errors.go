package httppool

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/ringwire/ringwire/balance"
)

// The errors of a pool. Test with errors.Is: most arrive in an [Error]. When a context ends its
// error is context.DeadlineExceeded or context.Canceled, and its cause too.
var (
	// ErrNoHealthyServer says that no server takes requests now: there is none, or all are
	// down. It is balance.ErrNoPoolsAvailable too.
	ErrNoHealthyServer = fmt.Errorf("no healthy server: %w", balance.ErrNoPoolsAvailable)
	// ErrClosed says that Shutdown was called. It is net.ErrClosed too.
	ErrClosed = fmt.Errorf("pool is closed: %w", net.ErrClosed)
	// ErrOtherHost says that a request is for a host that is neither the pool's name nor one of
	// its servers, after a redirect for instance. Nothing was sent.
	ErrOtherHost = errors.New("host is not the pool's")
	// ErrReleased says that a connection was used or released after it was released.
	ErrReleased = errors.New("connection was released; get another one")
)

// errElsewhere tells a waiter of a server that this takes no requests now.
var errElsewhere = errors.New("server takes no requests now")

// Error tells what failed, and where.
type Error struct {
	Op     string // "get", "dial", "request", "release", "shutdown"
	Server string // scheme://host:port, if it is about one
	Err    error
}

func (e *Error) Error() string {
	if e.Server == "" {
		return "httppool: " + e.Op + ": " + e.Err.Error()
	}
	return "httppool: " + e.Op + " " + e.Server + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// timeout is an error that is a net.Error's timeout and context.DeadlineExceeded.
type timeout string

func (t timeout) Error() string   { return string(t) }
func (t timeout) Timeout() bool   { return true }
func (t timeout) Temporary() bool { return true }
func (t timeout) Unwrap() error   { return context.DeadlineExceeded }

// ended is the error of a context that has ended, and its cause if somebody has given one.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Timeout reports whether Err is a timeout, for net.Error.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}
