package anet

import (
	_ "sync/atomic" // so that the ring's methods can be inlined here

	"github.com/ringwire/ringwire/ring"
)

// RingBuffer is a bounded queue. One goroutine at a time may add, one at a time may
// take, and the two may be at work together. The zero value holds nothing and takes
// nothing; make one with NewRingBuffer.
type RingBuffer[T any] struct{ ring *ring.SPSC[T] }

// NewRingBuffer returns an empty queue for size items, rounded up to a power of two
// and at least 1.
func NewRingBuffer[T any](size uint64) *RingBuffer[T] {
	return &RingBuffer[T]{ring.NewSPSC[T](int(max(size, 1)))}
}

// Cap returns how many items the queue holds at most.
func (r *RingBuffer[T]) Cap() uint64 {
	if r.ring == nil {
		return 0
	}
	return uint64(r.ring.Cap())
}

// Len returns how many items are waiting.
func (r *RingBuffer[T]) Len() uint64 {
	if r.ring == nil {
		return 0
	}
	return uint64(r.ring.Len())
}

// Enqueue adds an item. It returns false if the queue is full.
func (r *RingBuffer[T]) Enqueue(item T) bool { return r.ring != nil && r.ring.TryPush(item) }

// Dequeue takes the oldest item. It returns false if there is none.
func (r *RingBuffer[T]) Dequeue() (T, bool) {
	if r.ring == nil {
		var none T
		return none, false
	}
	return r.ring.TryPop()
}
