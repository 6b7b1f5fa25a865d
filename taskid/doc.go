// Package taskid keeps track of who is in flight on one connection.
//
// A [Table] holds a slot for every request that has been issued an [ID] and is
// not yet forgotten. The slot decides, by one compare-and-swap, which of reply,
// timeout, cancellation and loss of the connection completes the request, and
// keeps the ID from being issued again while a late reply could still carry it.
//
// # Progress
//
// Acquire and Release are lock-free while the table does not grow: a failed
// compare-and-swap means that another goroutine succeeded. A goroutine that is
// preempted while it gives a slot back delays only the acquirer that would get
// that very slot, which then tries a bounded number of times and reports the
// table as exhausted. Growth (once per 256 slots in a table's life) takes a
// mutex. All other transitions are a single compare-and-swap that is retried
// only when another party made progress on the same slot.
//
// # Sources
//
// Slot plus generation in the identifier: brpc's versioned ids, DataStax and
// Scylla drivers for the quarantine of timed-out stream ids. The free list is
// Vyukov's bounded MPMC queue without the producer's full check, which the
// number of slots makes unnecessary.
package taskid
