package queues

import (
	"runtime"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/ringwire/ringwire/ring"
)

// queue is what is compared: from many producers, or one, to one consumer. Where
// a queue does not wait by itself, its sides yield the processor between attempts,
// as the engine does.
type queue interface {
	// producer returns what one producer appends a value with. It waits while there
	// is no room.
	producer() func(v uint64)
	// popInto moves at least one and at most len(dst) values into dst and returns
	// how many. It waits for the first.
	popInto(dst []uint64) int
}

// kind is one queue of the comparison.
type kind struct {
	name         string
	producersMax int
	make         func(capacity int) queue
}

// kinds are the queues of the comparison, ours first.
func kinds() []kind {
	const many = 8
	return []kind{
		{"spsc", 1, func(n int) queue { return trying{ring.NewSPSC[uint64](n)} }},
		{"mpsc", many, func(n int) queue { return trying{ring.NewMPSC[uint64](n)} }},
		{"chan", many, func(n int) queue { return channel{make(chan uint64, n)} }},
		{"xsync-spsc", 1, func(n int) queue { return trying{xsyncQueue{xsync.NewSPSCQueue[uint64](n)}} }},
		{"xsync-mpmc", many, func(n int) queue { return trying{xsyncQueue{xsync.NewMPMCQueue[uint64](n)}} }},
		{"xsync-umpsc", many, func(n int) queue { return &unbounded{q: xsync.NewUMPSCQueue[uint64](), capacity: n} }},
		{"linked-mpsc", many, func(n int) queue { return pointers{newLinkedMPSC[uint64](n/8, n), n} }},
	}
}

// tryQueue never waits.
type tryQueue interface {
	TryPush(v uint64) bool
	PopInto(dst []uint64) int // 0 when it is empty
}

// trying waits for a tryQueue.
type trying struct{ q tryQueue }

func (t trying) producer() func(uint64) {
	return func(v uint64) {
		for !t.q.TryPush(v) {
			runtime.Gosched()
		}
	}
}

func (t trying) popInto(dst []uint64) int {
	for {
		if n := t.q.PopInto(dst); n > 0 {
			return n
		}
		runtime.Gosched()
	}
}

// channel parks goroutines that have to wait.
type channel struct{ c chan uint64 }

func (q channel) producer() func(uint64) { return func(v uint64) { q.c <- v } }

func (q channel) popInto(dst []uint64) int {
	dst[0] = <-q.c
	for i := 1; i < len(dst); i++ {
		select {
		case dst[i] = <-q.c:
		default:
			return i
		}
	}
	return len(dst)
}

// xsyncQueue makes a tryQueue of those of xsync, which pop one value at a time.
type xsyncQueue struct {
	q interface {
		TryEnqueue(v uint64) bool
		TryDequeue() (uint64, bool)
	}
}

func (x xsyncQueue) TryPush(v uint64) bool { return x.q.TryEnqueue(v) }

func (x xsyncQueue) PopInto(dst []uint64) int {
	for i := range dst {
		v, ok := x.q.TryDequeue()
		if !ok {
			return i
		}
		dst[i] = v
	}
	return len(dst)
}

// unbounded is xsync's UMPSCQueue, which has no bound and whose consumer parks.
// The bound is added here, as its user would have to, by two counters; the
// producers' costs them about as much as the queue itself. It may be exceeded by
// one value for each producer.
type unbounded struct {
	q        *xsync.UMPSCQueue[uint64]
	capacity int
	pushed   atomic.Uint64
	_        [128]byte
	popped   uint64        // the consumer's
	taken    atomic.Uint64 // popped, as of the last publishEvery'th
}

// publishEvery is how often the consumer says how far it is: a store that others
// read costs more than the pop. It is at most half of any capacity, so that a
// full queue always holds what makes the consumer publish again.
const publishEvery = 64

func (u *unbounded) producer() func(uint64) {
	return func(v uint64) {
		for u.pushed.Load()-u.taken.Load() >= uint64(u.capacity) {
			runtime.Gosched()
		}
		u.pushed.Add(1)
		u.q.Enqueue(v)
	}
}

// popInto takes one value: the queue does not tell whether there is a second.
func (u *unbounded) popInto(dst []uint64) int {
	dst[0] = u.q.Dequeue()
	if u.popped++; u.popped%publishEvery == 0 {
		u.taken.Store(u.popped)
	}
	return 1
}

// pointers moves values through a queue of pointers. A producer reuses the memory
// they point to after twice the capacity, when they have long been taken.
type pointers struct {
	q        *linkedMPSC[uint64]
	capacity int
}

func (q pointers) producer() func(uint64) {
	values, next := make([]uint64, 2*q.capacity), 0
	return func(v uint64) {
		values[next] = v
		for !q.q.tryPush(&values[next]) {
			runtime.Gosched()
		}
		next = (next + 1) % len(values)
	}
}

func (q pointers) popInto(dst []uint64) int {
	for {
		n := 0
		for n < len(dst) {
			v := q.q.tryPop()
			if v == nil {
				break
			}
			dst[n] = *v
			n++
		}
		if n > 0 {
			return n
		}
		runtime.Gosched()
	}
}
