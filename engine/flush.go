package engine

import (
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// popBatch is how many IDs are taken from the queue at once.
	popBatch = 256
	// writeBytes is when a batch is written although more is queued.
	writeBytes = 64 << 10
	// heldBytes is when who submits under the token writes although it has more to
	// submit, so that the server works on one half of a large window while the
	// client works on the other.
	heldBytes = 32 << 10
	// keepOutBytes is the largest write buffer kept for the next batch.
	keepOutBytes = 256 << 10
	// inlineRounds bounds how long a submitter serves others before it hands the
	// token to the flusher.
	inlineRounds = 4
	// retirePoll is how often a flusher whose connection ended asks for the token.
	retirePoll = time.Millisecond
)

// kick makes sure that what was pushed is written: by the reader that gathers, by
// whoever holds the token, or by taking it. A lone request is written on the spot,
// without a change of goroutine; with company it is left to the flusher, which
// lets the others add theirs.
func (c *conn) kick() {
	if c.gathering.Load() || c.token.Load() != idle || !c.token.CompareAndSwap(idle, busy) {
		return
	}
	if c.open() <= 1 {
		c.flushNow()
		return
	}
	c.handOver()
}

// flushNow writes what is queued without blocking and lets the token go. What the
// socket does not take at once is left to the flusher.
func (c *conn) flushNow() {
	if c.raw == nil {
		c.handOver()
		return
	}
	for range inlineRounds {
		more := c.drain()
		if !c.tryWrite() {
			break
		}
		if !more && c.letGo() {
			return
		}
	}
	c.handOver()
}

// handOver passes the token to the flusher.
func (c *conn) handOver() {
	if c.gone {
		for c.discard(); !c.letGo(); {
			c.discard()
		}
		return
	}
	c.wake <- struct{}{} // never blocks: the token is handed over once at a time
}

// letGo gives the token back. It reports false when requests were queued in the
// meantime and nobody else took the token for them: then the caller holds it
// again.
func (c *conn) letGo() bool {
	c.token.Store(idle)
	return c.queue.Empty() || !c.token.CompareAndSwap(idle, busy)
}

// flush is the flusher: the only goroutine that may block in a write.
func (c *conn) flush() {
	defer c.b.wg.Done()
	setRole("flusher")
	for {
		select {
		case <-c.wake:
			c.flushAll()
		case <-c.dead:
			c.retireQueue()
			c.leave()
			return
		}
	}
}

// flushAll writes until the queue is empty. It yields before each batch when
// requests are in flight, because their callers are about to be ready or just
// became so: one system call then carries them all (gorpc and fasthttp do
// the same).
func (c *conn) flushAll() {
	for {
		if c.open() > 1 {
			runtime.Gosched()
		}
		for more := true; more; {
			more = c.drain()
			c.writeAll()
		}
		if c.letGo() {
			return
		}
	}
}

// drain moves frames from the queue to the write buffer. It reports whether it
// stopped because the buffer is full; then the token must not be let go before it
// was called again.
func (c *conn) drain() (more bool) {
	if c.over.Load() {
		c.discard()
		return false
	}
	deadline := c.b.clock.after(c.b.readTicks)
	frames := uint64(0)
	for !more {
		if c.nextID == c.endID {
			c.nextID, c.endID = 0, c.queue.PopInto(c.ids[:])
		}
		if c.endID == 0 {
			break
		}
		for c.nextID < c.endID && !more {
			if c.take(c.ids[c.nextID], deadline) {
				frames++
				c.unwritten++
			}
			c.nextID++
			more = len(c.out)-c.written >= writeBytes
		}
	}
	c.framesOut.Add(frames)
	c.signalRoom()
	return more
}

// take appends one request's frame to the write buffer, unless it was given up.
func (c *conn) take(id taskid.ID, deadline taskid.Tick) bool {
	s, wanted := c.table.Queued(id)
	if !wanted {
		c.table.Unqueue(s)
		return false
	}
	mark := len(c.out)
	c.out = append(c.out, s.Buf.B...)
	// Marked after the copy: until then the reader would take a reply with this
	// ID for an invention, so it cannot write over the frame.
	if !c.table.MarkSent(s, deadline) {
		c.out = c.out[:mark]
		return false
	}
	return true
}

// discard empties the queue of a connection that has ended. The requests stay
// open until the link completes them as not written.
func (c *conn) discard() {
	c.emptied()
	for {
		for _, id := range c.ids[c.nextID:c.endID] {
			s, _ := c.table.Queued(id)
			c.table.Unqueue(s)
		}
		c.nextID, c.endID = 0, c.queue.PopInto(c.ids[:])
		if c.endID == 0 {
			return
		}
	}
}

// tryWrite makes one attempt to write the buffer without blocking and reports
// whether all of it went.
func (c *conn) tryWrite() bool {
	if c.written == len(c.out) {
		return true
	}
	c.tryN, c.tryErr = 0, nil
	if err := c.raw.Write(c.attempt); err != nil && c.tryErr == nil {
		c.tryErr = err
	}
	c.clogged = c.tryN < len(c.out)-c.written
	c.wrote(c.tryN)
	if c.tryErr != nil {
		c.fail("write", lost(c.tryErr))
		return true
	}
	return len(c.out) == 0
}

// writeOnce runs inside raw.Write. It always reports done, so that raw.Write
// never waits for the descriptor.
func (c *conn) writeOnce(fd uintptr) bool {
	c.tryN, c.tryErr = rawio.Write(fd, c.out[c.written:])
	return true
}

// writeAll writes the buffer. What the socket does not take at once it waits for,
// watched by the sweeper.
func (c *conn) writeAll() {
	if c.raw != nil && c.tryWrite() || c.written == len(c.out) {
		return
	}
	c.writing.Store(uint32(c.b.clock.now()))
	n, err := c.net.Write(c.out[c.written:])
	c.writing.Store(0)
	c.wrote(n)
	if err != nil {
		c.fail("write", lost(err))
	}
}

// wrote notes that n more bytes are out.
func (c *conn) wrote(n int) {
	c.written += n
	c.bytesOut.Add(uint64(n))
	c.writes.Add(1)
	if c.written < len(c.out) {
		return
	}
	c.emptied()
}

// emptied begins the write buffer anew.
func (c *conn) emptied() {
	c.written, c.unwritten, c.clogged = 0, 0, false
	if cap(c.out) > keepOutBytes {
		c.out = nil
		return
	}
	c.out = c.out[:0]
}

// retireQueue waits for the token of a connection that has ended, empties the
// queue and leaves the token to whoever still pushes: from now on handOver
// discards. It polls because a reader that runs callbacks holds the token for as
// long as they take.
func (c *conn) retireQueue() {
	for !c.token.CompareAndSwap(idle, busy) {
		select {
		case <-c.wake:
		case <-time.After(retirePoll):
			continue
		}
		break
	}
	c.gone = true
	c.handOver()
}
