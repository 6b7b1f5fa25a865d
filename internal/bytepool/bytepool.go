// Package bytepool lends byte buffers for data in passage: the part of a frame that
// has arrived, a request on its way to another goroutine, a reply on its way back.
//
// There is a pool of bytebufferpool for each power of two, from 256 bytes to
// [MaxRetained]. One pool for all sizes would learn the size that comes back most and
// drop larger buffers: after some ten thousand small ones each large frame among them
// would be allocated anew. So each pool is shown lengths of its own class only.
//
// What comes and goes in steady numbers is not allocated, except that bytebufferpool
// allocates two small objects every 42,000 returns to a class. The garbage collector
// takes buffers that were not used for two of its cycles, and each of them has to be
// allocated again when it is missed.
//
// Under the build tag invariant a returned buffer is overwritten, a second return
// panics, and [Outstanding] counts the buffers lent.
package bytepool

import (
	"math/bits"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"

	"github.com/ringwire/ringwire/internal/cacheline"
)

const (
	minClass = 8  // 256 B
	maxClass = 20 // MaxRetained
	// higher is how many classes above the one that was asked for are looked into. A
	// borrower who lets a buffer grow returns it to a higher class, and asks for the
	// same size again next time.
	higher = 3
)

// MaxRetained is the largest capacity, in bytes, of a buffer that is kept for the
// next borrower; larger ones are left to the garbage collector.
const MaxRetained = 1 << maxClass

// Buffer is a borrowed buffer. The borrower may do with B what it likes, growing and
// replacing included, until it calls [Put].
type Buffer = bytebufferpool.ByteBuffer

// class holds buffers with a capacity of at most 1<<c and more than half of that.
type class struct {
	// bytebufferpool changes the first words of a pool by the functions for 64 bits,
	// and trusts that they are aligned. On a 32-bit system this sees to it.
	_    [0]atomic.Int64
	pool bytebufferpool.Pool
	// some is whether pool is worth a look. It is a hint: a buffer may lie there
	// although it says no, until the next one is returned.
	some atomic.Bool
	_    cacheline.Pad
}

var classes [maxClass + 1]class

// mark is the first byte of each buffer in a pool. A pool of bytebufferpool that is
// empty makes a buffer and does not say so, but a new one is all zeros. It is also
// what a returned buffer is overwritten with under the build tag invariant: a frame
// made of it announces 56,026 bytes.
const mark = 0xda

// classOf returns the class of the smallest power of two that is at least n.
func classOf(n int) int { return max(minClass, bits.Len(uint(max(n, 1)-1))) }

// Get lends an empty buffer with room for at least n bytes, and for less than 16 times
// as much or at most 2 KiB. Safe for concurrent use.
func Get(n int) *Buffer {
	b := find(n)
	noteGet(b)
	return b
}

func find(n int) *Buffer {
	own := classOf(n)
	if own > maxClass {
		return &Buffer{B: make([]byte, 0, n)}
	}
	from := own
	for c := own; c <= min(own+higher, maxClass); c++ {
		if classes[c].some.Load() {
			from = c
			break
		}
	}
	b := classes[from].pool.Get()
	if cap(b.B) == 0 || b.B[:1][0] != mark { // it is new: there was none
		classes[from].some.Store(false)
	}
	if cap(b.B) < n { // it is new, or of the lower half of its class
		b.B = make([]byte, 0, 1<<own)
	}
	return b
}

// Put takes a buffer back that [Get] lent; the caller must not touch it or B again.
// Safe for concurrent use.
func Put(b *Buffer) {
	notePut(b)
	size := cap(b.B)
	if size < 1<<minClass || size > MaxRetained {
		return
	}
	// The pool learns from the length. This one is of its class, so it never takes
	// a buffer of its class for too large.
	b.B = b.B[:size]
	b.B[0] = mark
	c := &classes[classOf(size)]
	c.pool.Put(b)
	if !c.some.Load() {
		c.some.Store(true) // not every time: others read the line
	}
}
