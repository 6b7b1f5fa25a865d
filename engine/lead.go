package engine

import (
	"errors"
	"os"
	"time"

	"github.com/ringwire/ringwire/taskid"
)

// Reading is a right that one goroutine has at a time, and with it the read buffer.
// The reader has it while requests come together. When one blocking caller has been
// alone on the connection for a while, the reader lends it: the caller then reads
// its own reply, and no other goroutine, often on another thread, must be woken for
// it (rueidis lets a lone caller read as well). A caller that meets anything but its
// own reply gives right and buffer to the reader, so nobody's callback ever runs on
// a caller's goroutine.
//
// No reply stays unread: who submits looks at the right afterwards, who frees the
// right looks for requests afterwards.
const (
	standing uint32 = iota // the reader reads
	free                   // nobody reads; the reader waits for readWake
	led                    // the caller of a lone request reads
)

// lendAfter is after how many lone replies in a row the reader lends its right.
const lendAfter = 32

// longAgo is a deadline that interrupts a read.
var longAgo = time.Unix(1, 0)

// lone reports whether the right shall be lent with the reply to s, the only one
// that was read.
func (c *conn) lone(s *slot) bool {
	if !s.V.leads || c.open() != 1 {
		c.alone = 0
		return false
	}
	c.alone++
	return c.alone > lendAfter && c.leadable
}

// lend completes s and frees the right. The reader must not touch the buffer any
// more, and stand by.
func (c *conn) lend(s *slot, reply []byte) {
	c.store(s, reply)
	c.end, c.alone = 0, 0
	c.reading.Store(free)
	if c.open() > 1 { // s is still open
		c.summon()
	}
	s.V.done <- struct{}{}
}

// standBy waits until the right comes back to the reader. It reports false when
// the connection ended instead.
func (c *conn) standBy() bool {
	select {
	case <-c.readWake:
		return true
	case <-c.dead:
		return false
	}
}

// summon gives the right to the reader if nobody has it.
func (c *conn) summon() {
	if c.reading.Load() == free && c.reading.CompareAndSwap(free, standing) {
		c.readWake <- struct{}{} // never blocks: the reader takes it before it lends again
	}
}

// lead reads until s is complete, if nobody else reads, and reports whether it took
// the reply of s itself. If not, the outcome comes by way of s.V.done.
func (c *conn) lead(s *slot) bool {
	if !s.V.leads || !c.reading.CompareAndSwap(free, led) {
		c.summon()
		return false
	}
	c.leads.Add(1)
	// Whether the request is open decides, not whether we have been told: the reader
	// may have lent its right with our reply before it tells us.
	for c.readErr == nil && c.table.Open(s) {
		c.fill()
		f, n, bad := c.b.format.Parse(c.buf[:c.end])
		if n == 0 && bad == nil && c.end < len(c.buf) {
			continue // the reply is not whole yet
		}
		if bad != nil || n != c.end || f.ID != s.ID() {
			break
		}
		_, match := c.table.Answer(f.ID)
		if match == taskid.Won {
			c.takeReply(s, f.Payload)
			return true
		}
		if match == taskid.Late { // its time ran out this moment
			c.late.Add(1)
			c.end = 0
		}
		break
	}
	c.reading.Store(standing)
	c.readWake <- struct{}{}
	return false
}

// takeReply ends a lead with the caller's own reply.
func (c *conn) takeReply(s *slot, reply []byte) {
	c.store(s, reply)
	c.end = 0
	c.framesIn.Add(1)
	c.replies.Add(1)
	c.reading.Store(free)
	if c.open() > 1 { // s is still open
		c.summon()
	}
}

// fill reads once. What it meets beside bytes it leaves in readErr.
func (c *conn) fill() {
	if c.poll() {
		return
	}
	n, err := c.net.Read(c.buf[c.end:])
	if n > 0 {
		c.took(n)
	}
	if err != nil && !c.interrupted(err) {
		c.readErr = err
	}
}

// took notes that n more bytes are in the read buffer.
func (c *conn) took(n int) {
	c.end += n
	c.reads.Add(1)
	c.bytesIn.Add(uint64(n))
}

// interrupt wakes the caller that leads, because somebody else completed a
// request, maybe its own.
func (c *conn) interrupt() {
	c.interrupts.Add(1)
	if err := c.net.SetReadDeadline(longAgo); err != nil {
		c.fail("read", lost(err))
	}
}

// interrupted reports whether err, from a read, is the work of interrupt, and
// clears the deadline. Who was interrupted looks at its request after that, who
// interrupts completes the request before: so no interruption is lost.
func (c *conn) interrupted(err error) bool {
	if c.forgiven == c.interrupts.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.forgiven++
	// A connection whose Close only interrupts its reads is not read on: over is set
	// before Close is called, and looked at after the deadline is cleared.
	return c.net.SetReadDeadline(time.Time{}) == nil && !c.over.Load()
}

// reclaim takes a right back to the reader that no caller has used since the last
// sweep, so that the end of an idle connection is noticed. Only the sweeper calls
// it.
func (c *conn) reclaim() {
	leads := c.leads.Load()
	if leads == c.leadsSeen {
		c.summon()
	}
	c.leadsSeen = leads
}
