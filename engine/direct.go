package engine

import (
	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/taskid"
)

// Submitting under the token. Who holds the token and has many requests to
// submit, the reader that runs callbacks and SendBatch, frames them straight into
// the write buffer: no ring, no second copy, and a slot changes hands without the
// table's list. Requests that callbacks make through Go come to us by way of the
// user's code, so they are known by their goroutine.

// seize takes the token, if it is free, for the running goroutine to submit under.
func (c *conn) seize() bool {
	if c.token.Load() != idle || !c.token.CompareAndSwap(idle, busy) {
		return false
	}
	c.holder.Store(uintptr(goroutine.Self()))
	return true
}

// holds reports whether the running goroutine submits under the token.
func (c *conn) holds() bool {
	h := c.holder.Load()
	return h != 0 && h == uintptr(goroutine.Self())
}

// unhold ends that. The token stays with the caller, who must write what there is
// and let it go.
func (c *conn) unhold() {
	c.holder.Store(0)
	c.acceptedHeld.Add(c.held)
	c.framesOut.Add(c.held)
	c.held = 0
	if c.stash.Return() {
		c.signalRoom()
	}
}

// enqueueHeld is enqueue for the holder: the frame goes to the write buffer.
func (c *conn) enqueueHeld(req []byte, deadline taskid.Tick, prepare func(*slot)) (*slot, error) {
	if c.over.Load() {
		return nil, c.lostError(false)
	}
	if c.clogged && c.unwritten >= c.b.cfg.QueueSize {
		return nil, c.errFull
	}
	s := c.stash.Acquire()
	if s == nil {
		return nil, c.errFull
	}
	out, err := c.b.format.Append(c.out, s.ID(), req)
	if err != nil {
		c.table.Discard(s)
		return nil, &OpError{Op: "submit", Addr: c.link.addr, Err: err}
	}
	prepare(s)
	if !c.table.ArmSent(s, deadline.Earlier(c.b.clock.after(c.b.readTicks))) {
		c.takeBack(s) // the frame lies beyond the end of c.out
		return nil, c.lostError(false)
	}
	c.out = out
	c.held++
	c.unwritten++
	c.b.clock.rouse()
	if len(c.out)-c.written >= heldBytes && !c.clogged && c.raw != nil {
		c.tryWrite()
	}
	return s, nil
}
