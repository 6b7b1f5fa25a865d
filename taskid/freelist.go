package taskid

import (
	"runtime"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// popTries bounds how long a pop waits for a push that has claimed its cell and
// not yet filled it.
const popTries = 64

// freeList is a FIFO of slot indices. First in, first out, because a slot that
// rests longest is the one whose earlier IDs are least likely to be answered
// late.
//
// Invariant: an index is in the list at most once, and the cells are at least as
// many as the indices. A push therefore never finds its cell in use, which is
// why it needs no full check and cannot fail.
//
//	cell: 63         32 31          0
//	     ┌─────────────┬─────────────┐
//	     │ position+1  │ slot index  │   position+1 says for which lap it was filled
//	     └─────────────┴─────────────┘
type freeList struct {
	cells []word
	mask  uint64

	_    cacheline.Pad
	head word // next position to pop; moved by acquirers
	_    cacheline.Pad
	tail word // next position to push; moved by releasers
	_    cacheline.Pad
}

// init makes room for n indices, n a power of two.
func (f *freeList) init(n int) {
	f.cells = make([]word, n)
	f.mask = uint64(n - 1)
}

// push gives index i to the list. The caller must not touch the slot afterwards.
func (f *freeList) push(i uint32) {
	pos := f.tail.Add(1) - 1
	// The store hands the slot over: a popper that reads it owns the slot.
	f.cells[pos&f.mask].Store(uint64(uint32(pos+1))<<32 | uint64(i))
}

// pushAll gives the slots that ids name to the list, in order. mask cuts an ID down to
// its slot.
func (f *freeList) pushAll(ids []ID, mask uint32) {
	if len(ids) == 0 {
		return
	}
	pos := f.tail.Add(uint64(len(ids))) - uint64(len(ids))
	for _, id := range ids {
		f.cells[pos&f.mask].Store(uint64(uint32(pos+1))<<32 | uint64(uint32(id)&mask))
		pos++
	}
}

// popInto takes up to len(dst) indices, in order, and returns how many. It does
// not wait: where a releaser has not filled its cell yet, the list ends.
func (f *freeList) popInto(dst []uint32) int {
	for {
		pos := f.head.Load()
		n := 0
		for ; n < len(dst); n++ {
			cell := f.cells[(pos+uint64(n))&f.mask].Load()
			if uint32(cell>>32) != uint32(pos+uint64(n)+1) {
				break
			}
			dst[n] = uint32(cell)
		}
		if n == 0 {
			return 0
		}
		// As in pop: the cells were read before the swap that makes them ours.
		if f.head.CompareAndSwap(pos, pos+uint64(n)) {
			return n
		}
	}
}

// pop takes the index that has been in the list longest.
func (f *freeList) pop() (i uint32, ok bool) {
	for try := 0; try < popTries; {
		pos := f.head.Load()
		cell := f.cells[pos&f.mask].Load()
		if uint32(cell>>32) != uint32(pos+1) {
			if f.head.Load() != pos {
				continue // another acquirer moved on: ours was an old view
			}
			if f.tail.Load() == pos {
				return 0, false
			}
			try++ // a releaser has claimed the cell and not filled it yet
			runtime.Gosched()
			continue
		}
		// The cell was read before the swap: once it succeeds, the cell may be
		// refilled by the releaser that is one lap ahead.
		if f.head.CompareAndSwap(pos, pos+1) {
			return uint32(cell), true
		}
	}
	return 0, false
}

// len returns the number of indices in the list. While others push and pop it may be
// too small, even below 0, but not too large: the broker relies on seeing every slot
// that has been in use since before the call.
func (f *freeList) len() int {
	tail := f.tail.Load()
	return int(int32(tail - f.head.Load()))
}
