package engine

import (
	"errors"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// verdict is what a connection says to a request.
type verdict int

const (
	accepted verdict = iota
	noSlot           // MaxInFlight requests are unanswered
	noRoom           // the outbox is full, and bytes move
	stalled          // the socket takes nothing
	ended            // the connection has ended
)

// place gives a request to a connection, the next in turn that takes it, or has it wait
// in the backlog. After an error nothing was queued.
func (b *Broker) place(r *request) error {
	// What waits goes first.
	if b.state.Load() != uint32(running) || len(r.payload) > b.maxPayload ||
		b.backlog.len() > 0 || !b.offer(r, true) {
		return b.placeLater(r)
	}
	r.conn.kick()
	if !r.blocks { // a caller that blocks may read the reply itself
		r.conn.call()
	}
	return nil
}

// placeLater is place for a request that no connection took at once.
func (b *Broker) placeLater(r *request) error {
	if err := b.stateError(); err != nil {
		return err
	}
	if len(r.payload) > b.maxPayload {
		_, err := b.appendFrame(nil, r, 1)
		return &OpError{Op: "submit", Err: err}
	}
	if r.unchosen {
		b.timeLater(r)
	}
	err := b.backlog.push(r)
	if len(b.routes.Load().conns) == 0 {
		b.hurry()
	}
	if err == nil {
		b.backlog.moveOn() // room may have come before we were seen waiting
		return nil
	}
	if errors.Is(err, ErrQueueFull) {
		if b.placeOnSpare(r) {
			return nil
		}
		b.queueFull.Add(1)
	}
	return err
}

// placeOnSpare places the first Go of a reply callback in the place of the request that
// was answered, although there is room for nobody else.
func (b *Broker) placeOnSpare(r *request) bool {
	if r.blocks || r.to == nil || b.callbacks.running.Load() == 0 {
		return false
	}
	for _, c := range b.conns() {
		s, id := c.takeSpare()
		if s == nil {
			continue
		}
		if c.submitAs(r, s, id, true) != accepted {
			c.table.Free(id)
			return b.backlog.pushAnyway(r, 0)
		}
		c.kick()
		return true
	}
	return false
}

// room tells how many requests may wait in the backlog now, or why none may. What waits
// has no reply either, so it counts in MaxInFlight.
func (b *Broker) room(r *request) (limit int, err error) {
	servers := b.servers()
	up, free, moving, left := 0, false, false, b.cfg.MaxInFlight*len(servers)*b.cfg.ConnsPerAddr
	for _, c := range b.routes.Load().conns {
		up++
		returns := c.in.returns.Load()
		left -= c.table.InUse()
		free = free || !c.full()
		if r.blocks && c.in.returning(returns) {
			left, free = left+freedMax, true // so many at most come back now
		}
		moving = moving || !c.out.stalled.Load() && c.out.writing.Load() == 0
	}
	switch {
	case len(servers) == 0 || up == 0 && b.isDown():
		return 0, b.downError()
	case r.waits:
		return maxWaiting, nil
	case int64(left) <= b.callbacks.owed.Load() || up > 0 && !free:
		return 0, errFull
	case up > 0 && moving && r.blocks:
		return left, nil // they bound themselves
	}
	return min(b.cfg.QueueSize*len(servers), left), nil
}

// maxWaiting bounds the requests of callers that block for room: they bound themselves.
const maxWaiting = 1 << 30

// errFull is the refusal of a request.
var errFull = &OpError{Op: "submit", Err: ErrQueueFull}

// full reports whether MaxInFlight requests are unanswered, or were given up and their
// callbacks have not returned.
func (c *conn) full() bool {
	inUse := c.table.InUse()
	return inUse >= c.b.cfg.MaxInFlight || inUse+int(c.link.owed.Load()) >= c.b.cfg.MaxInFlight
}

// busy reports whether the socket takes nothing, or nothing more than what waits.
func (c *conn) busy() bool {
	o := &c.out
	return o.stalled.Load() || o.writing.Load() != 0 && o.ring.Records() >= c.b.cfg.QueueSize
}

// submit frames a request into the outbox.
func (c *conn) submit(r *request, relieve bool) verdict {
	if c.busy() {
		return stalled
	}
	if r.to == nil {
		return c.submitOneWay(r, relieve)
	}
	if c.link.owed.Load() != 0 && c.full() {
		return noSlot
	}
	var s *slot
	var id taskid.ID
	// For the first Go of a reply callback the slot of the request that was answered is at
	// hand, and warm.
	if !r.blocks && c.b.callbacks.running.Load() != 0 {
		s, id = c.takeSpare()
	}
	spare := s != nil
	if !spare {
		if s, id = c.table.Acquire(); s == nil {
			return noSlot
		}
	}
	v := c.submitAs(r, s, id, relieve)
	if v != accepted && !(spare && c.returnSpare(id)) {
		c.table.Free(id)
	}
	return v
}

// submitAs frames a request as id, whose slot stays the caller's unless it is accepted.
func (c *conn) submitAs(r *request, s *slot, id taskid.ID, relieve bool) verdict {
	if r.unchosen {
		c.b.timeByID(r, id)
	}
	n := c.b.header + len(r.payload)
	if n > ring.ChunkBytes {
		return c.submitLarge(r, s, id, n, relieve)
	}
	room, ok := c.out.ring.Reserve(n)
	if !ok {
		var v verdict
		if room, v = c.reserveLater(n, relieve); v != accepted {
			return v
		}
	}
	// Before it is armed: then its caller may be told of an end, and use the payload.
	c.frame(room.Bytes()[:0], r, id)
	if !c.arm(r, s, id, inRing(room.At, n)) {
		c.frame(room.Bytes()[:0], r, taskid.None)
		c.abandon(room, 1)
		return ended
	}
	room.Publish()
	return accepted
}

// abandon publishes room whose frames with the ID None are not to be sent: the connection
// has ended, or has a successor and goes on for what it has. That would wait for a gap in
// the ring for ever.
func (c *conn) abandon(room ring.Room, records int) {
	c.out.abandoned.Store(true)
	room.PublishAll(records)
	c.out.right.Assign() // we may have the backlog's lock, so we do not write
}

// submitOneWay frames a request that has no slot, since nobody waits for its reply.
func (c *conn) submitOneWay(r *request, relieve bool) verdict {
	if c.phase.Load() != phaseUp {
		return ended
	}
	n := c.b.header + len(r.payload)
	if n > ring.ChunkBytes {
		if v := c.largeRoom(relieve); v != accepted {
			return v
		}
		buf := bytepool.Get(n)
		buf.B = c.frame(buf.B[:0], r, taskid.Nobody)
		c.out.large.push(largeFrame{id: taskid.Nobody, buf: buf})
	} else {
		room, ok := c.out.ring.Reserve(n)
		if !ok {
			var v verdict
			if room, v = c.reserveLater(n, relieve); v != accepted {
				return v
			}
		}
		c.frame(room.Bytes()[:0], r, taskid.Nobody)
		room.Publish()
		c.out.credit.returned.Add(uint64(n)) // no reply gives its bytes back
	}
	c.oneWay.Add(1)
	r.conn = c
	return accepted
}

// reserveLater reserves room in an outbox that is full, if it can be relieved.
func (c *conn) reserveLater(n int, relieve bool) (ring.Room, verdict) {
	for range placeTries {
		if !relieve {
			break
		}
		if !c.relieve() {
			return ring.Room{}, stalled
		}
		if room, ok := c.out.ring.Reserve(n); ok {
			return room, accepted
		}
	}
	return ring.Room{}, noRoom
}

// submitLarge is submitAs for a frame that does not fit a chunk of the ring.
func (c *conn) submitLarge(r *request, s *slot, id taskid.ID, n int, relieve bool) verdict {
	if v := c.largeRoom(relieve); v != accepted {
		return v
	}
	buf := bytepool.Get(n)
	buf.B = c.frame(buf.B[:0], r, id)
	if !c.arm(r, s, id, spotLarge|spot(n)) {
		bytepool.Put(buf)
		return ended
	}
	c.out.large.push(largeFrame{id: id, buf: buf})
	return accepted
}

// largeRoom finds out whether there is room for one more large frame.
func (c *conn) largeRoom(relieve bool) verdict {
	if c.out.large.n.Load() < largeMax {
		return accepted
	}
	if relieve && !c.relieve() {
		return stalled
	}
	if c.out.large.n.Load() < largeMax {
		return accepted
	}
	return noRoom
}

// arm publishes a slot with its request. It reports false when the connection has ended.
func (c *conn) arm(r *request, s *slot, id taskid.ID, at spot) bool {
	if r.timeout {
		at |= spotTimeout
	}
	s.V = flight{to: r.to, at: at}
	if r.ticket != nil {
		r.ticket.conn, r.ticket.id = c, id
	}
	deadline, slack := r.deadline, uint8(0)
	if r.attempts {
		deadline, slack = c.b.attemptDeadline(deadline, r.moved)
	}
	if !c.table.ArmNoted(s, id, deadline, slack) {
		if r.ticket != nil {
			r.ticket.conn = nil
		}
		return false
	}
	r.conn, r.id = c, id
	if r.tracer != nil {
		c.placed(r, id, at)
	}
	c.b.clock.rouse()
	return true
}

// frame appends the request's frame. It fits: place has looked. It is not inlined: what
// it needs of the stack would lie on that of every caller that sleeps.
//
//go:noinline
func (c *conn) frame(b []byte, r *request, id taskid.ID) []byte {
	b, err := c.b.appendFrame(b, r, id)
	if err != nil {
		panic("engine: a payload within the limit does not fit a frame")
	}
	return b
}

func (b *Broker) appendFrame(to []byte, r *request, id taskid.ID) ([]byte, error) {
	if b.extended {
		return b.format.AppendRequest(to, id, b.remaining(r), r.payload)
	}
	return b.format.Append(to, id, r.payload)
}
