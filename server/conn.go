package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one client's connection, as a handler sees it. Its methods may be called
// by anybody at any time, after the connection's end too.
//
// Invariants. One goroutine, the connection's event loop, reads, parses and
// writes; it owns the fields of the group "loop". Nothing is written after the
// first failed write or after the end. Any other goroutine only changes the atomics and
// then wakes the loop. A frame's bytes are in the read buffer, in staged or in a request,
// never in two of them.
//
// An idle connection is mostly this: a test keeps it within 256 bytes, a size that
// the allocator has.
type Conn struct {
	srv           *Server
	id            uint64
	local, remote net.Addr
	ext           atomic.Pointer[extension] // set by the loop; nil unless its client speaks it
	rare          atomic.Pointer[rare]      // nil until the application asks for something in it

	// Set once, before anybody but the loop knows the connection.
	link link
	loop *loop

	// The loop's.
	input    *input               // bytes that could not be parsed yet; nil if none
	unsent   int                  // bytes given to link that the peer has not taken
	handed   uint64               // bytes ever given to link
	taken    uint64               // handed - unsent when progress was last looked for
	marked   uint64               // taken when there was progress last
	progress int64                // clock then
	desk     atomic.Pointer[desk] // set by the loop; nil until a request leaves it, and when idle
	resume   *time.Timer          // wakes a blocked connection
	inflight int32                // requests that have left the loop and are not collected

	quiet int32 // ticks without a read; the drain's
	slot  int32 // index in the registry; guarded by its mutex

	// The loop's again.
	block  block // why parsing stopped, for this turn
	spoke  bool  // a whole frame has arrived
	served bool  // a frame was handled in an earlier turn
	deaf   bool  // the event loop does not read it
	listed bool  // in loop.cut
	waits  uint8 // of resume in a row in which nothing has moved

	// The loop writes, the sweep and the drain read.
	watch      atomic.Uint32 // watch bits
	lastRead   atomic.Int64  // clock of the last read
	frameSince atomic.Int64  // clock when the incomplete frame began, and pieces; 0 if none
	held       atomic.Int64  // bytes staged and unsent

	// Anybody writes.
	cutAt   atomic.Int64  // clock at which the sweep closes it; 0 never
	quietAt atomic.Int64  // clock at which the drain found it quiet
	phase   atomic.Uint32 // how far it is on its way to the end: see phase
	why     atomic.Uint32 // reason; the first one stays
	woken   atomic.Bool   // a wake is on its way to the loop
	cutting atomic.Bool   // a close is on its way to the loop
	reapMu  sync.Mutex    // after ended: its holder is the consumer of the desk's ring
}

// rare is what few connections have.
type rare struct {
	value  atomic.Pointer[any]
	pushed pushed
	life   atomic.Pointer[life] // nil until somebody asks for the context
}

// needRare returns what is made by the first call.
func (c *Conn) needRare() *rare {
	if r := c.rare.Load(); r != nil {
		return r
	}
	c.rare.CompareAndSwap(nil, new(rare))
	return c.rare.Load()
}

// link is what a connection needs of its front.
type link interface {
	// write takes all of p, buffering what the peer does not take now. After an
	// error the connection has ended. Loop only.
	write(p []byte) error
	// buffered returns how many bytes write has buffered. Loop only.
	buffered() int
	// read makes one attempt to read. Nothing there is n == 0 without an error, the
	// peer's end io.EOF. Loop only, never after the end.
	read(p []byte) (n int, err error)
	// closeWrite shuts down our direction. Loop only, never after the end.
	closeWrite()
	// hear says whether the event loop shall read; unsent, whether it has something to
	// write. It reports false where that cannot be. Loop only, never after the end.
	hear(reads, unsent bool) bool
	// othersWait reports whether the event loop has something else to do. Loop only.
	othersWait() bool
	// back returns when, by the clock, the loop came back from the last turn that has kept it
	// from its peers for long: now if one goes on. Such time is the handler's, and no peer's.
	// Anybody may call it.
	back(now int64) int64
	// wake makes the loop call serve, close makes it end the connection. Anybody may
	// call them at any time.
	wake()
	close()
	// drop ends the connection before it returns. Loop only.
	drop()
}

// Watch bits: what the sweep has to know of a connection.
const (
	watchUnsent = 1 << iota // unsent > 0: look for progress
	watchBusy               // requests of it are being worked on
	watchDesk               // it has a desk
	watchPaused             // it has bytes that could not be parsed
)

// block says what keeps requests from being parsed.
type block uint8

const (
	blockNone   block = iota
	blockUnsent       // MaxUnsent
	blockFlight       // MaxInFlight
	blockShared       // QueueSize or MaxHeld: others are in the way
	blockTurn         // its turn has lasted long enough, and others wait
)

// ID returns a number that no other connection of this server has.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr returns the client's address. Do not change it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr returns the address the client connected to. Do not change it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// Value returns what SetValue stored last, or nil.
func (c *Conn) Value() any {
	if r := c.rare.Load(); r != nil {
		if v := r.value.Load(); v != nil {
			return *v
		}
	}
	return nil
}

// SetValue attaches a value of the application to the connection.
func (c *Conn) SetValue(v any) { c.needRare().value.Store(&v) }

