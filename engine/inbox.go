package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/greeting"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// halfBytes is how much callbacks submit before it is written although more replies are
	// to be dispatched: the server then works on one half of a large window while we work
	// on the other.
	halfBytes = 32 << 10
	// unmatchedMax is how many replies that nobody waits for, in unmatchedTime, end a
	// connection.
	unmatchedMax  = 1000
	unmatchedTime = time.Second
)

var errPeerClosed = fmt.Errorf("closed by the peer: %w", io.EOF)

// errUnmatchedReplies: the peer sends replies to requests that were never made.
var errUnmatchedReplies = errors.New(
	"peer sends replies nobody asked for; is it a ringwire or anet server?")

// inbox is the receiving half of a connection: what was read, and the right to read.
// All of it belongs to the holder of the right, except for the atomic fields.
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
	pause busypoll.Pause // after polls in vain
	lone  int            // replies in a row, each to the only request of the connection
	woken int            // callers that the last dispatch has woken
	by    *poller        // the poller, if it is the one that reads

	turn     atomic.Pointer[turn] // replaced when its rest is taken away
	detained atomic.Int32         // slots in use by callbacks that have lost their turn

	// returns counts, in its lower half, the turns that have slots to be given back, and in its
	// upper half how often some were. So a submitter that has found the table full knows
	// whether callers that have their reply held some of it.
	returns atomic.Uint64

	unmatchedAt time.Time // start of the window in which unmatched is counted
	unmatched   int

	// For the clock, see watch.go.
	partial      atomic.Uint32 // pieces of the frame that has begun and is not whole; 0: none
	kind         atomic.Uint32 // what the peer looks like that has sent no whole frame yet
	sentWhenRead atomic.Int64  // requests written when something was last read

	got counts
}

// counts are what a connection has read.
type counts struct {
	bytes, reads, polled, frames, replies      atomic.Uint64
	late, unknown, oneWay, pushes, led, yields atomic.Uint64

	refused, remote, goaways, controls atomic.Uint64 // of the extension
}

// due reports whether replies are due. More may be in flight than it sees by the time
// it returns, but not fewer than were before the call.
func (c *conn) due() bool { return c.open() > 0 }

// attemptRead asks the socket once, without sleeping, and returns how many bytes came.
func (c *conn) attemptRead() (int, error) {
	in := &c.in
	n, err := c.sock.tryRead(in.buf.b[in.buf.end:])
	if n > 0 {
		in.got.polled.Add(1)
		c.took(n)
	}
	return n, err
}

// sleepRead reads once and sleeps until there is something.
func (c *conn) sleepRead() error {
	if invariant.Enabled {
		invariant.Check(!c.out.promised(), "engine: the reader sleeps and has promised to write")
	}
	n, err := c.sock.waitRead(c.in.buf.b[c.in.buf.end:])
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
	in.sentWhenRead.Store(c.out.requests())
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
	c.fail("read", lost(refusal(err)))
}

// refusal explains what a TLS server says that does not like our certificate, which it
// does after the handshake is over for us.
func refusal(err error) error {
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
	in, t := &c.in, c.beginTurn()
	for again := true; again; {
		again, mine = c.dispatchUntilFailure(t)
	}
	if !mine || !c.standDown(t) {
		c.leaveTurn(t)
		return false
	}
	in.woken = t.woken
	switch {
	case t.tally.frames == 1 && t.woken == 1:
		in.lone++
	case t.tally.frames > 0:
		in.lone = 0
	}
	news := t.tally.frames > t.farewells && c.standing.news.Load() != 0
	replies := t.tally.replies > 0
	c.endTurn(t)
	if news {
		c.heard(replies)
	}
	if in.buf.end > in.buf.used || in.partial.Load() != 0 {
		c.notePartial()
	}
	in.buf.makeRoom(c.b.format)
	return true
}

// dispatchUntilFailure is dispatch up to the first callback that panics. It reports
// whether there is more to do, and whether the inbox is still the caller's.
func (c *conn) dispatchUntilFailure(t *turn) (again, mine bool) {
	var running outcome // the callback that runs
	defer func() {
		if running != nil {
			again = c.callbackFailed(t, running, recover())
		}
	}()
	for t.used < len(t.b) {
		f, n, bad := c.b.format.Parse(t.b[t.used:])
		if n == 0 {
			return false, bad == nil || c.dropBad(t, bad)
		}
		at := t.used
		if !c.advance(t, n) {
			return false, false
		}
		if c.b.extended {
			switch c.unwrap(t, &f) {
			case wrapsNothing:
				continue
			case wrapsNotOurs:
				return false, false
			}
		}
		s, match := c.table.Answer(f.ID)
		if match != taskid.Won {
			if !c.answersNone(t, at, f, match, &running) {
				return false, false
			}
			continue
		}
		t.tally.replies++
		t.tally.bytes += uint64(s.V.at.length())
		if w, ok := s.V.to.(*waiter); ok {
			c.free(t, f.ID)
			w.reply(f.Payload)
			c.woke(t)
			continue
		}
		to := s.V.to // before the slot is another request's
		t.spare = f.ID
		c.enterCallback(t, at, 0)
		running = to
		to.callback(f.Payload, nil)
		running = nil
		c.callbackDone(t)
		if c.out.ring.Filled() >= halfBytes && c.sock.triesWrites() {
			if !c.standDown(t) {
				return false, false
			}
			c.redeem()
		}
	}
	return false, true
}

// answersNone has a frame that answers no request: a push of the server, or a reply that is late
// or unknown. running is the callback that runs, as in dispatchUntilFailure. It reports whether
// the inbox is still the caller's.
func (c *conn) answersNone(
	t *turn, at int, f framing.Frame, match taskid.Match, running *outcome,
) (mine bool) {
	push := match == taskid.Unknown && c.isPush(f.ID)
	if push {
		t.tally.pushes++
	}
	mine = c.standDown(t)
	switch {
	case push:
		if mine { // else the frame is ours all the same
			c.enterCallback(t, at, turnPush)
		}
		*running = pushed{}
		c.b.cfg.OnPush(c.link.addr.name, uint32(f.ID), f.Payload)
		*running = nil
	case mine:
		c.unmatched(f.ID, match)
	}
	return mine
}

// pushed stands for a call of OnPush where an outcome is asked for.
type pushed struct{}

func (pushed) callback([]byte, error) {}

// isPush reports whether a frame that answers no request is for OnPush.
func (c *conn) isPush(id taskid.ID) bool {
	return c.b.cfg.OnPush != nil && c.phase.Load() < phaseEnded &&
		(id != taskid.Nobody || c.oneWay.Load() == 0)
}

// dropBad ends the connection at a frame whose length is impossible, and drops the rest of
// what was read.
func (c *conn) dropBad(t *turn, bad error) (mine bool) {
	if !c.standDown(t) {
		return false
	}
	c.fail("read", lost(c.badLength(t, bad)))
	t.used = len(t.b)
	return true
}

// badLength explains an impossible length by what the peer looks like.
func (c *conn) badLength(t *turn, err error) error {
	if c.in.got.frames.Load()+t.tally.frames > 0 {
		return err
	}
	return fmt.Errorf("%w%s", err, speaks(greeting.Of(t.b[t.used:])))
}

// unmatched counts a reply that completes nothing. On a connection that has ended the
// table is closed and no longer tells late replies from invented ones.
func (c *conn) unmatched(id taskid.ID, match taskid.Match) {
	c.checkOffGuard()
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
