package queues

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"
)

// linkedMPSC is a queue of pointers from many producers to one consumer, on arrays
// that are linked as it grows: the design of JCTools' MpscGrowableArrayQueue,
// which Caffeine and otter put their writes through. otter v2 does not export its
// own, so this is written after it (internal/deque/queue/mpsc.go of v2.2.1), with
// two differences: the link to the next array is a field, not a last cell, and the
// consumer reports an unfinished push as empty instead of spinning for it.
//
// Indexes count in steps of two; an odd producer index says that a producer is
// adding an array. A position holds nil until it is filled; moved says that its
// value, and what follows, is in the next array.
type linkedMPSC[T any] struct {
	_        [128]byte
	tail     atomic.Uint64
	_        [128]byte
	head     atomic.Uint64 // stored by the consumer
	consumed *cells[T]     // the consumer's
	_        [128]byte
	filled   atomic.Pointer[cells[T]]
	limit    atomic.Uint64 // producers need not look at head below it
	_        [128]byte
	max      uint64 // capacity in steps
	moved    *T
}

type cells[T any] struct {
	at   []atomic.Pointer[T]
	mask uint64
	next atomic.Pointer[cells[T]]
}

func newCells[T any](n uint64) *cells[T] {
	return &cells[T]{at: make([]atomic.Pointer[T], n), mask: n - 1}
}

func (c *cells[T]) cell(index uint64) *atomic.Pointer[T] { return &c.at[index/2&c.mask] }

// span is how far, in steps, producers may be ahead of the consumer with an array.
// While it can grow it keeps a cell free for moved.
func (q *linkedMPSC[T]) span(c *cells[T]) uint64 {
	if all := 2 * uint64(len(c.at)); all < q.max {
		return all - 2
	}
	return q.max
}

// newLinkedMPSC returns an empty queue whose first array has room for initial
// values and which grows to capacity; both are rounded up to a power of two.
func newLinkedMPSC[T any](initial, capacity int) *linkedMPSC[T] {
	if initial < 2 || capacity < initial {
		panic(fmt.Sprintf("queues: initial %d and capacity %d: want 2 <= initial <= capacity", initial, capacity))
	}
	first := newCells[T](1 << bits.Len(uint(initial-1)))
	q := &linkedMPSC[T]{max: 2 << bits.Len(uint(capacity-1)), moved: new(T), consumed: first}
	q.filled.Store(first)
	q.limit.Store(q.span(first))
	return q
}

// tryPush appends v, which must not be nil, or reports false when the queue is
// full.
func (q *linkedMPSC[T]) tryPush(v *T) bool {
	for {
		limit, tail := q.limit.Load(), q.tail.Load()
		if tail&1 == 1 { // an array is being added
			runtime.Gosched()
			continue
		}
		// An array read here may be old. Then tail has moved on and the swap fails.
		array := q.filled.Load()
		if tail >= limit {
			head := q.head.Load()
			switch {
			case tail < head+q.span(array):
				if !q.limit.CompareAndSwap(limit, head+q.span(array)) {
					continue
				}
			case tail-head >= q.max:
				return false
			case q.tail.CompareAndSwap(tail, tail+1):
				q.grow(array, tail, head, v)
				return true
			default:
				continue
			}
		}
		if q.tail.CompareAndSwap(tail, tail+2) {
			array.cell(tail).Store(v)
			return true
		}
	}
}

// grow adds an array of twice the size with v in it. The odd tail keeps the other
// producers out; the last store lets the consumer in.
func (q *linkedMPSC[T]) grow(old *cells[T], tail, head uint64, v *T) {
	array := newCells[T](2 * uint64(len(old.at)))
	array.cell(tail).Store(v)
	q.filled.Store(array)
	old.next.Store(array)
	// The new array has nothing before tail, and the capacity is counted from head.
	q.limit.Store(min(tail+q.span(array), head+q.max))
	q.tail.Store(tail + 2)
	old.cell(tail).Store(q.moved)
}

// tryPop takes the oldest value, or returns nil when there is none or the push of
// the oldest has not ended.
func (q *linkedMPSC[T]) tryPop() *T {
	head := q.head.Load()
	cell := q.consumed.cell(head)
	v := cell.Load()
	if v == nil {
		return nil
	}
	cell.Store(nil)
	if v == q.moved {
		q.consumed = q.consumed.next.Load()
		cell = q.consumed.cell(head)
		v = cell.Load()
		cell.Store(nil)
	}
	q.head.Store(head + 2) // the cell is now a producer's
	return v
}
