package engine

import (
	"runtime"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// largeMax is how many frames longer than a chunk an outbox holds, and as many more as
	// there are submitters that see room at the same moment.
	largeMax = 4
	// writesMax bounds how much somebody other than the flusher writes before it lets the
	// right go: as much as an outbox holds.
	writesMax = ring.Chunks + largeMax
	// staleTicks is after how long without a write it is looked whether what waits has
	// been given up.
	staleTicks = 2
	// placeTries is how often a submitter that finds the outbox full tries to make room.
	placeTries = 64
	// writePiece is how much is given to a socket at a time that must be waited for. Each
	// piece has WriteTimeout to itself, so a steady link may be slow.
	writePiece = 64 << 10
)

// outbox is the sending half of a connection: frames on their way to the socket, and
// the right to write them.
//
// A submitter frames its request straight into the ring and publishes it, then looks at
// the right to write (conn.kick). The poller, and a reader that has something to
// dispatch, promise to write: what they cause to be submitted then leaves together.
// Otherwise a lone request is written by its submitter at once, and one in company is
// left to the flusher, the right's keeper, which lets the others add theirs. Only the
// flusher ever waits in a write.
//
// A request is in the outbox to be written: it is not taken back when its caller gives
// up. When the connection ends, what was never offered to the socket goes back to the
// backlog (conn.finish). What must wait longer, because the socket takes nothing, waits
// there too.
type outbox struct {
	// Read by every submitter, and seldom written.
	ring  *ring.Bytes
	right baton.Right
	// stalled says that the socket has not taken all it was offered, and that the flusher
	// waits or is about to. Then the outbox takes nothing.
	stalled atomic.Bool
	// writing is the tick at which a write began that waits for the peer, or the last one of
	// a part that is not written whole, 0 if none.
	writing atomic.Uint32
	large   largeFrames
	control controls // of the extension
	traced  tracedFrames
	// over says that the connection has ended: nothing is taken out any more.
	over atomic.Bool
	// abandoned says that the ring holds, or held, frames that are not to be sent.
	abandoned atomic.Bool

	// What follows belongs to the holder of the right.
	_      cacheline.Pad
	part   part
	tookAt taskid.Tick // when something was last taken from the ring
	// offered is a position in the ring: no byte from there on has been given to the
	// socket.
	offered atomic.Uint64
	sent    struct{ bytes, writes, frames atomic.Uint64 }
	_       cacheline.Pad

	credit credit
	_      cacheline.Pad
}

// ready reports whether there is something to write. Anybody may ask.
func (o *outbox) ready() bool {
	return (o.ring.Ready() || o.large.n.Load() > 0) && !o.over.Load() && !o.credit.hold(&o.sent.bytes) ||
		o.control.due.Load() != 0 && !o.over.Load()
}

// requests returns how many requests were written. It may be too small for a moment.
func (o *outbox) requests() int64 {
	return int64(o.sent.frames.Load() - o.control.sent.Load())
}

// kick sees to it that what was published is written: the goroutine that has the right,
// or has promised to write, will look again; if there is none, the caller takes the
// right.
func (c *conn) kick() {
	if c.out.right.State() != baton.Free || !c.out.right.Take() {
		return
	}
	if c.sock.triesWrites() && c.open() <= 1 {
		c.writeSome()
		c.endWriting()
		return
	}
	c.out.right.Keep()
}

// endWriting frees the right that the caller holds, when it has written what there was.
func (c *conn) endWriting() {
	o := &c.out
	for range writesMax {
		if o.stalled.Load() {
			break
		}
		if !o.right.Release(o.ready) {
			return
		}
		if !c.sock.triesWrites() {
			break
		}
		c.writeSome()
	}
	o.right.Keep()
}

// relieve makes room in a full outbox. It writes if the right is free, or on behalf of
// the goroutine that has promised to write; while another goroutine writes, it lets that
// go on. Where single attempts to write are impossible it leaves the writing to the
// flusher. It reports whether the socket takes bytes.
func (c *conn) relieve() (moves bool) {
	o := &c.out
	switch {
	case o.stalled.Load() || o.credit.held.Load() || c.phase.Load() != phaseUp:
		return false
	case !c.sock.triesWrites():
		// The goroutine that has promised to write may be in a callback that submits.
		if !o.right.Revoke() {
			c.kick()
		}
		runtime.Gosched()
	case o.right.Take():
		c.writeSome()
		c.endWriting()
	case o.right.Borrow():
		c.writeSome()
		c.renewPromise()
	default:
		runtime.Gosched()
	}
	return !o.stalled.Load()
}

