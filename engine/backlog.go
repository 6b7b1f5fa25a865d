package engine

import (
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/taskid"
)

// backlog is where requests wait, in lanes by priority, first in, first out, while no connection
// takes them: none is up yet, or the sockets take no bytes. It belongs to the broker, so a request
// goes to whichever connection has room first, and may be given up without a trace.
//
// A request that pauses before it is made again waits here too, and is in nobody's way: the
// clock moves it into its lane when it is due.
//
// A goroutine that makes room looks at the backlog afterwards (moveOn); a submitter that has
// put a request into it looks for room afterwards. In good times it is empty and nobody locks it.
type backlog struct {
	b *Broker
	n atomic.Int32 // length of the lanes, read without the lock

	pausing atomic.Int32 // length of paused, read without the lock

	mu     sync.Mutex // guards what follows; under it requests are framed, nothing else
	lanes  list.Lanes[pending]
	paused list.List[pending]
	pool   sync.Pool // of *pending
}

// pending is one request in the backlog.
type pending struct {
	node list.Node[pending]
	request
	copied *bytepool.Buffer // holds the payload, unless it is borrowed
	due    taskid.Tick      // when its pause ends; NoTick: it is in its lane
}

func (q *backlog) init(b *Broker) {
	q.b = b
	q.pool.New = func() any { return new(pending) }
}

func (q *backlog) len() int { return int(q.n.Load()) }

// waiting returns how many requests wait, those that pause counted in.
func (q *backlog) waiting() int { return q.len() + int(q.pausing.Load()) }

// push has a request wait, if there is room for it.
func (q *backlog) push(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	limit, err := q.b.room(r)
	if err == nil {
		err = q.b.stateError() // looked at under the lock: Close empties the backlog after it
	}
	switch {
	case err != nil:
		return err
	case q.lanes.Len() >= limit:
		return errFull
	}
	q.add(r, 0)
	return nil
}

// pushAnyway is push for a request that takes the place of one that has ended, after a pause of
// so many ticks.
func (q *backlog) pushAnyway(r *request, pause uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.b.stateError() != nil {
		return false
	}
	q.add(r, pause)
	return true
}

func (q *backlog) add(r *request, pause uint32) {
	p := q.pool.Get().(*pending)
	p.request = *r
	if !r.blocks {
		p.copied = bytepool.Get(len(r.payload))
		p.copied.B = append(p.copied.B[:0], r.payload...)
		p.payload = p.copied.B
	}
	if r.ticket != nil {
		r.ticket.waiting = p
	}
	if r.tracer != nil {
		r.tracer.note(StageQueued, "", nil)
	}
	if pause > 0 {
		p.due = q.b.clock.after(pause)
		q.paused.PushBack(&p.node, p)
	} else {
		q.lanes.PushBack(p.lane, &p.node, p)
	}
	q.publish()
	q.b.clock.rouse()
}

// publish lets others see how many wait. The lock is held.
func (q *backlog) publish() {
	q.n.Store(int32(q.lanes.Len()))
	q.pausing.Store(int32(q.paused.Len()))
}

// resume ends the pauses that are over. Only the clock calls it.
func (q *backlog) resume(now taskid.Tick) {
	if q.pausing.Load() == 0 {
		return
	}
	q.mu.Lock()
	for p := q.paused.Front(); p != nil; {
		next := p.node.Next()
		if p.due.Due(now) {
			q.paused.Remove(&p.node)
			p.due = taskid.NoTick
			q.lanes.PushBack(p.lane, &p.node, p)
		}
		p = next
	}
	q.publish()
	q.mu.Unlock()
	q.moveOn()
}

// addFront puts a request back that had been given to a connection. The lock is held.
func (q *backlog) addFront(r *strandedRequest) {
	p := q.pool.Get().(*pending)
	p.request, p.copied = r.request, r.copied
	p.blocks = true // nobody waits in a callback for it to be placed
	if r.ticket != nil {
		r.ticket.waiting, r.ticket.conn = p, nil
	}
	if r.tracer != nil {
		r.tracer.note(StageMoved, "", nil)
	}
	q.lanes.PushFront(p.lane, &p.node, p)
	q.n.Store(int32(q.lanes.Len()))
	q.b.clock.rouse()
}

