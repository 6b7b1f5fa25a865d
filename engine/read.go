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

// errStrangeReplies: the peer sends replies to requests that were never made.
var errStrangeReplies = errors.New("peer sends replies nobody asked for; is it a ringwire or anet server?")

// read is the reader: it turns bytes into completed calls until the connection
// ends.
func (c *conn) read() {
	defer c.b.wg.Done()
	setRole("reader")
	err := c.readFrames()
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the peer")
	}
	c.fail("read", lost(err))
	c.leave()
}

func (c *conn) readFrames() error {
	buf := make([]byte, readBytes)
	end := 0 // buf[:end] holds the beginning of a frame
	for {
		n, err := c.net.Read(buf[end:])
		if n > 0 {
			end += n
			c.reads.Add(1)
			c.bytesIn.Add(uint64(n))
			used, bad := c.dispatch(buf[:end])
			if bad != nil {
				return bad
			}
			end = copy(buf, buf[used:end])
			if end == len(buf) {
				buf = append(buf, make([]byte, len(buf))...) // Parse bounds the frame
			}
		}
		if err != nil {
			if end > 0 && errors.Is(err, io.EOF) {
				return fmt.Errorf("%w in the middle of a reply", io.ErrUnexpectedEOF)
			}
			return err
		}
	}
}

// dispatch completes the requests that the whole frames in b answer and returns
// how many bytes it used. While callbacks run, submitters leave the writing to us,
// so that the requests that callbacks make leave in one write.
func (c *conn) dispatch(b []byte) (used int, err error) {
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
			c.callbacks = true
			c.complete(s, f.Payload, nil)
			continue
		}
		c.complete(s, f.Payload, nil)
		if callers++; callers%breath == 0 && c.holding {
			c.breathe()
		}
	}
	c.framesIn.Add(frames)
	c.replies.Add(replies)
	c.disperse(callers >= crowd)
	return used, err
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
	if c.gathering.Load() {
		if crowd {
			runtime.Gosched() // let those just woken submit their next requests
		}
		if c.holding {
			c.unhold()
		}
		// Cleared before the look: who pushed after it kicks by itself.
		c.gathering.Store(false)
		if c.holding || !c.queue.Empty() && c.token.CompareAndSwap(idle, busy) {
			c.holding = false
			c.flushNow()
		}
	}
	c.crowded = crowd
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
