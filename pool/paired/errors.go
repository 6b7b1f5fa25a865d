package paired

import (
	"errors"
	"net"
)

// The errors of a Pool, mostly wrapped; compare them with errors.Is.
var (
	// ErrClosed: the pool has been closed. It also is net.ErrClosed.
	ErrClosed error = closedError{}

	// ErrNotFound: no connection of that ID is ready. It was never here, has
	// ended, or somebody holds it.
	ErrNotFound = errors.New("no connection of this ID is ready")

	// ErrFull: Put found the pool above its capacity, which shrinks when dials
	// fail, and closed the connection.
	ErrFull = errors.New("the pool is full; the connection was closed")

	// ErrUnread: Put found bytes that nobody has read, and closed the
	// connection, because its next owner would take them for an answer. Read
	// the whole reply before Put.
	ErrUnread = errors.New("unread bytes wait on the connection; it was closed")

	// ErrBroken: Put found a connection whose end has come, or on which a read
	// or write failed, and closed it.
	ErrBroken = errors.New("the connection is broken; it was closed")

	// ErrForeign: Put was given a connection that is not from this pool, or not
	// the one of this ID, and closed it.
	ErrForeign = errors.New("the connection is not this pool's under this ID; it was closed")

	// ErrReturned: the connection was put back or closed before. It was not
	// touched: it may have another owner by now. It also is net.ErrClosed.
	ErrReturned error = returnedError{}
)

type closedError struct{}

func (closedError) Error() string   { return "the pool is closed" }
func (closedError) Is(t error) bool { return t == net.ErrClosed }

type returnedError struct{}

func (returnedError) Error() string   { return "the connection was given back already" }
func (returnedError) Is(t error) bool { return t == net.ErrClosed }

// GetError says why no connection was handed out. It is a net.Error.
type GetError struct {
	// ID is the connection that was asked for; empty if any would have done.
	ID string
	// Err is the reason: the error of the context that ended, ErrNotFound joined
	// to it if an ID was asked for, or ErrClosed.
	Err error
	// Last is the pool's latest failure to get a connection, if it has had none
	// since; nil otherwise.
	Last error
}

// Error implements error.
func (e *GetError) Error() string {
	text := "paired: get: "
	if e.ID != "" {
		text = "paired: get " + clip(e.ID) + ": "
	}
	text += e.Err.Error()
	if e.Last != nil {
		text += " (last failure: " + e.Last.Error() + ")"
	}
	return text
}

// Unwrap returns the reason and the pool's latest failure.
func (e *GetError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Last}
}

// Timeout reports whether the context's deadline was the reason.
func (e *GetError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary reports whether another attempt could succeed: the pool is open.
func (e *GetError) Temporary() bool { return !errors.Is(e.Err, ErrClosed) }
