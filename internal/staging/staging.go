// Package staging lends byte buffers for data in passage: the part of a frame
// that has arrived, a request on its way to another goroutine, a reply on its way
// back.
//
// There is a pool for each power of two, from 256 bytes to [MaxRetained]. A single
// pool that learns one size from what comes back (bytebufferpool, which was here
// before) drops every large buffer once some ten thousand small ones have been
// returned, and then each large frame among small ones is allocated anew.
//
// Under the build tag invariant a returned buffer is overwritten, a second return
// panics, and [Outstanding] counts the buffers lent.
package staging

import (
	"math/bits"
	"sync"
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

// Buffer is a borrowed buffer. The borrower may do with B what it likes, growing
// and replacing included, until it calls [Put].
type Buffer struct{ B []byte }

// pools[c] holds buffers with a capacity of at least 1<<c and less than twice that.
var pools [maxClass + 1]sync.Pool

// Get lends an empty buffer with room for at least n bytes, and for less than 32 times as
// much or 256 bytes. Safe for concurrent use.
func Get(n int) *Buffer {
	b := find(n)
	noteGet(b)
	return b
}

func find(n int) *Buffer {
	class := max(minClass, bits.Len(uint(max(n, 1)-1)))
	if class > maxClass {
		return &Buffer{B: make([]byte, 0, n)}
	}
	for c := class; c <= min(class+higher, maxClass); c++ {
		if b, ok := pools[c].Get().(*Buffer); ok {
			return b
		}
	}
	return &Buffer{B: make([]byte, 0, 1<<class)}
}

// Put takes a buffer back; the caller must not touch it or B again. Safe for
// concurrent use.
func Put(b *Buffer) {
	notePut(b)
	if size := cap(b.B); size >= 1<<minClass && size <= MaxRetained {
		b.B = b.B[:0]
		pools[bits.Len(uint(size))-1].Put(b)
	}
}
