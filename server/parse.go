package server

import (
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
)

// unblock begins a turn by forgetting why parsing stopped in the last one, unless
// the peer still has not read enough.
func (c *Conn) unblock() {
	c.block = blockNone
	if c.listed {
		c.block = blockTurn // until it is called
	}
	if c.unsent > 0 {
		c.unsent = c.link.buffered()
		c.full()
	}
}

// parse handles frames until there is no whole one left or the connection is not
// open. False means that a handler panicked: parsing can go on behind its frame,
// which is in loop.frame. One deferred call a turn is what a panic costs those
// that do not happen.
func (c *Conn) parse() (ok bool) {
	l, s := c.loop, c.srv
	defer func() {
		if !ok {
			// Nothing to recover: the goroutine ends, which is for front.recover.
			if l.panicked = recover(); l.panicked != nil && l.handling {
				s.logPanic(c, l.panicked)
			}
		}
	}()
	if c.staged != nil && !c.parseStaged() {
		return true
	}
	for len(l.in) > 0 && c.open() {
		frame, n, err := s.format.Parse(l.in)
		if n == 0 {
			if err != nil {
				c.fail(c.badLength(l.in))
			}
			return true
		}
		if s.workers == nil {
			l.in = l.in[n:]
			c.answer(frame)
		} else if c.dispatch(frame) {
			l.in = l.in[n:]
		}
	}
	return true
}

// parseStaged handles the frames that begin in the staging buffer. Of the input
// it takes only what completes the last of them. True means that the buffer is
// used up and given back.
func (c *Conn) parseStaged() bool {
	s := c.srv
	for c.open() {
		have := c.staged.B[c.head:]
		if len(have) == 0 {
			c.unstage()
			return true
		}
		size, err := s.format.FrameSize(have)
		if err != nil {
			c.fail(c.badLength(have))
			return false
		}
		if size == 0 || size > len(have) {
			if !c.complete(size) {
				return false
			}
			continue
		}
		frame, _, _ := s.format.Parse(have)
		if s.workers == nil {
			c.head += size
			c.answer(frame)
		} else if c.dispatch(frame) {
			c.head += size
		}
	}
	return false
}

// complete moves bytes from the input to the incomplete frame in the staging
// buffer: those it lacks, or those its length field lacks if size is 0. False
// means that there was no input.
func (c *Conn) complete(size int) bool {
	l := c.loop
	if size == 0 {
		size = c.srv.format.HeaderSize() - framing.IDSize
	}
	have := len(c.staged.B) - c.head
	n := min(size-have, len(l.in))
	if n == 0 {
		return false
	}
	c.stage(l.in[:n])
	l.in = l.in[n:]
	return true
}

// stageRest keeps the input that was not parsed, unless it is of no use any more.
func (c *Conn) stageRest() {
	l := c.loop
	if len(l.in) == 0 || c.broken || c.doomed || c.stop.Load() == stopNow {
		return
	}
	if c.staged != nil && len(c.staged.B)-c.head+len(l.in) > c.srv.cfg.MaxUnparsed {
		c.fail(reasonInput)
		return
	}
	c.stage(l.in)
	l.in = nil
}

// stage appends b to the staging buffer, which grows as bytes arrive: a peer that
// announces much and sends little costs little.
func (c *Conn) stage(b []byte) {
	if c.staged == nil {
		c.staged = bytepool.Get(len(b))
	}
	// Moving the rest to the front when at least half is done with costs each
	// byte one move, however often a backlog is cut short.
	if c.head > 0 && c.head >= len(c.staged.B)/2 {
		n := copy(c.staged.B, c.staged.B[c.head:])
		c.staged.B = c.staged.B[:n]
		c.head = 0
	}
	c.staged.B = append(c.staged.B, b...)
}

// unstage gives the staging buffer back.
func (c *Conn) unstage() {
	bytepool.Put(c.staged)
	c.staged, c.head = nil, 0
}

// answer runs the handler on the loop and puts its reply behind the others.
func (c *Conn) answer(f framing.Frame) {
	l := c.loop
	l.frames++
	l.event.Requests++
	l.frame, l.handling = f, true
	out, err := c.srv.respond(c, l.out, f.ID, f.Payload)
	l.handling = false
	l.out = out
	if err == nil {
		l.event.Replies++
		return
	}
	c.answerFailure(err)
}

// answerFailure settles the request in loop.frame, whose handler failed.
func (c *Conn) answerFailure(err error) {
	l := c.loop
	out, result := c.srv.failure(c, l.out, l.frame.ID, l.frame.Payload, err)
	l.out = out
	l.event.count(result)
}

// afterPanic settles the request whose handler panicked. A panic that is not a
// handler's goes on to whoever called serve.
func (c *Conn) afterPanic() {
	l := c.loop
	value := l.panicked
	l.panicked = nil
	if !l.handling {
		panic(value)
	}
	l.handling = false
	c.answerFailure(&PanicError{Value: value})
}
