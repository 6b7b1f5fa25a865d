package ring

import (
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/invariant"
)

// MPSC is a bounded queue from many producers to one consumer. Values of one
// producer come out in the order in which it pushed them; there is no order
// between producers beyond that of pushes of which one returned before the other
// began. Make it with [NewMPSC]; it must not be copied.
//
// TryPop and PopInto belong to the consumer, one goroutine at a time. Everything
// else may be called by anybody.
//
// Invariants: head <= tail <= head+capacity. A position from head up to tail is
// claimed. Its cell belongs to the producer that claimed it until the cell's
// sequence says position+1, then to the consumer until head passes it. Other
// cells hold the zero value and belong to nobody: a claim is what makes one the
// producer's.
//
// Capacity 1 needs no exception. A sequence names the position that was
// published and nothing else, so neighbouring positions in one cell are told
// apart; that a cell is free is known from head, not from its sequence.
type MPSC[T any] struct {
	cells []cell[T]
	mask  uint64
	first uint64 // position of the first push ever

	_         cacheline.Pad
	producers struct {
		tail word // next position to claim; moved by compare-and-swap
		head word // consumer.head as some producer saw it; may lag, never leads
	}
	_        cacheline.Pad
	consumer struct {
		head word // next position to take; only the consumer stores it
		sole exclusive
	}
	_ cacheline.Pad
}

// cell is not padded: the consumer walks cells in order, and several to a line
// cost it fewer misses than neighbouring producers cost each other.
type cell[T any] struct {
	seq word // position+1 of the value in val once it is published
	val T
}

// NewMPSC returns an empty ring for capacity values, rounded up to a power of
// two. It panics if capacity is less than 1.
func NewMPSC[T any](capacity int) *MPSC[T] {
	return newMPSC[T](capacity, 0)
}

// newMPSC starts at a given position, so that tests reach the end of the range.
func newMPSC[T any](capacity int, start uint64) *MPSC[T] {
	n := roundUp(capacity)
	r := &MPSC[T]{cells: make([]cell[T], n), mask: uint64(n - 1), first: start}
	if start != 0 {
		for i := range r.cells {
			r.cells[i].seq.Store(start) // older than any position+1 of the first lap
		}
	}
	r.producers.tail.Store(start)
	r.producers.head.Store(start)
	r.consumer.head.Store(start)
	return r
}

// TryPush appends v, or reports false when the ring is full: every cell is
// claimed and not yet given back by the consumer. Lock-free among producers; see
// the package's section on progress for what a preempted one delays. What v
// points to is the consumer's as soon as the push begins to take effect.
func (r *MPSC[T]) TryPush(v T) bool {
	pos, ok := r.claim()
	if ok {
		r.publish(pos, v)
	}
	return ok
}

// claim makes the cell of the next position the caller's, which must publish it.
func (r *MPSC[T]) claim() (pos uint64, ok bool) {
	p := &r.producers
	for {
		pos = p.tail.Load()
		// Signed, because pos may be old: others have claimed beyond it and the
		// consumer may even have taken that. Then the swap fails.
		if int64(pos-p.head.Load()) >= int64(len(r.cells)) && r.full(pos) {
			return 0, false
		}
		// Head only grows, so room seen before the swap is still there after it;
		// and tail never returns to an earlier value.
		if p.tail.CompareAndSwap(pos, pos+1) {
			return pos, true
		}
	}
}

// full looks at the consumer's index itself and leaves it for other producers.
func (r *MPSC[T]) full(tail uint64) bool {
	head := r.consumer.head.Load()
	if int64(tail-head) >= int64(len(r.cells)) {
		return true
	}
	// A slower producer may put an older index in its place. That makes somebody
	// look again, nothing worse.
	r.producers.head.Store(head)
	return false
}

// publish fills the cell of a claimed position.
func (r *MPSC[T]) publish(pos uint64, v T) {
	c := &r.cells[pos&r.mask]
	c.val = v
	c.seq.Store(pos + 1) // the cell is now the consumer's
}

// TryPop takes the oldest value. It reports false when the oldest position is
// not published: the ring is empty, or the producer that claimed it has not
// finished. Wait-free. The ring keeps no copy.
func (r *MPSC[T]) TryPop() (v T, ok bool) {
	if invariant.Enabled {
		r.consumer.sole.enter(secondConsumer)
		defer r.consumer.sole.leave()
	}
	head := r.consumer.head.Load()
	c := &r.cells[head&r.mask]
	if c.seq.Load() != head+1 {
		return v, false
	}
	v, c.val = c.val, v
	r.consumer.head.Store(head + 1) // the cell is now whose claim comes next
	return v, true
}

// PopInto moves up to len(dst) of the oldest values into dst, in order, and
// returns how many: it stops at the first position that is not published. At most
// Cap values come at once, and their cells become free together, by one store, at
// the end. Wait-free. The ring keeps no copy.
func (r *MPSC[T]) PopInto(dst []T) int {
	if invariant.Enabled {
		r.consumer.sole.enter(secondConsumer)
		defer r.consumer.sole.leave()
	}
	head := r.consumer.head.Load()
	pos := head
	var zero T
	for i := range dst {
		// Ends after a lap at the latest: cells taken here still have the sequence
		// of that lap, because nobody can claim them before head moves.
		c := &r.cells[pos&r.mask]
		if c.seq.Load() != pos+1 {
			break
		}
		dst[i], c.val = c.val, zero
		pos++
	}
	if pos != head {
		r.consumer.head.Store(pos) // all of them are now whose claims come next
	}
	return int(pos - head)
}

// Empty reports whether the oldest position holds no completed push. If a push
// has returned, its value was not taken, and Empty says true, then an older push
// is still under way. Wait-free.
//
// Anybody may ask. While another goroutine takes values the answer may be false
// although the last one has just gone.
func (r *MPSC[T]) Empty() bool {
	head := r.consumer.head.Load()
	// A newer sequence means that this head is old and that the cell has been
	// filled again since: not known to be empty.
	return int64(r.cells[head&r.mask].seq.Load()-(head+1)) < 0
}

// Len returns how many cells are claimed and not given back: the values queued,
// and those being pushed or popped. It is as of some recent moment and never
// more than Cap.
func (r *MPSC[T]) Len() int {
	// In this order the difference cannot be negative. It can be too large, when
	// both ends move on between the two loads.
	head := r.consumer.head.Load()
	return int(min(r.producers.tail.Load()-head, uint64(len(r.cells))))
}

// Cap returns how many values the ring holds: a power of two.
func (r *MPSC[T]) Cap() int { return len(r.cells) }

// Pushed returns how many pushes were ever accepted, those under way included.
// It never decreases.
func (r *MPSC[T]) Pushed() uint64 { return r.producers.tail.Load() - r.first }
