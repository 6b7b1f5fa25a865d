package engine

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// readBytes is the size of the read buffer: about a thousand small replies.
	readBytes = 64 << 10
	// halfBytes is how much callbacks submit before it is written although more replies are
	// to be dispatched: the server then works on one half of a large window while we work
	// on the other.
	halfBytes = 32 << 10
	// freedMax is how many slots the reading goroutine collects before it gives them back.
	freedMax = 64
	// unmatchedMax is how many replies that nobody waits for, in unmatchedTicks of the
	// clock, end a connection.
	unmatchedMax   = 1000
	unmatchedTicks = 20
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

	buf       []byte // buf[used:end] was read and is not dispatched
	used, end int
	pause     busypoll.Pause // after polls in vain
	lone      int            // replies in a row, each to the only request of the connection
	woken     int            // callers that the last dispatch has woken
	by        *poller        // the poller, if it is the one that reads
	ids       [freedMax]taskid.ID
	freed     int    // ids[:freed] are slots to be given back
	calls     uint64 // callbacks so far

	newFrames, newReplies uint64 // dispatched and not yet counted in framesIn and replies

	watched      uint64    // the clock's: the callback that ran when it last looked,
	watchedSince time.Time // and when it saw that one first

	unmatchedAt taskid.Tick // start of the window in which unmatched is counted
	unmatched   int

	tryN   int // what the last attempt to read brought
	tryErr error

	caller atomic.Uintptr // the goroutine that runs callbacks, while it does
	guard  atomic.Uint64  // see callback.go

	bytesIn, reads, polled, framesIn, replies, late, unknown, led, yields atomic.Uint64
}

// due reports whether replies are due. More may be in flight than it sees by the time
// it returns, but not fewer than were before the call.
func (c *conn) due() bool { return c.open() > 0 }

// attemptRead asks the socket once, without sleeping, and returns how many bytes came.
func (c *conn) attemptRead() (int, error) {
	in := &c.in
	in.tryN, in.tryErr = 0, nil
	if err := c.rawIn.Read(c.readOnce); err != nil && in.tryErr == nil {
		in.tryErr = err
	}
	if in.tryN > 0 {
		in.polled.Add(1)
		c.took(in.tryN)
	}
	return in.tryN, in.tryErr
}

// readAttempt runs inside raw.Read. It always reports done, so that raw.Read never waits
// for the descriptor.
func (c *conn) readAttempt(fd uintptr) bool {
	c.in.tryN, c.in.tryErr = rawio.Read(fd, c.in.buf[c.in.end:])
	return true
}

// sleepRead reads once and sleeps until there is something.
func (c *conn) sleepRead() error {
	n, err := c.net.Read(c.in.buf[c.in.end:])
	if n > 0 {
		c.took(n)
		return nil
	}
	return err
}

// took notes that n more bytes are in the buffer.
func (c *conn) took(n int) {
	in := &c.in
	in.end += n
	in.reads.Add(1)
	in.bytesIn.Add(uint64(n))
}

// readFailed ends the connection with what a read met.
func (c *conn) readFailed(err error) {
	switch {
	case err == nil || !errors.Is(err, io.EOF):
	case c.in.end > c.in.used:
		err = fmt.Errorf("%w in the middle of a reply", io.ErrUnexpectedEOF)
	default:
		err = errPeerClosed
	}
	c.fail("read", lost(err))
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
	case in.newFrames == 1 && in.woken == 1:
		in.lone++
	case in.newFrames > 0:
		in.lone = 0
	}
	c.leaveCallbacks()
	c.freeAll()
	in.publish()
	in.end = copy(in.buf, in.buf[in.used:in.end])
	in.used = 0
	if in.end == len(in.buf) {
		in.buf = append(in.buf, make([]byte, len(in.buf))...) // Parse bounds the frame
	}
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
	for in.used < in.end {
		f, n, bad := c.b.format.Parse(in.buf[in.used:in.end])
		if bad != nil {
			c.fail("read", lost(bad))
			in.used = in.end
		}
		if n == 0 {
			break
		}
		in.used += n
		in.newFrames++
		s, match := c.table.Answer(f.ID)
		if match != taskid.Won {
			c.unmatched(match)
			continue
		}
		in.newReplies++
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
		if c.out.ring.Filled() >= halfBytes && c.rawOut != nil {
			c.redeem()
		}
	}
	return false, true
}

// publish adds what was dispatched to the counters that others read.
func (in *inbox) publish() {
	in.framesIn.Add(in.newFrames)
	in.replies.Add(in.newReplies)
	in.newFrames, in.newReplies = 0, 0
}

// free collects a slot that is to be given back.
func (c *conn) free(id taskid.ID) {
	in := &c.in
	in.ids[in.freed] = id
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
	c.b.backlog.moveOn()
}

// unmatched counts a reply that completes nothing. On a connection that has ended the
// table is closed and no longer tells late replies from invented ones.
func (c *conn) unmatched(match taskid.Match) {
	in := &c.in
	if match == taskid.Late || c.phase.Load() >= phaseEnded {
		in.late.Add(1)
		c.b.backlog.moveOn() // its slot is free now
		return
	}
	in.unknown.Add(1)
	now := c.b.clock.now()
	if in.unmatched == 0 || now.Since(in.unmatchedAt) > unmatchedTicks {
		in.unmatched, in.unmatchedAt = 0, now
	}
	if in.unmatched++; in.unmatched > unmatchedMax {
		c.fail("read", lost(errUnmatchedReplies))
	}
}
