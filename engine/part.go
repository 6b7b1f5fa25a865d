package engine

import (
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// A part is what is taken out of the outbox at once, a chunk of the ring or a large frame,
// and written until all of it is with the socket. Whoever has the right to write has it.

// nextPart takes what is to be written next out of the outbox.
func (c *conn) nextPart() bool {
	o := &c.out
	if o.over.Load() || o.hold() {
		return false
	}
	o.part, o.records, o.at = o.ring.Take()
	if len(o.part) > 0 {
		now := c.b.clock.now()
		if now.Since(o.tookAt) >= staleTicks && c.table.Orphans() > 0 {
			c.dropGivenUp()
		}
		o.tookAt = now
		if len(o.part) > 0 {
			return true
		}
		c.finishPart() // nobody waits for any of it
		return c.nextPart()
	}
	f, ok := o.large.pop()
	if ok {
		o.buffer, o.part, o.records = f.buf, f.buf.B, 1
	}
	return ok
}

// dropGivenUp leaves out of the part the frames of requests that were given up while they
// waited to be written. That nobody has written for a while is seldom, and means that
// processors or the socket are overloaded: the peer should not be asked for more than
// somebody waits for. The ring keeps its bytes: the end of the connection may look for
// frames there.
func (c *conn) dropGivenUp() {
	o := &c.out
	o.rest, o.restOf = bytepool.Get(len(o.part)), len(o.part)
	rest, kept := o.part, o.rest.B[:0]
	for len(rest) > 0 {
		f, n, err := c.b.format.Parse(rest)
		if n == 0 || err != nil { // cannot be: these are our own frames
			invariant.Check(false, "engine: the outbox holds something else than frames")
			kept = append(kept, rest...)
			break
		}
		if f.ID != taskid.Nobody && c.table.Withdraw(f.ID) {
			o.records--
			o.returned.Add(-uint64(n)) // it was given back, and is not sent
		} else {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	o.part = kept
}

// attemptWrite makes one attempt to write the part without waiting and reports whether
// all of it went.
func (c *conn) attemptWrite() bool {
	o := &c.out
	if !c.offer() {
		return false
	}
	o.tryN, o.tryErr = 0, nil
	if err := c.rawOut.Write(c.writeOnce); err != nil && o.tryErr == nil {
		o.tryErr = err
	}
	whole := o.tryN == len(o.part)
	if !whole && o.tryErr == nil {
		o.stalled.Store(true)
	}
	c.wrote(o.tryN, o.tryErr)
	return whole
}

// writeAttempt runs inside raw.Write. It always reports done, so that raw.Write never
// waits for the descriptor.
func (c *conn) writeAttempt(fd uintptr) bool {
	c.out.tryN, c.out.tryErr = rawio.Write(fd, c.out.part)
	return true
}

// offer says, before it happens, that the part is given to the socket. It reports false
// when the connection has ended: the end looks at what was offered after it has changed
// the phase, we look at the phase after we have offered. So what the end takes for
// unwritten is not written.
func (c *conn) offer() bool {
	o := &c.out
	if o.buffer == nil {
		n := len(o.part)
		if o.rest != nil { // positions in it are not those in the ring
			n = o.restOf
		}
		o.offered.Store(uint64(o.at) + uint64(n))
	}
	return c.phase.Load() < phaseEnded
}

// wrote notes that the socket has taken n bytes of the part, and what it said.
func (c *conn) wrote(n int, err error) {
	o := &c.out
	o.bytesOut.Add(uint64(n))
	o.writes.Add(1)
	o.part = o.part[n:]
	if o.buffer == nil && o.rest == nil {
		o.at += ring.Position(n)
		if err == nil || c.rawOut != nil { // what others say after an error is no proof
			o.offered.Store(uint64(o.at))
		}
	}
	if len(o.part) == 0 {
		o.framesOut.Add(uint64(o.records))
		c.finishPart()
	}
	if err != nil {
		c.fail("write", lost(err))
	}
}

// finishPart gives the memory of the part back.
func (c *conn) finishPart() {
	o := &c.out
	o.part, o.records = nil, 0
	if o.rest != nil {
		bytepool.Put(o.rest)
		o.rest = nil
	}
	if o.buffer != nil {
		bytepool.Put(o.buffer)
		o.buffer = nil
		return
	}
	o.ring.Done()
}
