package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/greeting"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// halfBytes is how much callbacks submit before it is written although more replies are
	// to be dispatched: the server then works on one half of a large window while we work
	// on the other.
	halfBytes = 32 << 10
	// freedMax is how many slots the reading goroutine collects before it gives them back.
	freedMax = 64
	// unmatchedMax is how many replies that nobody waits for, in unmatchedTime, end a
	// connection.
	unmatchedMax  = 1000
	unmatchedTime = time.Second
)

var errPeerClosed = fmt.Errorf("closed by the peer: %w", io.EOF)

// errUnmatchedReplies: the peer sends replies to requests that were never made.
var errUnmatchedReplies = errors.New(
	"peer sends replies nobody asked for; is it a ringwire or anet server?")

// inbox is the receiving half of a connection: what was read, and the right to read. All of it
// belongs to whoever has the right, except for the atomic fields.
//
// The right goes round like this. The connection's reader, its keeper, sleeps in a read
// of the socket. When replies begin to come it frees the right; then the broker's poller
// takes it, asks the socket without sleeping while replies are due, and frees the right
// when there are none. On a connection that has but one caller, the right is free while
// nothing is due, and the caller takes it and reads its own reply (lead.go). When
// polling is in vain the right goes back to the reader. The clock gives it back to the
// reader when nobody has used it for a while, so that the peer's end is noticed.
type inbox struct {
	right baton.Right

	buf   readBuffer
	try   attempt
	pause busypoll.Pause // after polls in vain
	lone  int            // replies in a row, each to the only request of the connection
	woken int            // callers that the last dispatch has woken
	by    *poller        // the poller, if it is the one that reads
	ids   [freedMax]taskid.ID
	freed int // ids[:freed] are slots to be given back

	// returns is odd while freed is not 0, and counts on each time. So who has found the
	// table full knows whether callers that have their reply held some of it.
	returns atomic.Uint32

	unmatchedAt time.Time // start of the window in which unmatched is counted
	unmatched   int

	fresh struct{ frames, replies, pushes, bytes uint64 } // dispatched, and not yet published
	guard guard

	// For the clock, see watch.go.
	partial      atomic.Uint32 // pieces of the frame that has begun and is not whole; 0: none
	kind         atomic.Uint32 // what the peer looks like that has sent no whole frame yet
	sentWhenRead atomic.Uint64 // frames written when something was last read

	got counts
}

// counts are what a connection has read.
type counts struct {
	bytes, reads, polled, frames, replies      atomic.Uint64
	late, unknown, oneWay, pushes, led, yields atomic.Uint64
}

// due reports whether replies are due. More may be in flight than it sees by the time
// it returns, but not fewer than were before the call.
func (c *conn) due() bool { return c.open() > 0 }

// attemptRead asks the socket once, without sleeping, and returns how many bytes came.
func (c *conn) attemptRead() (int, error) {
	in := &c.in
	in.try.n, in.try.err = 0, nil
	if err := c.sock.in.Read(c.sock.readOnce); err != nil && in.try.err == nil {
		in.try.err = err
	}
	if in.try.n > 0 {
		in.got.polled.Add(1)
		c.took(in.try.n)
	}
	return in.try.n, in.try.err
}

// readAttempt runs inside raw.Read. It always reports done, so that raw.Read never waits
// for the descriptor.
func (c *conn) readAttempt(fd uintptr) bool {
	c.in.try.n, c.in.try.err = rawio.Read(fd, c.in.buf.b[c.in.buf.end:])
	return true
}

// sleepRead reads once and sleeps until there is something.
func (c *conn) sleepRead() error {
	if invariant.Enabled {
		invariant.Check(!c.out.promised(), "engine: the reader sleeps and has promised to write")
	}
	n, err := c.sock.net.Read(c.in.buf.b[c.in.buf.end:])
	if n > 0 {
		c.took(n)
		return nil
	}
	return err
}

// took notes that n more bytes are in the buffer.
func (c *conn) took(n int) {
	in := &c.in
	in.buf.end += n
	in.sentWhenRead.Store(c.out.sent.frames.Load())
	in.got.reads.Add(1)
	in.got.bytes.Add(uint64(n))
}

// readFailed ends the connection with what a read met.
func (c *conn) readFailed(err error) {
	switch {
	case err == nil || !errors.Is(err, io.EOF):
	case c.in.buf.end > c.in.buf.used:
		c.notePartial()
		err = c.hinted(fmt.Errorf("%w in the middle of a reply", io.ErrUnexpectedEOF))
	default:
		err = c.hinted(errPeerClosed)
	}
	c.fail("read", lost(c.refusal(err)))
}

// refusal explains what a TLS server says that does not like our certificate, which it
// does after the handshake is over for us.
func (c *conn) refusal(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || !strings.Contains(err.Error(), "certificate") {
		return err
	}
	return fmt.Errorf("the server refuses our TLS certificate; see Config.TLS.Certificates: %w", err)
}

// notePartial publishes what is known of the frame that has begun: how many pieces it is
// long, and what the peer looks like if it has never sent a whole frame.
func (c *conn) notePartial() {
	in := &c.in
	begun := in.buf.rest()
	if len(begun) == 0 {
		if in.partial.Load() != 0 {
			in.partial.Store(0)
		}
		return
	}
	if in.got.frames.Load() == 0 {
		in.kind.Store(uint32(greeting.Of(begun)))
	}
	size, _ := c.b.format.FrameSize(begun)
	in.partial.Store(uint32(size/framePiece) + 1)
	c.b.clock.rouse()
}

