package server

import (
	"context"
	"net"
)

// life is the context of a connection.
type life struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// Context returns a context that ends with the connection, also when the time of a Shutdown
// is up and the connection is cut. It has no deadline; its cause is then net.ErrClosed. The
// first call makes it, the others return the same.
func (c *Conn) Context() context.Context {
	r := c.needRare()
	if l := r.life.Load(); l != nil {
		return l.ctx
	}
	l := new(life)
	l.ctx, l.end = context.WithCancelCause(context.Background())
	if !r.life.CompareAndSwap(nil, l) {
		l.end(nil)
		return r.life.Load().ctx
	}
	// The loop may be stuck in a handler that asks only now: then the cut has found no context.
	if c.at() == phaseEnded || c.cutting.Load() {
		l.end(net.ErrClosed)
	}
	return l.ctx
}

// endContext ends the context on a goroutine of its own: those that were made from it are
// the application's, and there may be many.
func (c *Conn) endContext() {
	r := c.rare.Load()
	if r == nil {
		return
	}
	if l := r.life.Load(); l != nil && l.ctx.Err() == nil {
		go l.end(net.ErrClosed)
	}
}
