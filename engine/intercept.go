package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Method is a method of a Client.
type Method string

// The methods of a Client. SendInto is Send.
const (
	MethodSend       Method = "Send"
	MethodGo         Method = "Go"
	MethodSendBatch  Method = "SendBatch"
	MethodSendOneWay Method = "SendOneWay"
)

// Invocation is one call of a method of a Client, as an Interceptor sees it. It is passed by value:
// what an Interceptor changes in its own is what it passes on.
type Invocation struct {
	Method Method

	// Requests are the call's: one, or those of SendBatch. They are the caller's, and must not be
	// changed; an Interceptor may pass on others in their place, as many. They are valid until the
	// method returns.
	Requests [][]byte

	// Call is what the call asks for.
	Call Call

	// Done is told the outcome of each request, by its index: once each, and of Go only if it
	// returns nil. reply is borrowed until Done returns. An Interceptor that wants to know of
	// outcomes, or changes replies, passes on a Done of its own, which calls this one. SendOneWay
	// never calls it.
	//
	// It runs where the function of Go or SendBatch would, mostly on the goroutine that reads: what
	// is said there of functions that block or panic holds for it. With Send it runs on the caller's.
	Done func(i int, reply []byte, err error)

	dst  []byte // of SendInto
	into bool
}

// Invoker carries an Invocation out, and returns what the method returns; replies go to Done. With
// Send, SendInto and SendBatch all is done when it returns.
type Invoker func(ctx context.Context, in Invocation) error

// Interceptor stands between a caller and a Client. It calls next with what it was given, or with
// something else in its place, and returns what that returns; or it does not, and returns an
// error, or has Done told of an outcome of its own. It runs on the caller's goroutine, must be safe
// for concurrent use, and may block where the method may: not in Go, nor in SendOneWay. A panic is
// the caller's.
//
// It may call next again, to repeat what has failed; then its own Done keeps the outcomes that are
// not final to itself. It sees a call once, whatever the broker repeats; a [Trace], which it can
// pass on in Call, sees each attempt.
type Interceptor func(ctx context.Context, in Invocation, next Invoker) error

// Intercept returns a Client whose calls are those of c, and go through interceptors, the first one
// outermost. A Client that is used without Intercept pays nothing for it; one call through it
// costs some 0.2 µs and a few allocations, and each Interceptor what it does.
//
// A program that wants to change one method only, or to put something else in the place of a
// Client, implements the interface itself, by embedding one. nil interceptors are left out.
func Intercept(c Client, interceptors ...Interceptor) Client {
	chain := invoke(c)
	for _, one := range slices.Backward(interceptors) {
		if one != nil {
			next := chain
			chain = func(ctx context.Context, in Invocation) error { return one(ctx, in, next) }
		}
	}
	return &intercepted{c, chain}
}

// errNoOutcome: an interceptor has neither called next, nor told an outcome, nor failed.
var errNoOutcome = &OpError{Op: "submit", Err: errors.New("an interceptor returned nil and the request has no outcome")}

// invoke is the Invoker behind all interceptors.
func invoke(c Client) Invoker {
	return func(ctx context.Context, in Invocation) error {
		var opts []Call
		if in.Call != (Call{}) {
			opts = []Call{in.Call}
		}
		done := in.Done
		switch in.Method {
		case MethodGo:
			return c.Go(ctx, in.Requests[0], func(reply []byte, err error) { done(0, reply, err) }, opts...)
		case MethodSendBatch:
			return c.SendBatch(ctx, in.Requests, done, opts...)
		case MethodSendOneWay:
			return c.SendOneWay(ctx, in.Requests[0])
		}
		var reply []byte
		var err error
		if in.into {
			reply, err = c.SendInto(ctx, in.dst, in.Requests[0], opts...)
		} else {
			reply, err = c.Send(ctx, in.Requests[0], opts...)
		}
		if err != nil {
			done(0, nil, err)
			return err
		}
		done(0, reply[len(in.dst):], nil)
		return nil
	}
}

// intercepted is a Client whose calls go through interceptors.
type intercepted struct {
	client Client
	chain  Invoker
}

func (c *intercepted) Send(ctx context.Context, req []byte, opts ...Call) ([]byte, error) {
	return c.send(ctx, Invocation{Requests: [][]byte{req}, Call: optionsOf(opts)})
}

func (c *intercepted) SendInto(ctx context.Context, dst, req []byte, opts ...Call) ([]byte, error) {
	return c.send(ctx, Invocation{Requests: [][]byte{req}, Call: optionsOf(opts), dst: dst, into: true})
}

// send is Send and SendInto. The outcome that was told last counts, unless the chain fails.
func (c *intercepted) send(ctx context.Context, in Invocation) ([]byte, error) {
	in.Method = MethodSend
	var reply []byte
	told := error(errNoOutcome)
	in.Done = func(_ int, r []byte, err error) { reply, told = r, err }
	err := c.chain(ctx, in)
	if err == nil {
		err = told
	}
	switch n := len(in.dst); {
	case err != nil:
		return in.dst, err
	case n == 0 && !in.into:
		return nonNil(reply), nil
	case len(reply) > 0 && n < cap(in.dst) && &reply[0] == &in.dst[:n+1][n]:
		return in.dst[:n+len(reply)], nil // it is there already
	default:
		return nonNil(append(in.dst, reply...)), nil
	}
}

// nonNil is b, but not nil: a reply never is.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// The states of a Go that goes through interceptors.
const (
	goOpen    int32 = iota
	goTold          // its function was called, or is
	goRefused       // Go returns an error
)

func (c *intercepted) Go(ctx context.Context, req []byte, fn func(reply []byte, err error), opts ...Call) error {
	if fn == nil {
		return c.client.Go(ctx, req, nil, opts...)
	}
	state := new(atomic.Int32)
	err := c.chain(ctx, Invocation{
		Method: MethodGo, Requests: [][]byte{req}, Call: optionsOf(opts),
		Done: func(_ int, reply []byte, err error) {
			if state.CompareAndSwap(goOpen, goTold) { // fn runs once, whatever interceptors do
				fn(reply, err)
			}
		},
	})
	if err != nil && !state.CompareAndSwap(goOpen, goRefused) {
		return nil // fn knows
	}
	return err
}

func (c *intercepted) SendBatch(
	ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error), opts ...Call,
) error {
	if fn == nil {
		return c.client.SendBatch(ctx, reqs, nil, opts...)
	}
	told := make([]atomic.Bool, len(reqs))
	var mu sync.Mutex // guards first
	var first error
	done := func(i int, reply []byte, err error) {
		if i < 0 || i >= len(told) || told[i].Swap(true) {
			return // fn runs once for each, whatever interceptors do
		}
		if err != nil {
			mu.Lock()
			if first == nil {
				first = err
			}
			mu.Unlock()
		}
		fn(i, reply, err)
	}
	err := c.chain(ctx, Invocation{Method: MethodSendBatch, Requests: reqs, Call: optionsOf(opts), Done: done})
	if errors.Is(err, ErrInCallback) {
		return err // it returns without sending
	}
	why := err
	if why == nil {
		why = errNoOutcome
	}
	for i := range told {
		done(i, nil, why)
	}
	mu.Lock()
	defer mu.Unlock()
	if err == nil {
		err = first
	}
	return err
}

func (c *intercepted) SendOneWay(ctx context.Context, req []byte) error {
	return c.chain(ctx, Invocation{Method: MethodSendOneWay, Requests: [][]byte{req}, Done: func(int, []byte, error) {}})
}
