package engine

import (
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// part is what was taken out of the outbox at once, a chunk of the ring, a large frame or
// control frames, and is written until all of it is with the socket. It is the holder's of the
// right to write.
type part struct {
	b       []byte           // not yet written
	records int              // frames in it
	at      ring.Position    // of b in the ring
	large   *bytepool.Buffer // that b is of, a large frame; nil: b is of the ring,
	control bool             // unless it is control frames
	id      taskid.ID        // of the large frame
	kept    *bytepool.Buffer // that b is of, without frames that were given up; or nil
	size    int              // how long b was with them
}

// ofRing reports whether the part is a chunk of the ring.
func (p *part) ofRing() bool { return p.large == nil && !p.control }

// nextPart takes what is to be written next out of the outbox.
func (c *conn) nextPart() bool {
	o := &c.out
	if o.over.Load() {
		return false
	}
	if o.control.due.Load() != 0 {
		o.part.b, o.part.records = o.control.take(c.b.format)
		o.part.control = true
		o.credit.returned.Add(uint64(len(o.part.b))) // no reply gives their bytes back
		return true
	}
	if o.credit.hold(&o.sent.bytes) {
		return false
	}
	o.part.b, o.part.records, o.part.at = o.ring.Take()
	if len(o.part.b) > 0 {
		now := c.b.clock.now()
		stale := now.Since(o.tookAt) >= staleTicks && c.table.Orphans() > 0
		if stale || o.abandoned.Load() {
			c.dropGivenUp()
		}
		o.tookAt = now
		if len(o.part.b) > 0 {
			return true
		}
		c.finishPart() // nobody waits for any of it
		return c.nextPart()
	}
	f, ok := o.large.pop()
	if ok {
		o.part.large, o.part.b, o.part.records, o.part.id = f.buf, f.buf.B, 1, f.id
		if f.id == taskid.Nobody { // as in submitOneWay, but megabytes make room for others
			o.credit.returned.Add(uint64(len(o.part.b)))
		}
	}
	return ok
}

// dropGivenUp leaves out of the part what was abandoned, and the frames of requests that
// were given up while they waited to be written. That nobody has written for a while is
// seldom, and means that processors or the socket are overloaded: the peer should not be
// asked for more than somebody waits for. The ring keeps its bytes: the end of the
// connection may look for frames there.
func (c *conn) dropGivenUp() {
	o := &c.out
	o.part.kept, o.part.size = bytepool.Get(len(o.part.b)), len(o.part.b)
	rest, kept := o.part.b, o.part.kept.B[:0]
	for len(rest) > 0 {
		f, n, err := c.b.format.Parse(rest)
		if n == 0 || err != nil { // cannot be: these are our own frames
			invariant.Check(false, "engine: the outbox holds something else than frames")
			kept = append(kept, rest...)
			break
		}
		switch {
		case f.ID == taskid.None:
			o.part.records--
		case f.ID != taskid.Nobody && c.table.Withdraw(f.ID):
			o.part.records--
			o.credit.returned.Add(-uint64(n)) // it was given back, and is not sent
		default:
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	o.part.b = kept
}

// attemptWrite makes one attempt to write the part without waiting and reports whether
// all of it went.
func (c *conn) attemptWrite() bool {
	o := &c.out
	if !c.offer() {
		return false
	}
	n, err := c.sock.tryWrite(o.part.b)
	whole := n == len(o.part.b)
	if !whole && err == nil {
		o.stalled.Store(true)
	}
	c.wrote(n, err)
	return whole
}

// offer says, before it happens, that the part is given to the socket. It reports false
// when the connection has ended: the end looks at what was offered after it has changed
// the phase, we look at the phase after we have offered. So what the end takes for
// unwritten is not written.
func (c *conn) offer() bool {
	o := &c.out
	if o.part.ofRing() {
		n := len(o.part.b)
		if o.part.kept != nil { // positions in it are not those in the ring
			n = o.part.size
		}
		o.offered.Store(uint64(o.part.at) + uint64(n))
	}
	return c.phase.Load() < phaseEnded
}

// wrote notes that the socket has taken n bytes of the part, and what it said.
func (c *conn) wrote(n int, err error) {
	o := &c.out
	o.sent.bytes.Add(uint64(n))
	o.sent.writes.Add(1)
	o.part.b = o.part.b[n:]
	if o.part.ofRing() && o.part.kept == nil {
		o.part.at += ring.Position(n)
		if !c.sock.unsure(err) {
			o.offered.Store(uint64(o.part.at))
		}
	}
	if o.traced.n.Load() != 0 {
		c.noteWritten()
	}
	if len(o.part.b) == 0 {
		if o.part.control {
			o.control.sent.Add(uint64(o.part.records))
		}
		o.sent.frames.Add(uint64(o.part.records))
		c.finishPart()
	}
	if err != nil {
		c.fail("write", lost(err))
	}
}

// finishPart gives the memory of the part back.
func (c *conn) finishPart() {
	o := &c.out
	o.part.b, o.part.records = nil, 0
	if o.part.control {
		o.part.control = false
		return
	}
	if o.part.kept != nil {
		bytepool.Put(o.part.kept)
		o.part.kept = nil
	}
	if o.part.large != nil {
		bytepool.Put(o.part.large)
		o.part.large = nil
		return
	}
	o.ring.Done()
}
