package ring

import (
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/invariant"
)

// SPSC is a bounded first-in-first-out queue from one producer to one consumer.
// Make it with [NewSPSC]; it must not be copied.
//
// TryPush belongs to the producer, TryPop and PopInto to the consumer; one
// goroutine at a time in each role. Len and Cap may be called by anybody.
//
// Invariants: head <= tail <= head+capacity. The slots from head up to tail
// belong to the consumer and hold the values queued, the others belong to the
// producer and hold zero values. An index is stored by its own side only, and
// the store is what hands slots over.
type SPSC[T any] struct {
	slots []T
	mask  uint64

	_        cacheline.Pad
	producer struct {
		tail word   // next position to fill; only the producer stores it
		head uint64 // consumer.head as the producer last saw it
		sole exclusive
	}
	_        cacheline.Pad
	consumer struct {
		head word   // next position to take; only the consumer stores it
		tail uint64 // producer.tail as the consumer last saw it
		sole exclusive
	}
	_ cacheline.Pad
}

// NewSPSC returns an empty ring for capacity values, rounded up to a power of
// two. It panics if capacity is less than 1.
func NewSPSC[T any](capacity int) *SPSC[T] {
	return newSPSC[T](capacity, 0)
}

// newSPSC starts at a given position, so that tests reach the end of the range.
func newSPSC[T any](capacity int, start uint64) *SPSC[T] {
	n := roundUp(capacity)
	r := &SPSC[T]{slots: make([]T, n), mask: uint64(n - 1)}
	r.producer.tail.Store(start)
	r.producer.head = start
	r.consumer.head.Store(start)
	r.consumer.tail = start
	return r
}

// TryPush appends v, or reports false when the ring is full. Wait-free.
// What v points to is the consumer's from then on.
func (r *SPSC[T]) TryPush(v T) bool {
	p := &r.producer
	if invariant.Enabled {
		p.sole.enter(secondProducer)
		defer p.sole.leave()
	}
	tail := p.tail.Load()
	if tail-p.head > r.mask {
		p.head = r.consumer.head.Load()
		if tail-p.head > r.mask {
			return false
		}
	}
	r.slots[tail&r.mask] = v
	p.tail.Store(tail + 1) // the slot is now the consumer's
	return true
}

// TryPop takes the oldest value, or reports false when the ring is empty.
// Wait-free. The ring keeps no copy.
func (r *SPSC[T]) TryPop() (v T, ok bool) {
	c := &r.consumer
	if invariant.Enabled {
		c.sole.enter(secondConsumer)
		defer c.sole.leave()
	}
	head := c.head.Load()
	if head == c.tail {
		c.tail = r.producer.tail.Load()
		if head == c.tail {
			return v, false
		}
	}
	slot := &r.slots[head&r.mask]
	v, *slot = *slot, v
	c.head.Store(head + 1) // the slot is now the producer's
	return v, true
}

// PopInto moves up to len(dst) of the oldest values into dst, in order, and
// returns how many. It takes what was there when it looked, once. Wait-free. The
// ring keeps no copy.
func (r *SPSC[T]) PopInto(dst []T) int {
	c := &r.consumer
	if invariant.Enabled {
		c.sole.enter(secondConsumer)
		defer c.sole.leave()
	}
	head := c.head.Load()
	if c.tail-head < uint64(len(dst)) {
		c.tail = r.producer.tail.Load()
	}
	n := int(min(c.tail-head, uint64(len(dst))))
	if n == 0 {
		return 0
	}
	first := r.slots[head&r.mask:]
	first = first[:min(n, len(first))]
	rest := r.slots[:n-len(first)]
	copy(dst, first)
	copy(dst[len(first):], rest)
	clear(first)
	clear(rest)
	c.head.Store(head + uint64(n)) // all of them are now the producer's
	return n
}

// Len returns how many values are queued: exact for a side while the other
// rests, else as of some recent moment. It is never more than Cap.
func (r *SPSC[T]) Len() int {
	// In this order the difference cannot be negative. It can be too large, when
	// both sides move on between the two loads.
	head := r.consumer.head.Load()
	return int(min(r.producer.tail.Load()-head, uint64(len(r.slots))))
}

// Cap returns how many values the ring holds: a power of two.
func (r *SPSC[T]) Cap() int { return len(r.slots) }
