package server

import (
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/rawio"
)

const (
	// evictShare is which part of MaxConns, as a divisor, is kept free of newcomers by
	// sending the oldest away.
	evictShare = 10
	// evictAge is how long a newcomer is left alone. A client that comes to speak does so a round
	// trip after it was accepted; without this, each that comes to a server that is nearly
	// full would throw out the one before.
	evictAge = time.Second
	// lastReadBytes is how much of a first frame may have arrived unnoticed.
	lastReadBytes = 64 << 10
)

// newcomer is what is known of a connection until it has sent a whole frame; then the
// loop drops it. A goroutine that takes it out of the queue before has to wake the loop,
// which closes the connection unless a frame has come meanwhile. So the loop alone
// decides, and a request that has arrived is answered.
type newcomer struct {
	place list.Node[newcomer]
	conn  *Conn
	since int64  // time when it came, as the clock has it
	why   reason // why it has to go, once it is not in the queue
}

// greet makes a connection that was added a newcomer.
func (r *registry) greet(c *Conn) {
	n := &newcomer{conn: c}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Under the lock, so that the first is the oldest; the clock may have stood still.
	n.since = c.srv.time()
	r.newcomers[c.slot] = n
	r.queue.PushBack(&n.place, n)
}

// drop forgets that c is a newcomer, if it is one.
func (r *registry) drop(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(c)
}

func (r *registry) dropLocked(c *Conn) {
	if n := r.newcomers[c.slot]; n != nil {
		r.queue.Remove(&n.place)
		r.newcomers[c.slot] = nil
	}
}

// expel takes the oldest newcomer out of the queue, if it came at the given time or
// before, and returns it.
func (r *registry) expel(before int64, why reason) *Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.queue.Front()
	if oldest == nil || oldest.since > before {
		return nil
	}
	r.queue.Remove(&oldest.place)
	oldest.why = why
	return oldest.conn
}

// expelled returns why c has to go; reasonNone if it has not.
func (r *registry) expelled(c *Conn) reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.newcomers[c.slot]; n != nil {
		return n.why
	}
	return reasonNone
}

// evict has the oldest newcomer go, unless it has come just now.
func (s *Server) evict() {
	if c := s.conns.expel(s.clock.Load()-s.patience(s.cfg.evictAge), reasonEvicted); c != nil {
		s.wake(c)
	}
}

// expire has the newcomers go that are older than FirstFrameTimeout.
func (s *Server) expire(now int64) {
	limit := s.cfg.FirstFrameTimeout
	if limit <= 0 {
		return
	}
	for {
		c := s.conns.expel(now-s.patience(limit), reasonFirstFrame)
		if c == nil {
			return
		}
		s.wake(c)
	}
}

// meet comes at the end of each turn of a newcomer. One that has sent a whole frame is
// none any more; one that was told to go, and has not, is closed.
func (c *Conn) meet() {
	s := c.srv
	if !c.hasFrame() {
		why := s.conns.expelled(c)
		if why == reasonNone {
			return
		}
		if !c.lookAgain() {
			c.fail(why)
			return
		}
		s.wake(c) // for the turn that parses what has been read
	}
	s.conns.drop(c)
	c.spoke = true
}

// hasFrame reports whether a whole frame has come: it was handled, or waits to be.
func (c *Conn) hasFrame() bool {
	if c.loop.frames > 0 {
		return true
	}
	if c.input == nil {
		return false
	}
	size, err := c.srv.format.FrameSize(c.input.front())
	return err == nil && size > 0 && size <= c.input.waiting()
}

// lookAgain reads what has come since the event loop has looked, and reports whether that
// makes a whole frame.
func (c *Conn) lookAgain() bool {
	if !rawio.Available {
		return false
	}
	b := bytepool.Get(lastReadBytes)
	defer bytepool.Put(b)
	n, _ := c.link.read(b.B[:lastReadBytes])
	if n <= 0 {
		return false // the end, or nothing
	}
	l := c.loop
	l.event.Reads++
	l.event.BytesIn += uint64(n)
	c.lastRead.Store(l.now)
	c.queueInput(b.B[:n])
	return c.hasFrame()
}