// takeOut removes a request that no connection has taken. The lock is held.
func (q *backlog) takeOut(p *pending) {
	if p.due == taskid.NoTick {
		q.lanes.Remove(p.lane, &p.node)
	} else {
		q.paused.Remove(&p.node)
	}
	q.publish()
}

// hand gives the first request to a connection, if there is one that takes it. The lock
// is held. The ticket is written before, since it is the caller's again as soon as the
// request can be answered.
func (q *backlog) hand(p *pending) *conn {
	if p.ticket != nil {
		p.ticket.waiting = nil
	}
	if q.b.offer(&p.request, false) {
		return p.request.conn
	}
	if p.ticket != nil {
		p.ticket.waiting = p
	}
	return nil
}

// dispose gives the memory of a request back that was taken out.
func (q *backlog) dispose(p *pending) {
	if p.copied != nil {
		bytepool.Put(p.copied)
	}
	*p = pending{}
	q.pool.Put(p)
}

// moveOn gives waiting requests to connections while these take them.
func (q *backlog) moveOn() {
	if q.n.Load() == 0 {
		return
	}
	var touched [4]*conn
	for again := true; again; {
		n := 0
		q.mu.Lock()
		for again = false; ; {
			p := q.lanes.Front()
			if p == nil {
				break
			}
			c := q.hand(p)
			if c == nil {
				break
			}
			q.lanes.Take(p.lane, &p.node)
			q.n.Store(int32(q.lanes.Len()))
			q.dispose(p)
			if n == 0 || touched[n-1] != c {
				touched[n] = c
				n++
			}
			if again = n == len(touched); again {
				break
			}
		}
		q.mu.Unlock()
		for _, c := range touched[:n] {
			c.kick()
			c.call()
		}
	}
}

// withdraw takes a request out on behalf of its caller. If it does not wait, withdraw
// returns on which connection it is or was, nil for none, and as what.
func (q *backlog) withdraw(t *ticket) (out bool, c *conn, id taskid.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := t.waiting
	if p == nil {
		return false, t.conn, t.id
	}
	q.takeOut(p)
	t.waiting = nil
	q.dispose(p)
	return true, nil, taskid.None
}

// failWhere fails the requests for which why returns an error. It returns how many.
func (q *backlog) failWhere(why func(p *pending) error) (n int) {
	type failed struct {
		p   *pending
		err error
	}
	var out []failed
	look := func(at *list.List[pending]) {
		for p := at.Front(); p != nil; {
			next := p.node.Next()
			if err := why(p); err != nil {
				q.takeOut(p)
				if p.ticket != nil {
					p.ticket.waiting = nil
				}
				out = append(out, failed{p, err})
			}
			p = next
		}
	}
	q.mu.Lock()
	q.lanes.Each(look)
	look(&q.paused)
	q.mu.Unlock()
	for _, f := range out {
		to := f.p.to
		q.dispose(f.p)
		q.b.callbacks.fail(nil, to, f.err)
	}
	return len(out)
}

// expire fails the requests whose time is up. Only the clock calls it.
func (q *backlog) expire(now taskid.Tick) {
	if q.waiting() == 0 {
		return
	}
	n := q.failWhere(func(p *pending) error {
		switch {
		case p.deadline == taskid.NoTick || !p.deadline.Due(now):
			return nil
		case p.timeout:
			return &OpError{Op: "submit", Err: errCallTimeout}
		}
		return &OpError{Op: "submit", Err: q.b.timeouts.requestErr}
	})
	q.b.ends.timeouts.Add(uint64(n))
}

// failAll fails every request. The reason why no more may wait must have been made known
// before: push looks for it under the lock.
func (q *backlog) failAll(err error) {
	n := q.failWhere(func(*pending) error { return err })
	q.b.ends.failed.Add(uint64(n))
}
