package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// The errors of a pool. Test with errors.Is: most arrive in an [Error].
var (
	// ErrClosed says that the pool was closed. It is net.ErrClosed too.
	ErrClosed = fmt.Errorf("pool is closed: %w", net.ErrClosed)
	// ErrForeign is Put's and Release's for a connection that did not come from
	// this pool, or was released to it already. The pool did not touch it.
	ErrForeign = errors.New("connection is not this pool's; close it yourself")
	// ErrNotLent is Put's and Release's for a connection of this pool that is not
	// lent out: it was put back twice. The pool did not touch it.
	ErrNotLent = errors.New("connection was put back already; do so once for each Get")
	// ErrDialTimeout says that a dial took longer than Config.DialTimeout. It is
	// context.DeadlineExceeded too.
	ErrDialTimeout = fmt.Errorf("no connection within DialTimeout: %w", context.DeadlineExceeded)
)

// Error tells what failed, and where.
type Error struct {
	Op   string // "get", "dial", "put", "release", "wait ready", "shutdown" or "close"
	Addr string // Config.Addr
	Err  error
	// Dial is, for a Get that gave up waiting, the error of the last dial if that
	// failed: it is why there was nothing to get. Else nil.
	Dial error
}

func (e *Error) Error() string {
	s := "pool: " + e.Op
	if e.Addr != "" {
		s += " " + e.Addr
	}
	s += ": " + e.Err.Error()
	if e.Dial != nil {
		s += " (last dial: " + e.Dial.Error() + ")"
	}
	return s
}

// Unwrap returns Err and Dial.
func (e *Error) Unwrap() []error {
	if e.Dial == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Dial}
}
