package stub

import (
	"container/heap"
	"time"
)

// reply is one that waits until it is due.
type reply struct {
	received time.Time
	due      time.Time
	number   uint64 // of its request on the connection
	frame    []byte
	fault    Fault
	index    int // in the queue

	// Of one that waits for the next request, to be swapped with its reply.
	id      []byte
	payload []byte
	own     time.Time // when it is due then
}

// queue is a heap of replies, the one that is due first at its top.
type queue []*reply

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].number < q[j].number
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *queue) Push(x any) {
	r := x.(*reply)
	r.index = len(*q)
	*q = append(*q, r)
}
func (q *queue) Pop() any {
	old := *q
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return r
}

const (
	sparesMax    = 1024
	spareBytes   = 4 << 10
	pendingBytes = 64 << 20 // of the frames of one connection that wait
	batchReplies = 512
	batchBytes   = 64 << 10
)

// waiting holds the replies of a connection. It is guarded by the connection's lock.
type waiting struct {
	queue  queue
	bytes  int // of their frames
	spares []*reply
}

// fresh returns a reply to fill in.
func (w *waiting) fresh() *reply {
	if n := len(w.spares); n > 0 {
		r := w.spares[n-1]
		w.spares = w.spares[:n-1]
		return r
	}
	return new(reply)
}

func (w *waiting) add(r *reply) {
	heap.Push(&w.queue, r)
	w.bytes += len(r.frame)
}

// due takes what is due at now out, and appends it to batch. next is when the first of the
// others is due.
func (w *waiting) due(now time.Time, batch []*reply) (_ []*reply, next time.Time) {
	for bytes := 0; len(w.queue) > 0; {
		r := w.queue[0]
		if r.due.After(now) || len(batch) == batchReplies || bytes >= batchBytes {
			return batch, r.due
		}
		heap.Pop(&w.queue)
		w.bytes -= len(r.frame)
		bytes += len(r.frame)
		batch = append(batch, r)
	}
	return batch, time.Time{}
}

// free keeps replies that were written for others.
func (w *waiting) free(batch []*reply) {
	for i, r := range batch {
		if len(w.spares) < sparesMax && cap(r.frame)+cap(r.payload) <= spareBytes {
			*r = reply{frame: r.frame[:0], id: r.id[:0], payload: r.payload[:0]}
			w.spares = append(w.spares, r)
		}
		batch[i] = nil
	}
}
