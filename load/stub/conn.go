package stub

import (
	"container/heap"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/load/wire"
)

const (
	// swapWait is how long a reply waits for another that it can be swapped with.
	swapWait = 100 * time.Millisecond
	// linger is how long the client has to close a connection that a fault has ended.
	linger = 5 * time.Second
)

// conn is one connection. Its reader, which runs it, draws what becomes of each request; its
// writer writes replies when they are due.
type conn struct {
	server *Server
	shard  *shard
	raw    net.Conn
	dec    *wire.Decoder

	wake    chan struct{} // for the writer: there is something new
	room    chan struct{} // for the reader: the writer has taken something out
	done    chan struct{} // closed by stop
	written chan struct{} // closed when the writer has ended
	stopped sync.Once

	// The reader's.
	faults, delays, codes *rand.Rand // apart, so that a setting of one leaves the others alone
	requests              uint64
	latest                time.Time // due time of the last reply
	payload, answer       []byte

	mu     sync.Mutex // guards what follows
	all    waiting
	held   *reply // waits to be swapped
	over   bool   // no more is read
	broken bool   // a fault has ended the connection: it says nothing more

	// The writer's.
	noise *rand.Rand
	batch []*reply
	out   []byte
	sent  []*reply // whose frames are in out
}

func newConn(s *Server, raw net.Conn, number uint64) *conn {
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.cfg.Seed, number<<2|n)) }
	return &conn{server: s, raw: raw, shard: &s.shards[number%shardCount], dec: wire.NewDecoder(s.codec),
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		done: make(chan struct{}), written: make(chan struct{}),
		faults: stream(0), delays: stream(1), codes: stream(2), noise: stream(3)}
}

// stop ends the connection at once.
func (c *conn) stop() {
	c.stopped.Do(func() {
		close(c.done)
		_ = c.raw.Close()
	})
}

// run serves the connection until its end. What the client has asked for before it closed
// its side is answered.
func (c *conn) run() {
	defer c.server.forget(c)
	go c.write()
	err := c.read()
	if !errors.Is(err, io.EOF) {
		c.stop()
	}
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	signal(c.wake)
	<-c.written
	c.stop()
	c.server.counts.unanswered.Add(uint64(len(c.all.queue)))
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// read takes requests until the connection ends.
func (c *conn) read() error {
	for {
		n, err := c.raw.Read(c.dec.Room())
		now := time.Now()
		c.dec.Filled(n)
		for {
			f, bad := c.dec.Next()
			if bad != nil {
				if !c.isBroken() {
					c.server.counts.badFrames.Add(1)
				}
				return bad
			}
			if f == nil {
				break
			}
			if pause := c.take(f, now); pause > 0 || c.full() {
				signal(c.wake)
				if !c.wait(pause) {
					return net.ErrClosed
				}
			}
		}
		signal(c.wake)
		if err != nil {
			return err
		}
	}
}

func (c *conn) isBroken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// full reports whether no more may wait.
func (c *conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all.queue) >= c.server.cfg.InFlight || c.all.bytes >= pendingBytes
}

// wait waits for that long, and until there is room. It reports false if the connection was
// stopped; one that a fault has ended is read on.
func (c *conn) wait(pause time.Duration) bool {
	timer := time.NewTimer(max(pause, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.done:
	case <-c.written:
	}
	for c.full() {
		select {
		case <-c.room:
			continue
		case <-c.done:
		case <-c.written:
		}
		break
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// take draws what becomes of a request, and puts its reply into the queue. pause is for how
// long the licence wants nothing more of this connection.
func (c *conn) take(f *wire.Frame, now time.Time) (pause time.Duration) {
	s := c.server
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken:
		return 0
	case s.shape.spec.Reply.Mask != 0 && !f.Request:
		s.counts.notRequests.Add(1)
		return 0
	}
	s.counts.requests.Add(1)
	number := c.requests
	c.requests++
	fault := None
	if s.cfg.Faults.any() {
		fault = s.cfg.Faults.pick(c.faults)
	}
	c.payload = s.codec.Payload(c.payload[:0], f.Bytes)
	var skipped uint64
	if c.answer, skipped = s.cfg.Reply.append(c.answer[:0], c.payload, number, &s.shape, c.codes); skipped > 0 {
		s.counts.skipped.Add(skipped)
	}
	first := c.held
	if c.held = nil; first != nil {
		fault = None // it has one with the request before
	}
	if fault == Truncate {
		if len(c.answer) <= s.shape.least {
			fault = None // nothing of it can be left out
		} else {
			c.answer = c.answer[:s.shape.least]
		}
	}
	due, pause := c.due(fault, now)
	if fault == Drop {
		s.counts.faults[Drop].Add(1)
		return pause
	}
	r := c.all.fresh()
	r.received, r.due, r.number, r.fault = now, due, number, fault
	r.frame = c.frame(r.frame, f, c.answer)
	switch {
	case fault == WrongID:
		r.frame, _ = s.codec.Append(r.frame[:0], wrongID(&s.shape.spec, f.ID), c.answer)
	case fault == Swap:
		r.payload = append(r.payload[:0], c.answer...)
		r.own, r.due = due, later(due, now.Add(swapWait))
		c.held = r
	case first != nil:
		c.swap(first, r, f)
	}
	c.all.add(r)
	return pause
}

// frame makes the reply to a request, whose ID it has byte for byte.
func (c *conn) frame(dst []byte, f *wire.Frame, payload []byte) []byte {
	spec := &c.server.shape.spec
	dst, err := c.server.codec.Append(dst[:0], spec.IDMin, payload)
	if err != nil {
		panic(err) // the shape has looked at the smallest and the largest
	}
	if !spec.Ordered() {
		copy(dst[spec.ID.Offset:spec.ID.End()], f.Bytes[spec.ReplyID:])
	}
	return dst
}

// swap exchanges the payloads of a held reply and of the one to the next request, f.
func (c *conn) swap(first, second *reply, f *wire.Frame) {
	spec := &c.server.shape.spec
	c.all.bytes -= len(first.frame)
	before := append(first.id[:0], first.frame[spec.ID.Offset:spec.ID.End()]...)
	second.frame = c.frame(second.frame, f, first.payload)
	first.frame, _ = c.server.codec.Append(first.frame[:0], spec.IDMin, c.answer)
	copy(first.frame[spec.ID.Offset:], before)
	first.id = before
	c.all.bytes += len(first.frame)
	first.due, first.fault, second.fault = first.own, None, Swap
	heap.Fix(&c.all.queue, first.index)
}

// due draws when a reply is due.
func (c *conn) due(fault Fault, now time.Time) (due time.Time, pause time.Duration) {
	s := c.server
	due = now
	if s.licence != nil {
		due, pause = s.licence.take(now)
	}
	due = due.Add(s.cfg.Latency.sample(c.delays, now.Sub(s.begun)))
	if fault == Late {
		due = due.Add(s.cfg.LateBy)
	}
	if len(s.cfg.Stalls) > 0 {
		at := due.Sub(s.begun)
		if end := afterStalls(s.cfg.Stalls, at); end > at {
			due = s.begun.Add(end)
			s.counts.stalled.Add(1)
		}
	}
	if s.shape.spec.Ordered() && fault != Drop {
		due = later(due, c.latest)
		c.latest = due
	}
	return due, pause
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