// dispatch completes the requests that the whole frames in the buffer answer, and makes
// room for more. It reports false when the reading was taken away from the calling
// goroutine while a callback ran, which must then leave everything as it is.
func (c *conn) dispatch() (mine bool) {
	c.in.woken = 0
	for again := true; again; {
		again, mine = c.dispatchUntilFailure()
		if !mine {
			return false
		}
	}
	in := &c.in
	switch {
	case in.fresh.frames == 1 && in.woken == 1:
		in.lone++
	case in.fresh.frames > 0:
		in.lone = 0
	}
	c.leaveCallbacks()
	c.freeAll()
	if in.fresh.frames > 0 && c.standing.doubted.Load() {
		c.answered()
	}
	c.publish()
	if in.buf.end > in.buf.used || in.partial.Load() != 0 {
		c.notePartial()
	}
	in.buf.makeRoom(c.b.format)
	return true
}

// dispatchUntilFailure is dispatch up to the first callback that panics. It reports
// whether there is more to do, and whether the inbox is still the caller's.
func (c *conn) dispatchUntilFailure() (again, mine bool) {
	in := &c.in
	var (
		running outcome // the callback that runs
		guard   uint64
	)
	defer func() {
		if running != nil {
			again, mine = true, c.callbackFailed(guard, running, recover())
		}
	}()
	for in.buf.used < in.buf.end {
		f, n, bad := c.b.format.Parse(in.buf.rest())
		if bad != nil {
			c.fail("read", lost(c.badLength(bad)))
			in.buf.used = in.buf.end
		}
		if n == 0 {
			break
		}
		in.buf.used += n
		in.fresh.frames++
		s, match := c.table.Answer(f.ID)
		if match != taskid.Won {
			if match == taskid.Unknown && c.isPush(f.ID) {
				in.fresh.pushes++
				guard = c.enterPush()
				running = pushed{}
				c.b.cfg.OnPush(c.link.addr.name, uint32(f.ID), f.Payload)
				running = nil
				if !c.leaveCallback(guard) {
					return false, false
				}
				continue
			}
			c.unmatched(f.ID, match)
			continue
		}
		in.fresh.replies++
		in.fresh.bytes += uint64(s.V.at.length())
		if w, ok := s.V.to.(*waiter); ok {
			in.woken++
			c.free(f.ID)
			w.reply(f.Payload)
			continue
		}
		to := s.V.to // before the guard says that the slot may be taken
		guard = c.enterCallback(f.ID)
		running = to
		to.callback(f.Payload, nil)
		running = nil
		if !c.leaveCallback(guard) {
			return false, false
		}
		if c.out.ring.Filled() >= halfBytes && c.sock.out != nil {
			c.redeem()
		}
	}
	return false, true
}

// isPush reports whether a frame that answers no request is for OnPush.
func (c *conn) isPush(id taskid.ID) bool {
	return c.b.cfg.OnPush != nil && c.phase.Load() < phaseEnded &&
		(id != taskid.Nobody || c.oneWay.Load() == 0)
}

// badLength explains an impossible length by what the peer looks like.
func (c *conn) badLength(err error) error {
	in := &c.in
	if in.got.frames.Load()+in.fresh.frames > 0 {
		return err
	}
	return fmt.Errorf("%w%s", err, speaks(greeting.Of(in.buf.rest())))
}

// publish adds what was dispatched to the counters that others read.
func (c *conn) publish() {
	in, o := &c.in, &c.out
	o.credit.answered.Store(o.credit.answered.Load() + in.fresh.bytes)
	in.fresh.bytes = 0
	if o.credit.held.Load() {
		c.release()
	}
	in.got.frames.Add(in.fresh.frames)
	in.got.replies.Add(in.fresh.replies)
	if in.fresh.pushes > 0 {
		in.got.pushes.Add(in.fresh.pushes)
	}
	in.fresh.frames, in.fresh.replies, in.fresh.pushes = 0, 0, 0
}

// free collects a slot that is to be given back.
func (c *conn) free(id taskid.ID) {
	in := &c.in
	in.ids[in.freed] = id
	if in.freed == 0 {
		in.returns.Store(in.returns.Load() + 1) // before its caller can ask again
	}
	if in.freed++; in.freed == freedMax {
		c.freeAll()
	}
}

// freeAll gives the collected slots back, and what waits for room is moved on.
func (c *conn) freeAll() {
	in := &c.in
	if in.freed == 0 {
		return
	}
	c.table.FreeAll(in.ids[:in.freed])
	in.freed = 0
	in.returns.Store(in.returns.Load() + 1)
	c.b.backlog.moveOn()
}

// unmatched counts a reply that completes nothing. On a connection that has ended the
// table is closed and no longer tells late replies from invented ones.
func (c *conn) unmatched(id taskid.ID, match taskid.Match) {
	in := &c.in
	if id == taskid.Nobody && c.oneWay.Load() > 0 {
		in.got.oneWay.Add(1)
		return
	}
	if match == taskid.Late || c.phase.Load() >= phaseEnded {
		in.got.late.Add(1)
		c.b.backlog.moveOn() // its slot is free now
		return
	}
	in.got.unknown.Add(1)
	now := time.Now() // the clock may sleep
	if now.Sub(in.unmatchedAt) > unmatchedTime {
		in.unmatched, in.unmatchedAt = 0, now
	}
	if in.unmatched++; in.unmatched > unmatchedMax {
		c.fail("read", lost(errUnmatchedReplies))
	}
}
