// Package taskid keeps track of what is in flight on one connection.
//
// A [Table] holds a slot for every request that has been issued an [ID] and is not yet
// forgotten. The slot decides, by one compare-and-swap, which of reply, timeout,
// cancellation and loss of the connection completes the request, and keeps the ID from
// being issued again while a late reply could still carry it.
//
// # A request's life
//
// The goroutine that acquires a slot owns it until Arm, which publishes the request; from
// then on the slot belongs to the goroutine that wins its outcome. The reader, if it wins
// by Answer, returns the slot by Free or FreeAll, or gives it its next ID by Renew. A
// goroutine that gives the request up, by Cancel, Expire or Close, owns the slot until
// Release; its ID then stays in quarantine until the answer comes or the table is closed.
//
// # Progress
//
// A failed compare-and-swap on a slot or on the free list means that another goroutine
// succeeded, so Arm, Answer, Cancel and Release are lock-free, and so are Acquire and
// Free but for two things. Growth, once for 256 slots in a table's life, takes a mutex.
// And a goroutine that frees a slot claims the list's next place, then fills it: one that
// is preempted in between delays those that acquire when its place has become the first.
// They yield and try a bounded number of times; after that a table of full size is
// reported as exhausted, and one that may still grow is tried again.
//
// # Sources
//
// Slot plus generation in the identifier: brpc's versioned ids. The quarantine of IDs
// whose requests timed out: the DataStax and Scylla drivers. The free list is Vyukov's
// bounded MPMC queue without the producer's full check, which the number of slots makes
// unnecessary. Arm and Close meet as in Dekker's algorithm: each publishes, then looks,
// so at least one sees the other.
package taskid