// Close ends the connection in order: no further request of it is handled, the
// handlers that run for it return, their replies are written, then it is closed.
// Close does not wait for that. If it takes longer than Config.ShutdownTimeout the
// connection is cut. The error is always nil.
func (c *Conn) Close() error {
	if limit := c.srv.cfg.ShutdownTimeout; limit > 0 {
		c.cutAt.CompareAndSwap(0, c.srv.clock.Load()+c.srv.patience(limit))
	}
	c.finish(phaseUnparsed, reasonHandler)
	return nil
}

// finish asks the loop to end the connection in order.
func (c *Conn) finish(how phase, why reason) {
	if !c.raise(how) {
		return
	}
	if how == phaseUnparsed {
		c.blame(why)
	}
	c.srv.wake(c)
}

// blame records why the connection ends, unless that is known already.
func (c *Conn) blame(why reason) {
	c.why.CompareAndSwap(uint32(reasonNone), uint32(why))
}

// begin makes the connection known. It runs on the loop.
func (c *Conn) begin(l link, on *loop) {
	c.link, c.loop = l, on
	now := c.srv.clock.Load()
	c.lastRead.Store(now)
	c.progress = now
	on.conns.Add(1)
	c.srv.conns.add(c)
	c.srv.conns.greet(c)
	c.goOn()
}

// end releases what the connection holds. It runs on the loop, once, when
// nothing can be written any more; cause is the front's, nil if we closed it.
func (c *Conn) end(cause error) {
	s := c.srv
	c.raise(phaseBroken)
	c.blame(c.endReason(cause))
	c.loop.conns.Add(-1)
	c.loop.holder.CompareAndSwap(c, nil)
	c.loop.forget(c)
	c.loop.unlist(c)
	c.loop.callNext()
	s.conns.remove(c)
	if c.resume != nil {
		c.resume.Stop()
	}
	c.abandonInput()
	s.held.Add(-c.held.Swap(0))
	c.raise(phaseEnded)
	c.reap(c.desk.Load())
	c.dropPushed()
	c.endContext()
	s.closed(c, reason(c.why.Load()))
}

// endReason is what an end by cause means for c, if nobody is to blame already.
func (c *Conn) endReason(cause error) reason {
	return endReason(cause, c.input != nil && c.watch.Load()&watchPaused == 0)
}

// serve is one turn of the connection on its loop: it was woken, or in has been
// read. Replies of workers are collected, frames parsed and answered, and
// everything goes out in one write. in is not kept. False means: close.
func (c *Conn) serve(in []byte) bool {
	// Before anything is looked at: what leaves something to do after this store
	// wakes the loop again, what was left before it is seen by this turn.
	if c.woken.Load() {
		c.woken.Store(false)
	}
	l := c.loop
	l.begin(in, c.srv)
	if l.holder.Load() != c {
		l.holder.Store(c)
	}
	l.resume(c)
	if len(in) > 0 {
		l.event.Reads++
		l.event.BytesIn += uint64(len(in))
		if c.lastRead.Load() != l.now {
			c.lastRead.Store(l.now)
		}
	}
	if c.at() != phaseLingering {
		c.unblock()
		c.giveWay()
		c.collect()
		c.takePushed()
		c.refuseOld()
		c.takeInput()
		for c.open() && !c.parse() {
			c.afterPanic()
		}
		c.keepInput()
		if c.srv.cfg.Extensions {
			c.takePushed() // which has waited for the first frame
			c.sign()
		}
		c.flush()
		c.settle()
	}
	l.callNext()
	l.end(c.srv)
	return c.at() < phaseDoomed
}

// open reports whether frames may be parsed now. It is asked before each, so the
// ordinary answer is cheap; the output is flushed here when it has grown large.
func (c *Conn) open() bool {
	if c.block != blockNone || c.beginsNoMore() {
		return false
	}
	if l := c.loop; l.frames >= l.lookAt && c.turnOver() {
		return false
	}
	if len(c.loop.out) < c.srv.flushAt {
		return true
	}
	c.flush()
	return c.at() < phaseBroken && !c.full()
}

// fail ends the connection as soon as the replies made so far are written.
func (c *Conn) fail(why reason) {
	c.raise(phaseDoomed)
	c.blame(why)
}

// flush writes what has gathered in the loop's output.
func (c *Conn) flush() {
	l := c.loop
	n := len(l.out)
	if n == 0 || c.at() >= phaseBroken {
		l.out = l.out[:0]
		return
	}
	l.event.Writes++
	l.event.BytesOut += uint64(n)
	// WriteTimeout begins now: the last output may be long ago, and so may the turn's begin.
	if c.unsent == 0 {
		c.marked, c.progress = c.handed, c.srv.clock.Load()
	}
	c.handed += uint64(n)
	l.publish()
	err := c.link.write(l.out)
	l.out = l.out[:0]
	if err != nil {
		c.raise(phaseBroken)
		return
	}
	if c.unsent = c.link.buffered(); c.unsent > 0 {
		c.account() // before others write in turns that go on meanwhile
	}
	if e := c.ext.Load(); e != nil {
		e.wrote = l.now
	}
}

// full reports whether the peer has left MaxUnsent of replies unread, or any while the
// server holds too much, and blocks the connection for this turn if so.
func (c *Conn) full() bool {
	s := c.srv
	if c.unsent < s.cfg.MaxUnsent && (c.unsent == 0 || s.held.Load() <= s.cfg.MaxHeld) {
		return false
	}
	c.block = blockUnsent
	return true
}
