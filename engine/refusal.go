package engine

import (
	"fmt"

	"github.com/ringwire/ringwire/framing"
)

// RefusedError is the answer of a server that has not executed the request, see
// Config.Extensions. It is ErrRefused, and ErrTimeout if the time of the request had passed
// when the server came to it.
type RefusedError struct {
	Code uint32 // framing.RefusedOverloaded, RefusedExpired, RefusedGoingAway, or unknown
	Text string // the server's; may be empty

	by *address
}

// Error implements error.
func (e *RefusedError) Error() string {
	return ErrRefused.Error() + reason(refusals[e.Code], e.Code, e.Text)
}

// Is makes the error ErrRefused, and ErrTimeout where it is one.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || e.Timeout() && (target == ErrTimeout || timeoutError{}.Is(target))
}

// Timeout reports whether the time of the request had passed.
func (e *RefusedError) Timeout() bool { return e.Code == framing.RefusedExpired }

var refusals = map[uint32]string{
	framing.RefusedOverloaded: "it is overloaded",
	framing.RefusedExpired:    "the time of the request had passed",
	framing.RefusedGoingAway:  "it is going away",
}

// RemoteError is the answer of a server that has begun to execute the request, and failed,
// see Config.Extensions.
type RemoteError struct {
	Code uint32 // the application's
	Text string // the server's; may be empty
}

// Error implements error.
func (e *RemoteError) Error() string {
	return "the request failed at the server" + reason("", e.Code, e.Text)
}

// reason is the end of the text of an error that a server has sent.
func reason(name string, code uint32, text string) string {
	if name == "" {
		name = fmt.Sprintf("code %d", code)
	}
	if text != "" {
		text = ": " + text
	}
	return ": " + name + text
}

// shuns reports whether the request has been refused by the address.
func (r *request) shuns(a *address) bool { return r.shun&a.bit != 0 }
