package engine

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/ringwire/ringwire/taskid"
)

const (
	// crowd is how many woken callers are worth waiting for: they have their turn
	// before the reader goes on, and their requests leave in its write.
	crowd = 32
	// breath is how many of a large crowd are woken before they have their turn.
	breath = 128
	// readBytes is the size of the read buffer: about a thousand small replies.
	readBytes = 64 << 10
	// strangeMax is how many replies that nobody waits for, in strangeTicks of the
	// clock, end a connection.
	strangeMax   = 1000
	strangeTicks = 20
)

var errPeerClosed = fmt.Errorf("closed by the peer: %w", io.EOF)

// errStrangeReplies: the peer sends replies to requests that were never made.
var errStrangeReplies = errors.New("peer sends replies nobody asked for; is it a ringwire or anet server?")

// read is the reader: it turns bytes into completed calls until the connection
// ends, except while a lone caller reads (lead.go).
func (c *conn) read() {
	defer c.b.wg.Done()
	setRole("reader")
	if err := c.readFrames(); err != nil {
		c.fail("read", lost(err))
	}
	c.leave()
}

// readFrames returns nil when the connection ended while somebody else read.
func (c *conn) readFrames() error {
	for {
		lent, err := c.digest()
		switch {
		case err != nil:
			return err
		case lent:
			if !c.standBy() {
				return nil
			}
		case c.readErr == nil:
			c.fill()
		case !errors.Is(c.readErr, io.EOF):
			return c.readErr
		case c.end > 0:
			return fmt.Errorf("%w in the middle of a reply", io.ErrUnexpectedEOF)
		default:
			return errPeerClosed
		}
	}
}

// digest completes what the buffer holds whole replies for and makes room for
// more. It reports whether the right to read is lent.
func (c *conn) digest() (lent bool, err error) {
	used, lent, err := c.dispatch(c.buf[:c.end])
	if lent || err != nil {
		return lent, err
	}
	c.end = copy(c.buf, c.buf[used:c.end])
	if c.end == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...) // Parse bounds the frame
	}
	return false, nil
}

// dispatch completes the requests that the whole frames in b answer and returns
// how many bytes it used, and whether it lent the right to read, and with it the
// buffer. While callbacks run, submitters leave the writing to us, so that the
// requests that callbacks make leave in one write.
func (c *conn) dispatch(b []byte) (used int, lent bool, err error) {
	if len(b) == 0 {
		return 0, false, nil
	}
	c.gather()
	var frames, replies, callers uint64
	for used < len(b) {
		f, n, bad := c.b.format.Parse(b[used:])
		if n == 0 {
			err = bad
			break
		}
		used += n
		frames++
		s, match := c.table.Answer(f.ID)
		if match != taskid.Won {
			if err = c.stray(match); err != nil {
				break
			}
			continue
		}
		replies++
		if s.V.fn != nil || s.V.batch != nil {
			c.callbacks, c.alone = true, 0
			c.complete(s, f.Payload, nil)
			continue
		}
		if frames == 1 && used == len(b) {
			if lent = c.lone(s); lent {
				c.lend(s, f.Payload)
				break
			}
		}
		c.complete(s, f.Payload, nil)
		if callers++; callers%breath == 0 && c.holding {
			c.breathe()
		}
	}
	if frames > 1 {
		c.alone = 0
	}
	c.framesIn.Add(frames)
	c.replies.Add(replies)
	c.disperse(callers >= crowd)
	return used, lent, err
}

// gather begins a batch of completions. If the last one ran callbacks or woke a
// crowd, so will this one, and who submits meanwhile leaves the writing to us.
// Callbacks submit under the token, if it is free.
func (c *conn) gather() {
	if !c.callbacks && !c.crowded {
		return
	}
	c.gathering.Store(true)
	c.holding = c.seize()
	c.callbacks = false
}

// breathe lets the callers just woken take their replies and submit their next
// requests, and frames those, while all they touch is still in the cache.
func (c *conn) breathe() {
	runtime.Gosched()
	if c.drain() && c.raw != nil {
		c.tryWrite()
	}
}

// disperse ends what gather began: all that was submitted leaves in one write.
func (c *conn) disperse(crowd bool) {
	c.untaken = 0
	if c.gathering.Load() {
		if crowd {
			runtime.Gosched() // let those just woken submit their next requests
			c.untaken = c.countUntaken()
		}
		c.ungather()
	}
	c.crowded = crowd
}

// ungather leaves the writing to others again, except for what is there.
func (c *conn) ungather() {
	if !c.holding {
		// Cleared before the look: who pushed after it kicks by itself.
		c.gathering.Store(false)
		c.sendQueued()
		return
	}
	c.unhold()
	c.holding = false
	c.gathering.Store(false)
	c.flushNow()
}

// sendQueued writes what is queued, unless somebody else does.
func (c *conn) sendQueued() {
	if !c.queue.Empty() && c.token.CompareAndSwap(idle, busy) {
		c.flushNow()
	}
}

// stray counts a reply that completes nothing. On a connection that has ended
// the table is closed and no longer tells late replies from invented ones.
func (c *conn) stray(match taskid.Match) error {
	if match == taskid.Late || c.over.Load() {
		c.late.Add(1)
		c.signalRoom()
		return nil
	}
	c.unknown.Add(1)
	now := c.b.clock.now()
	if c.strange == 0 || now-c.strangeAt > strangeTicks {
		c.strange, c.strangeAt = 0, now
	}
	if c.strange++; c.strange > strangeMax {
		return errStrangeReplies
	}
	return nil
}
