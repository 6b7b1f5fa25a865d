package anet

import (
	"math/bits"
	"sync"
)

// Buffers are kept in classes of 32 bytes to 64 KiB, each twice the one before.
const (
	minClassBits  = 5
	maxClassBits  = 16
	bufferClasses = maxClassBits - minClassBits + 1
	maxBufferSize = 1 << maxClassBits
)

// A class keeps pointers, because a slice put into an interface is allocated. The
// pointers themselves go round in headers.
var (
	classes [bufferClasses]sync.Pool
	headers = sync.Pool{New: func() any { return new([]byte) }}
)

// GetBuffer lends a buffer of size bytes, whose content is arbitrary. It comes from
// a pool if size is at most 64 KiB. A size of 0 or less gives an empty buffer that
// is not nil. Safe for concurrent use.
func GetBuffer(size int) []byte {
	if size <= 0 {
		return []byte{}
	}
	if size > maxBufferSize {
		return make([]byte, size)
	}
	// Rounded up, so that every buffer of the class is large enough.
	class := max(bits.Len(uint(size-1)), minClassBits) - minClassBits
	if header, ok := classes[class].Get().(*[]byte); ok {
		buf := *header
		*header = nil
		headers.Put(header)
		noteLent(buf)
		return buf[:size]
	}
	buf := make([]byte, 1<<(class+minClassBits))
	noteLent(buf)
	return buf[:size]
}

// PutBuffer takes a buffer back; the caller must not touch it again. Buffers of
// less than 32 bytes or more than 64 KiB are left to the garbage collector. A buffer
// that does not come from GetBuffer may be given if nobody else uses it. Under the
// build tag invariant a returned buffer is overwritten, and returning it twice
// panics. Safe for concurrent use.
func PutBuffer(buf []byte) {
	capacity := cap(buf)
	if capacity < 1<<minClassBits || capacity > maxBufferSize {
		return
	}
	// Rounded down, for the same reason as above.
	class := bits.Len(uint(capacity)) - 1 - minClassBits
	buf = buf[: 1<<(class+minClassBits) : 1<<(class+minClassBits)]
	noteReturned(buf)
	header := headers.Get().(*[]byte)
	*header = buf
	classes[class].Put(header)
}
