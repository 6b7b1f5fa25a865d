package taskid

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/invariant"
)

const (
	// firstBytes is what a slot's buffer has room for from the start, in one piece
	// of memory with its neighbours': a small frame never allocates.
	firstBytes = 128
	// keepBytes is the largest buffer a slot keeps between requests. Larger ones
	// are borrowed from a pool, so that a burst of large requests does not pin
	// its size times the number of slots.
	keepBytes = 1 << 10
	// poolBytes is the largest buffer the pool keeps; it holds any anet frame.
	poolBytes = 1 << 17

	minClass = 6 // 64 B
	maxClass = 17
)

// Buffer is the memory a slot owns: first the request's frame, then the reply.
// Its zero value is ready to use. Only the slot's owner may touch it.
type Buffer struct {
	B        []byte
	borrowed *[]byte // non-nil while B came from the pool
}

// Reserve returns the buffer empty, with room for at least n bytes. pooled
// selects where the memory comes from: kept with the slot or borrowed from a
// size-classed pool; otherwise it is allocated for this one use.
func (b *Buffer) Reserve(n int, pooled bool) []byte {
	if !pooled {
		b.giveBack()
		b.B = make([]byte, 0, n)
		return b.B
	}
	if n <= cap(b.B) {
		b.B = b.B[:0]
		return b.B
	}
	b.giveBack()
	class := bits.Len(uint(max(n, 1<<minClass) - 1))
	switch {
	case n <= keepBytes:
		b.B = make([]byte, 0, 1<<class)
	case n <= poolBytes:
		b.borrowed = borrow(class)
		b.B = (*b.borrowed)[:0]
	default:
		b.B = make([]byte, 0, n)
	}
	return b.B
}

// drop ends one request's use: small memory stays with the slot.
func (b *Buffer) drop() {
	if invariant.Enabled {
		poison(b.B[:cap(b.B)])
	}
	if cap(b.B) > keepBytes {
		b.giveBack()
		b.B = nil
	}
}

// Free gives all memory up. It is for a table's owner that turns pooling off.
func (b *Buffer) Free() {
	b.giveBack()
	b.B = nil
}

func (b *Buffer) giveBack() {
	if b.borrowed == nil {
		return
	}
	lend(b.borrowed)
	b.borrowed = nil
}

// pools holds one pool for each power of two from 64 B to 128 KiB. A pooled
// value is a pointer to a slice because a slice in an interface would itself be
// allocated.
var pools [maxClass + 1]sync.Pool

// lent counts borrowed buffers under the build tag invariant, so that a test can
// assert that every one came back.
var lent atomic.Int64

func borrow(class int) *[]byte {
	if invariant.Enabled {
		lent.Add(1)
	}
	if p, ok := pools[class].Get().(*[]byte); ok {
		return p
	}
	b := make([]byte, 0, 1<<class)
	return &b
}

func lend(p *[]byte) {
	if invariant.Enabled {
		lent.Add(-1)
		poison((*p)[:cap(*p)])
	}
	pools[bits.Len(uint(cap(*p)-1))].Put(p)
}

// Borrowed returns how many pooled buffers are out. It counts only under the
// build tag invariant and is 0 otherwise.
func Borrowed() int64 { return lent.Load() }

// poison overwrites memory whose owner has given it up, so that a use after
// release reads bytes that no test expects.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
