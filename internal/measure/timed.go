package measure

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/server"
)

// EveryMost is the largest part of the calls, one of EveryMost, that Timed takes.
const EveryMost = stopwatch.EveryMost

// Timed returns a Client whose calls are those of c; one of so many, every, at random, tells how
// long it took and how it ended. What was not accepted by Go is not told, nor is SendOneWay.
func Timed(c engine.Client, every int, observe func(ctx context.Context, d time.Duration, err error)) engine.Client {
	return &timed{c, uint32(every), observe}
}

type timed struct {
	engine.Client
	every   uint32
	observe func(context.Context, time.Duration, error)
}

// leaves reports whether a call is not timed.
func (t *timed) leaves() bool { return t.every > 1 && rand.Uint32N(t.every) != 0 }

func (t *timed) Send(ctx context.Context, req []byte, opts ...engine.Call) ([]byte, error) {
	if t.leaves() {
		return t.Client.Send(ctx, req, opts...)
	}
	began := time.Now()
	reply, err := t.Client.Send(ctx, req, opts...)
	t.observe(ctx, time.Since(began), err)
	return reply, err
}

func (t *timed) SendInto(ctx context.Context, dst, req []byte, opts ...engine.Call) ([]byte, error) {
	if t.leaves() {
		return t.Client.SendInto(ctx, dst, req, opts...)
	}
	began := time.Now()
	reply, err := t.Client.SendInto(ctx, dst, req, opts...)
	t.observe(ctx, time.Since(began), err)
	return reply, err
}

func (t *timed) Go(ctx context.Context, req []byte, fn func(reply []byte, err error), opts ...engine.Call) error {
	if fn == nil || t.leaves() {
		return t.Client.Go(ctx, req, fn, opts...)
	}
	began := time.Now()
	return t.Client.Go(ctx, req, func(reply []byte, err error) {
		t.observe(ctx, time.Since(began), err) // first: fn may panic
		fn(reply, err)
	}, opts...)
}

func (t *timed) SendBatch(ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error), opts ...engine.Call) error {
	if fn == nil || t.leaves() {
		return t.Client.SendBatch(ctx, reqs, fn, opts...)
	}
	began := time.Now()
	return t.Client.SendBatch(ctx, reqs, func(i int, reply []byte, err error) {
		t.observe(ctx, time.Since(began), err)
		fn(i, reply, err)
	}, opts...)
}

// TimedHandler returns a Handler that is h; each request tells how long it waited and took, and the
// handler's error. One whose handler panics or ends its goroutine tells no error.
func TimedHandler(h server.Handler, observe func(d time.Duration, err error)) server.Handler {
	return server.RequestFunc(func(r *server.Request, dst []byte) (reply []byte, err error) {
		arrival := r.Arrival()
		defer func() { observe(time.Since(arrival), err) }()
		return h.Handle(r, dst)
	})
}
