package server

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/ring"
)

// lateAfter is how long the oldest request of a connection waits before each second one that
// is taken is the newest instead. A request that has waited for long may have no caller any
// more that waits for it; if all were taken in their order while more come than can be done,
// none would be in time. The other half is taken in order, so that a client that is patient
// gets all of its replies. (Newest first under load is Facebook's adaptive LIFO: "Fail at
// Scale", ACM Queue 13(8), 2015.)
const lateAfter = 100 * time.Millisecond

// desk is what a connection with requests off the loop has: those that wait for a worker,
// and those that come back.
type desk struct {
	back      *ring.MPSC[*Request] // the loop takes them out
	limit     int64                // as many may be taken and not collected; what back holds
	collected atomic.Int64         // by the loop
	pending   int64                // the loop's: bytes of requests that are not collected

	// Guarded by queue.mu.
	oldest, newest *Request
	newestNext     bool
	ready          bool  // has a request that may be taken
	listed         bool  // in one of the queue's lists; if no longer ready it stays there for a turn
	taken          int64 // by workers
	next           *desk // in that list

	parked  atomic.Bool  // set under queue.mu: not in the queue because of limit
	waiting atomic.Int64 // set under queue.mu: when the oldest came, nanoseconds; never if none
}

// never is when the oldest request came if there is none.
const never = math.MaxInt64

func newDesk(limit int) *desk {
	d := &desk{back: ring.NewMPSC[*Request](limit), limit: int64(limit)}
	d.waiting.Store(never)
	return d
}

// since returns when the oldest request came that waits. d may be nil.
func (d *desk) since() time.Duration {
	if d == nil {
		return never
	}
	return time.Duration(d.waiting.Load())
}

// bounded is how much the requests off the loop may hold. Beyond it each connection has one of
// them taken at a time: so replies that nobody reads do not grow, and a client that reads is
// served.
type bounded struct {
	held *atomic.Int64
	most int64
}

func (b bounded) over() bool { return b.held != nil && b.held.Load() > b.most }

// turns is a list of connections, the one to be served next first.
type turns struct{ first, last *desk }

func (t *turns) push(d *desk) {
	if t.first == nil {
		t.first = d
	} else {
		t.last.next = d
	}
	t.last, d.listed = d, true
}

// pop takes the next connection out that is ready, and those before it that are not any more.
func (t *turns) pop() *desk {
	for d := t.first; d != nil; d = t.first {
		t.first, d.next, d.listed = d.next, nil, false
		if d.ready {
			return d
		}
	}
	return nil
}

// queue holds the requests that wait for a worker. Connections are served in turn, one
// request at a time, so one with many makes another with few wait for one of each at
// most. One that had nothing under way when its request came does not even wait for that:
// it is served before the others, but once only until all of them have had their turn, so
// none is kept waiting by those that come and go. (Sparse flows of FQ-CoDel, RFC 8290, are
// served like this.) The requests of a connection are taken in their order, until the oldest
// is late. A connection with desk.limit requests under way is not served until the loop has
// collected some.
type queue struct {
	n     atomic.Int64 // requests
	ready atomic.Int64 // connections with requests that may be taken
	bytes bounded

	mu     sync.Mutex // guards what follows, held for a few instructions
	sparse turns      // those that had nothing under way
	all    turns      // the others, and those that were sparse since their last turn
}

// put adds a request of a connection.
func (q *queue) put(r *Request) {
	q.mu.Lock()
	d := r.desk
	if r.prev = d.newest; r.prev == nil {
		d.oldest = r
		d.waiting.Store(int64(r.arrived))
	} else {
		r.prev.next = r
	}
	d.newest = r
	q.n.Add(1)
	q.offer(d)
	q.mu.Unlock()
}

// take returns the request whose turn it is, nil if there is none, and whether there are
// more.
func (q *queue) take(now time.Duration) (r *Request, more bool) {
	if q.ready.Load() == 0 {
		return nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.sparse.pop()
	sparse := d != nil
	if !sparse {
		d = q.all.pop()
	}
	if d == nil {
		return nil, false
	}
	q.unready(d)
	r = d.oldest
	if now-r.arrived > lateAfter {
		if d.newestNext {
			r = d.newest
		}
		d.newestNext = !d.newestNext
	}
	q.unlink(r)
	d.taken++
	if sparse && q.n.Load() > 0 {
		q.all.push(d) // its next request waits like anybody's
	}
	q.offer(d)
	return r, q.ready.Load() > 0
}

// unlink takes a request off its desk. The caller holds mu.
func (q *queue) unlink(r *Request) {
	d := r.desk
	if r.next == nil {
		d.newest = r.prev
	} else {
		r.next.prev = r.prev
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else if d.oldest = r.next; d.oldest != nil {
		d.waiting.Store(int64(d.oldest.arrived))
	} else {
		d.waiting.Store(never)
	}
	r.next, r.prev = nil, nil
	if d.oldest == nil && d.ready {
		q.unready(d)
	}
	if q.n.Add(-1) == 0 { // there is nobody whose turn comes before another's
		q.sparse.pop()
		q.all.pop()
	}
}

// offer has a connection served in its turn, if it has requests and may be served. The
// caller holds mu.
func (q *queue) offer(d *desk) {
	if d.oldest == nil || d.ready || q.atLimit(d) {
		return
	}
	d.ready = true
	q.ready.Add(1)
	switch {
	case d.listed:
	case d.oldest == d.newest && d.taken == d.collected.Load():
		q.sparse.push(d)
	default:
		q.all.push(d)
	}
}

// unready has a connection not served. The caller holds mu.
func (q *queue) unready(d *desk) {
	d.ready = false
	q.ready.Add(-1)
}

// atLimit reports whether no more requests may be taken; then the loop is to say when that
// has changed. The caller holds mu.
func (q *queue) atLimit(d *desk) bool {
	limit := d.limit
	if q.bytes.over() {
		limit = 1
	}
	if d.taken-d.collected.Load() < limit {
		d.parked.Store(false)
		return false
	}
	d.parked.Store(true)
	// A turn that has collected since the first look may not have seen that.
	if d.taken-d.collected.Load() < limit {
		d.parked.Store(false)
		return false
	}
	return true
}

// collected notes that the loop has collected n requests more, and reports whether the
// connection is served again because of it.
func (q *queue) collected(d *desk, n int) bool {
	d.collected.Add(int64(n))
	if !d.parked.Load() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.offer(d)
	return d.ready
}

// mayGoOn reports whether a connection that is not served perhaps could be, because no longer
// too much is held: those that collect tell only their own connection. d may be nil.
func (q *queue) mayGoOn(d *desk) bool {
	return d != nil && d.parked.Load() && !q.bytes.over()
}

// takeOld takes the oldest request of a connection if it came before a time.
func (q *queue) takeOld(d *desk, before time.Duration) *Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := d.oldest
	if r == nil || r.arrived >= before {
		return nil
	}
	q.unlink(r)
	return r
}
