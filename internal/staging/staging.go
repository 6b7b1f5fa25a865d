// Package staging lends byte buffers for data in passage: the part of a frame
// that has arrived, a request on its way to another goroutine, a reply on its way
// back. It is bytebufferpool behind a cap, so that one large frame does not keep
// its memory for good.
//
// Under the build tag invariant a returned buffer is overwritten, a second return
// panics, and [Outstanding] counts the buffers lent.
package staging

import "github.com/valyala/bytebufferpool"

// MaxRetained is the largest capacity, in bytes, of a buffer that is kept for the
// next borrower; larger ones are left to the garbage collector. The pool itself
// keeps any size until it has seen some ten thousand returns.
const MaxRetained = 1 << 20

// Buffer is a borrowed buffer. The borrower may do with B what it likes, growing
// and replacing included, until it calls [Put].
type Buffer = bytebufferpool.ByteBuffer

// Small and large frames of one server share a pool: it learns one size, and
// Grow by the borrower does the rest.
var pool bytebufferpool.Pool

// Get lends an empty buffer. Its capacity is whatever an earlier borrower left.
// Safe for concurrent use.
func Get() *Buffer {
	b := pool.Get()
	noteGet(b)
	return b
}

// Put takes a buffer back; the caller must not touch it or B again. B should have
// the length that was used, because the pool learns from it what size to lend
// next. Safe for concurrent use.
func Put(b *Buffer) {
	notePut(b)
	if cap(b.B) <= MaxRetained {
		pool.Put(b)
	}
}
