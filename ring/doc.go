// Package ring holds bounded queues between goroutines, and a counter that many
// goroutines may add to.
//
//   - [SPSC]: one producer, one consumer.
//   - [MPSC]: any number of producers, one consumer.
//   - [Bytes]: records of bytes from any number of producers, for one consumer that
//     takes them without a copy.
//   - [Counter]: a sum, striped so that adders do not share a cache line.
//
// Nothing here blocks, spins or starts a goroutine, and nothing but Bytes, which
// takes chunks from a pool, allocates after construction. An operation that cannot be done now
// reports so; how to wait is the caller's decision.
//
// # One at a time
//
// "One consumer" means one at a time, not one for ever. The role may pass to
// another goroutine if the hand-over itself orders the two, as a mutex, a channel
// or a compare-and-swap on a token does. Under the build tag invariant two
// goroutines that meet in the same role panic.
//
// # Progress
//
//	SPSC   TryPush TryPop PopInto   wait-free
//	MPSC   TryPush                  lock-free among producers
//	MPSC   TryPop PopInto Empty     wait-free
//	Bytes  Reserve                  lock-free among producers
//	Bytes  Publish Take Done Ready  wait-free but for retries when a producer succeeds
//	Counter Add Load                wait-free
//	       Len Cap Pushed           wait-free
//
// This holds where a 64-bit load, store or addition is one instruction: on amd64,
// and on arm64 since ARMv8.1. Elsewhere an addition, and on ARMv7 a store, is a short
// retry loop, so that wait-free becomes lock-free; and where Go emulates them with a
// lock (32-bit MIPS, ARM before version 7) none of it holds.
//
// Lock-free among producers: an attempt is repeated only because another
// producer's succeeded. The MPSC ring as a whole is not lock-free. A producer
// that is preempted between claiming a position and publishing it delays the
// consumer at that position, and with it whatever was pushed later; the other
// producers go on until the ring is full. It delays, it does not deadlock: the
// consumer reports that there is nothing to take and may try again.
//
// # Empty is relaxed
//
// A ring is reported empty only if its oldest position holds no completed push.
// A push that has returned can thus be missed, but only while an older one is
// still under way. A consumer that wants to sleep on an empty ring must therefore be woken
// by every producer after its push, not only by the one that found the ring
// empty: then the producer that was late wakes the consumer for both.
//
// # Inlining
//
// TryPush and TryPop of SPSC are inlined, but the package that instantiates the
// ring has to import sync/atomic itself, blank if need be. Otherwise the
// compiler (Go 1.26) does not turn Load and Store into instructions while it
// weighs the generic body for that package, and neither they nor the method are
// inlined.
//
// # Sources
//
// SPSC is Lamport's queue with each side's copy of the other's index (Rigtorp's
// SPSCQueue, FastForward). MPSC has the cell sequence of Vyukov's bounded queue
// and, in place of its check of the cell by producers, the consumer's index and
// the producers' shared copy of it of Agrona's ManyToOneConcurrentArrayQueue:
// the consumer so gives a whole batch back by one store. Counter is the JDK's
// LongAdder with a fixed number of stripes. Bytes is a ring of the buffers of a log
// appender, of which one is filled while another one is written.
package ring
