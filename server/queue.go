package server

import (
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/ring"
)

// desk is what a connection with requests in the hands of workers has: those that wait,
// and those that come back.
type desk struct {
	back *ring.MPSC[*job] // the loop takes them out

	// Guarded by queue.mu.
	first, last *job  // that wait; nil: none
	next        *desk // in the queue
}

// queue holds the requests that wait for a worker. Connections are served in turn, one
// request at a time, so one with many makes another with few wait for one of each at
// most. The requests of a connection are taken in their order.
type queue struct {
	n atomic.Int64 // requests

	mu          sync.Mutex // guards what follows, held for a few instructions
	first, last *desk      // that have requests, in turn
}

// put adds a request of a connection.
func (q *queue) put(j *job) {
	q.mu.Lock()
	if d := j.desk; d.first == nil {
		d.first, d.last = j, j
		q.add(d)
	} else {
		d.last.next, d.last = j, j
	}
	q.n.Add(1)
	q.mu.Unlock()
}

// take returns the request whose turn it is, nil if there is none, and whether there are
// more.
func (q *queue) take() (j *job, more bool) {
	if q.n.Load() == 0 {
		return nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.first
	if d == nil {
		return nil, false
	}
	q.first, d.next = d.next, nil
	j = d.first
	d.first, j.next = j.next, nil
	if d.first != nil {
		q.add(d)
	} else {
		d.last = nil
	}
	q.n.Add(-1)
	return j, q.first != nil
}

// add puts a connection behind the others. The caller holds mu.
func (q *queue) add(d *desk) {
	if q.first == nil {
		q.first = d
	} else {
		q.last.next = d
	}
	q.last = d
}
