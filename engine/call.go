package engine

import (
	"context"

	"github.com/ringwire/ringwire/taskid"
)

// slot is a request's place in its connection's table.
type slot = taskid.Slot[call]

// call is what the broker keeps for a request beside its bytes. It belongs to
// whoever owns the slot: the submitter until the slot is armed, then who wins the
// completion, then, for a blocking call, the caller that was woken.
//
// How the outcome is delivered depends on which field is set: fn (Go), batch
// (SendBatch), else done (Send, SendInto).
type call struct {
	dst    []byte        // blocking: where the reply is appended
	err    error         // blocking: the outcome, if it is not a reply
	done   chan struct{} // blocking: receives one token; capacity 1
	fn     func(reply []byte, err error)
	batch  *batch
	index  int32       // of the request in its batch
	leads  bool        // blocking: the caller may read its own reply
	unbind func() bool // ends the watch on the context of a Go call
}

// complete delivers the outcome of a request whose completion the caller of
// complete has won. reply is borrowed from the connection's read buffer.
//
// For callbacks the slot is released first: the reply does not live in it, and
// a callback that sends the next request may get it back.
func (c *conn) complete(s *slot, reply []byte, err error) {
	v := &s.V
	switch {
	case v.fn != nil:
		fn, unbind := v.fn, v.unbind
		v.fn, v.unbind = nil, nil
		c.release(s)
		if unbind != nil {
			unbind()
		}
		fn(reply, err)
	case v.batch != nil:
		batch, index := v.batch, v.index
		v.batch = nil
		c.release(s)
		batch.finish(int(index), reply, err)
	default:
		v.err = err
		if err == nil {
			c.store(s, reply)
		}
		v.done <- struct{}{} // the slot is now the caller's
		if err != nil && c.reading.Load() == led {
			c.interrupt()
		}
	}
}

// store keeps a reply for a blocking caller: in its own memory if there is room,
// else in the slot's, from where the caller copies it, so that the reader does
// not allocate on a caller's behalf.
func (c *conn) store(s *slot, reply []byte) {
	v := &s.V
	if cap(v.dst)-len(v.dst) >= len(reply) {
		v.dst = append(v.dst, reply...)
		s.Buf.B = s.Buf.B[:0]
		return
	}
	s.Buf.B = append(s.Buf.Reserve(len(reply), c.b.pooled), reply...)
}

// await blocks until the request is complete, or gives it up when ctx ends. It
// returns the caller's slice, grown by the reply.
func (c *conn) await(ctx context.Context, s *slot) ([]byte, error) {
	v := &s.V
	if c.reading.Load() == standing || !c.lead(s) {
		c.wait(ctx, s)
	}
	dst, err := v.dst, v.err
	if err == nil {
		dst = append(dst, s.Buf.B...)
	}
	v.dst, v.err = nil, nil
	if !c.b.pooled {
		v.done = nil
	}
	c.release(s)
	return dst, err
}

// wait blocks until another goroutine has completed the request, or gives it up
// when ctx ends.
func (c *conn) wait(ctx context.Context, s *slot) {
	v := &s.V
	ended := ctx.Done()
	if ended == nil {
		<-v.done
		return
	}
	select {
	case <-v.done:
	case <-ended:
		if _, won, sent := c.table.Cancel(s.ID()); won {
			c.cancelled.Add(1)
			v.err = &OpError{Op: "wait", Addr: c.link.addr, Written: sent, Err: contextError(ctx)}
		} else {
			<-v.done // the outcome is being delivered this moment
		}
	}
}

// release gives the slot back and tells a submitter that waits for room.
func (c *conn) release(s *slot) {
	if c.holds() {
		c.stash.Release(s)
		return // unhold tells
	}
	c.table.Release(s)
	c.signalRoom()
}
