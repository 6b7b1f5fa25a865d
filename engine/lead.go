package engine

import (
	"runtime"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/taskid"
)

// lead lets a blocked caller read its own reply, if it is alone on the connection and
// nobody else reads: no other goroutine, often on another thread, has to be woken for it
// (leader and follower; rueidis' lone caller reads as well). It polls, so it meets its
// deadline and the end of its context by looking. What it meets beside its own reply it
// leaves in the buffer and gives the right to the reader: nobody's callback ever runs
// on a caller's goroutine.
//
// lead reports whether the outcome is in w. If not, it comes by w.done.
func (c *conn) lead(w *waiter, id taskid.ID) bool {
	in := &c.in
	if in.right.State() != baton.Free {
		return false
	}
	if c.poller == nil || c.open() != 1 || !in.right.Take() {
		c.call()
		return false
	}
	if in.pause.Skip() || !busypoll.Enter(c.b.pollers) {
		in.right.Keep()
		return false
	}
	got := c.pollOwn(w, id)
	busypoll.Leave()
	return got
}

// pollOwn polls for the reply to id and gives the right on.
func (c *conn) pollOwn(w *waiter, id taskid.ID) bool {
	in := &c.in
	in.got.led.Add(1)
	for start := time.Now(); ; {
		n, err := c.attemptRead()
		switch {
		case err != nil:
			c.readFailed(err)
			in.right.Keep()
			return false
		case n > 0:
			in.pause.Hit()
			whole, own := c.takeOwn(w, id)
			if own {
				c.stopReading()
				return true
			}
			if whole {
				in.right.Keep() // the reader dispatches what is in the buffer
				return false
			}
		case !c.table.Open(id) || over(w.ended):
			c.stopReading()
			return false
		case time.Since(start) >= c.b.cfg.BusyPoll:
			in.pause.Vain()
			in.right.Keep()
			return false
		}
		runtime.Gosched()
	}
}

// takeOwn takes the reply to id out of the buffer if that is all there is. whole is
// false while the frame is not.
func (c *conn) takeOwn(w *waiter, id taskid.ID) (whole, own bool) {
	in := &c.in
	f, n, bad := c.b.format.Parse(in.buf.b[:in.buf.end])
	if n == 0 && bad == nil && in.buf.end < len(in.buf.b) {
		return false, false
	}
	if bad != nil || n != in.buf.end || f.ID != id {
		return true, false
	}
	if c.b.extended {
		if f.Payload, own = ownReply(f.Payload); !own {
			return true, false
		}
	}
	s, match := c.table.Answer(id)
	if match != taskid.Won {
		in.buf.end = 0
		in.got.frames.Add(1)
		c.unmatched(id, match) // its time was up this moment
		return true, false
	}
	if c.standing.news.Load() != 0 {
		c.heard(true)
	}
	if in.partial.Load() != 0 {
		in.partial.Store(0)
	}
	w.keep(f.Payload)
	if w.traced {
		w.request.tracer.replied(nil)
	}
	in.buf.end = 0
	in.got.frames.Add(1)
	in.got.replies.Add(1)
	c.out.credit.answered.Add(uint64(s.V.at.length()))
	c.release()
	c.table.Free(id)
	c.b.backlog.moveOn()
	return true, true
}

// ownReply takes the status off a reply. ok is false if it is for the reader to deal with.
func ownReply(payload []byte) (reply []byte, ok bool) {
	status, reply, err := framing.ParseReply(payload)
	return reply, err == nil && status == framing.StatusOK
}

// over reports whether a context has ended; nil means that it cannot.
func over(ended <-chan struct{}) bool {
	if ended == nil {
		return false
	}
	select {
	case <-ended:
		return true
	default:
		return false
	}
}
