package server

import "github.com/ringwire/ringwire/framing"

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
// open. False means that a handler panicked: parsing can go on behind its frame.
// One deferred call a turn is what a panic costs those that do not happen.
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
	for c.open() {
		frame, size, whole := c.nextFrame()
		if !whole {
			break
		}
		if s.cfg.Extensions && c.ownFrame(&frame) {
			c.consume(size)
			continue
		}
		err := s.stale(c, l.at, l.limit)
		switch {
		case err != nil:
			c.consume(size)
			c.refuse(frame, err)
		case s.workers == nil && c.inflight == 0:
			c.consume(size)
			c.answer(frame)
		case !c.roomForRequest():
			return true
		case s.workers == nil:
			c.consume(size)
			c.answer(frame)
		default:
			c.consume(size)
			c.dispatch(frame)
		}
	}
	return true
}

// takeInput puts new input behind what waits already.
func (c *Conn) takeInput() {
	if l := c.loop; c.input != nil && c.input.first != nil && len(l.in) > 0 {
		c.queueInput(l.in)
		l.in = nil
	}
}

// answer runs the handler on the loop and puts its reply behind the others.
func (c *Conn) answer(f framing.Frame) {
	l := c.loop
	l.frames++
	l.event.Requests++
	r := &l.request
	r.conn, r.id, r.payload, r.arrived, r.limit = c, f.ID, f.Payload, l.at, l.limit
	r.began = l.turns.Begin(c.srv.timing.Stopwatch)
	l.handling, l.owing = true, true
	out, err := c.srv.respond(l.out, r)
	l.handling = false
	l.out = out
	switch {
	case r.later != nil:
		l.takeLater().leave(r.payload, err)
	case err == nil:
		l.event.Replies++
	default:
		c.answerFailure(err)
	}
	l.owing = false
}

// answerFailure settles the request in hand, whose handler failed.
func (c *Conn) answerFailure(err error) {
	l := c.loop
	out, result := c.srv.failure(c, l.out, l.request.id, l.request.payload, err)
	l.out = out
	l.event.count(result)
}

// refuse answers a request on the loop that is not to be run.
func (c *Conn) refuse(f framing.Frame, why error) {
	l := c.loop
	l.frames++
	l.event.Requests++
	l.owing = true
	out, result := c.srv.failure(c, l.out, f.ID, f.Payload, why)
	l.out, l.owing = out, false
	l.event.count(result)
}

// afterPanic settles the request whose handler panicked. A panic that is not a
// handler's goes on to the caller of serve.
func (c *Conn) afterPanic() {
	l := c.loop
	value := l.panicked
	l.panicked = nil
	if !l.handling {
		panic(value)
	}
	l.handling = false
	err := &PanicError{Value: value}
	if l.request.later != nil {
		l.takeLater().leave(l.request.payload, err)
	} else {
		c.answerFailure(err)
	}
	l.owing = false
}