// renewPromise ends a write that was done for a promise. When the socket takes no more
// the flusher writes, and the promise is over.
func (c *conn) renewPromise() {
	if c.out.stalled.Load() {
		c.out.right.Keep()
	} else {
		c.out.right.Renew()
	}
}

// redeem writes what there is. Only the goroutine that has promised to write calls it. It
// promises anew when the promise was taken and the right is free again: with several
// connections it often is taken, and submitters and the flusher then write frame by frame.
func (c *conn) redeem() {
	c.checkOffGuard()
	o := &c.out
	if !o.ready() {
		return
	}
	if o.right.Redeem() || o.right.Take() {
		c.writeSome()
		c.renewPromise()
	}
}

// promised reports whether there is a promise, borrowed or not. To see it renewed counts:
// it may have been borrowed when it was asked for.
func (o *outbox) promised() bool {
	s := o.right.State()
	return s == baton.Promised || s == baton.Borrowed
}

// endPromise writes what there is and ends the promise to write, if there still is one.
func (c *conn) endPromise() {
	o := &c.out
	for !o.right.Redeem() {
		if !o.promised() {
			return
		}
		runtime.Gosched() // the goroutine that relieves the outbox makes single attempts
	}
	if o.ready() && c.sock.triesWrites() {
		c.writeSome()
	}
	c.endWriting()
}

// writeSome writes what there is without waiting, as much as an outbox holds. What the
// socket does not take leaves the outbox stalled. The caller holds the right.
func (c *conn) writeSome() {
	for range writesMax {
		if len(c.out.part.b) == 0 && !c.nextPart() {
			break
		}
		if !c.attemptWrite() {
			break
		}
	}
	c.b.backlog.moveOn()
}

// flush is the flusher: the only goroutine that may wait in a write.
func (c *conn) flush() {
	defer c.b.wg.Done()
	role.Set("flusher")
	o := &c.out
	for {
		select {
		case <-o.right.Wait():
		case <-c.dead:
			c.emptyOutbox()
			c.leave()
			return
		}
		for again := true; again; again = o.right.Release(o.ready) {
			if c.open() > 1 && !o.stalled.Load() {
				// Their callers are about to be ready, or just became so: one write then carries
				// them all (gorpc and fasthttp do the same).
				runtime.Gosched()
			}
			c.writeAll()
			c.b.backlog.moveOn()
		}
	}
}

// emptyOutbox gives the memory of an outbox back whose connection has ended. It waits
// for the goroutine that writes, which is a matter of single attempts, and keeps the
// right for good.
func (c *conn) emptyOutbox() {
	o := &c.out
	for !o.right.Take() {
		o.right.Revoke()
		select {
		case <-o.right.Wait():
		default:
			runtime.Gosched()
			continue
		}
		break
	}
	<-c.finished
	if len(o.part.b) > 0 {
		c.finishPart()
	}
	for f, ok := o.large.pop(); ok; f, ok = o.large.pop() {
		bytepool.Put(f.buf)
	}
	for b, _, _ := o.ring.Take(); len(b) > 0; b, _, _ = o.ring.Take() {
		o.ring.Done()
	}
}

// writeAll writes until the outbox is empty. It waits for the socket, watched by the
// clock.
func (c *conn) writeAll() {
	o := &c.out
	for len(o.part.b) > 0 || c.nextPart() {
		if c.sock.triesWrites() && c.attemptWrite() {
			o.writing.Store(0)
			continue
		}
		if len(o.part.b) == 0 || !c.offer() {
			break
		}
		o.writing.Store(uint32(c.b.clock.now()))
		c.b.clock.rouse() // of a one-way request it knows nothing else
		n, err := c.sock.waitWrite(o.part.b)
		if n == len(o.part.b) || err != nil {
			o.writing.Store(0) // else the clock would see an empty outbox between two pieces
		}
		c.wrote(n, err)
		o.stalled.Store(false)
		c.b.backlog.moveOn()
	}
	o.writing.Store(0)
	o.stalled.Store(false)
}
