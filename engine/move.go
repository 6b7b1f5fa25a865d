package engine

import (
	"slices"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// strandedRequest is a request whose connection has ended before its reply came.
type strandedRequest struct {
	request
	id     taskid.ID
	at     ring.Position    // of a large frame: how many came before it
	last   bool             // its frame is a large one; they come after the others
	copied *bytepool.Buffer // holds the payload, if no byte of the frame was offered; else nil
}

// finish completes what the connection left open, except that requests of which no byte
// was given to the socket go back to the backlog, in their order and before what waits
// there. Only the link calls it, after fail.
//
// A request is out of the table before it is in the backlog. Both happen under the
// backlog's lock, so a goroutine that gives the request up finds it in one of the two.
func (c *conn) finish() {
	<-c.dead // orders us after op and cause
	b := c.b
	var all []strandedRequest
	b.backlog.mu.Lock()
	// Looked at under the lock: Close empties the backlog after it.
	moves := brokerState(b.state.Load()) != closed
	// Looked at once: what is offered from now on is not written, see offer.
	offered := ring.Position(c.out.offered.Load())
	c.table.Close(func(s *slot, id taskid.ID) {
		r := c.strand(s, id)
		if moves {
			c.salvage(&r, s.V.at, offered)
		}
		c.table.Release(id)
		all = append(all, r)
	})
	slices.SortFunc(all, inOrder)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].copied != nil {
			b.backlog.addFront(&all[i])
		}
	}
	b.backlog.mu.Unlock()
	close(c.finished)
	// All that came before done has been dispatched, so what is open has no reply.
	executed := !c.standing.done.Load()
	err := &OpError{Op: c.op, Addr: c.link.addr.name, Written: executed, Err: c.cause}
	for i := range all {
		if all[i].copied == nil {
			c.ends.failed.Add(1)
			b.callbacks.fail(c.link, all[i].to, err)
		}
	}
	b.backlog.moveOn()
	c.leave()
}

// inOrder orders requests by when they came to the connection.
func inOrder(a, b strandedRequest) int {
	switch {
	case a.last != b.last:
		if b.last {
			return -1
		}
		return 1
	case a.at.Before(b.at):
		return -1
	case b.at.Before(a.at):
		return 1
	}
	return 0
}

// strand makes a request of what the table knows.
func (c *conn) strand(s *slot, id taskid.ID) strandedRequest {
	r := strandedRequest{id: id}
	r.moved = true
	r.to = s.V.to
	r.ticket = ticketOf(r.to)
	r.recall(r.to)
	r.expires = c.b.expiryIn(r.to)
	r.timeout = s.V.at&spotTimeout != 0
	tick, slack := s.Deadline()
	r.deadline, r.attempts = c.b.wholeDeadline(tick, slack)
	if exact, ok := deadlineOf(r.to); ok && r.attempts {
		r.deadline = exact
	}
	return r
}

// salvage copies the payload of a request that was not offered to the socket. The outbox
// does not change any more: nobody takes from it once the connection has ended. What
// lies there is the request's own frame if it has its ID.
func (c *conn) salvage(r *strandedRequest, at spot, offered ring.Position) {
	if at.large() {
		f, ok := c.out.large.take(r.id)
		if !ok {
			return
		}
		r.last, r.at = true, ring.Position(f.nth)
		r.copied, r.payload = f.buf, f.buf.B[c.b.header:]
		return
	}
	p, ok := c.out.ring.Near(at.short())
	if !ok || p.Before(offered) {
		return
	}
	f, n, err := c.b.format.Parse(c.out.ring.From(p))
	if n == 0 || err != nil || f.ID != r.id {
		return
	}
	r.at = p
	payload := f.Payload[c.b.header-c.b.format.HeaderSize():]
	r.copied = bytepool.Get(len(payload))
	r.copied.B = append(r.copied.B[:0], payload...)
	r.payload = r.copied.B
}
