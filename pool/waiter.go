package pool

import "github.com/ringwire/ringwire/internal/list"

// waiter is a Get that waits. The goroutine that takes it out of the queue owes it
// exactly one wake, after the lock is free again.
type waiter[T Item] struct {
	ready chan struct{} // capacity 1
	e     *entry[T]     // what it got, already lent to it
	err   error         // or why it gets nothing

	place list.Node[waiter[T]] // in the queue
}

func newWaiter[T Item]() *waiter[T] {
	return &waiter[T]{ready: make(chan struct{}, 1)}
}

// wake tells the waiter that e or err is set. It does not block.
func (w *waiter[T]) wake() {
	if w != nil {
		w.ready <- struct{}{}
	}
}

// waitQueue holds the waiters, the longest first.
type waitQueue[T Item] struct{ list.List[waiter[T]] }

// pop takes the waiter that has waited longest, or returns nil.
func (q *waitQueue[T]) pop() *waiter[T] {
	w := q.Front()
	if w != nil {
		q.Remove(&w.place)
	}
	return w
}

// failAll takes every waiter out, and returns them with err, to be woken.
func (q *waitQueue[T]) failAll(err error) (failed []*waiter[T]) {
	for w := q.pop(); w != nil; w = q.pop() {
		w.err = err
		failed = append(failed, w)
	}
	return failed
}

func wakeAll[T Item](ws []*waiter[T]) {
	for _, w := range ws {
		w.wake()
	}
}
