package engine

import (
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
)

// readBytes is the size of the read buffer: about a thousand small replies.
const readBytes = 64 << 10

// readBuffer holds what was read and not dispatched, b[used:end]. It is base, or, while a
// longer frame arrives, a pooled buffer of that size, which goes back with the frame.
type readBuffer struct {
	b         []byte
	used, end int
	base      []byte
	large     *bytepool.Buffer // that b is of; nil: b is base
}

func (r *readBuffer) init() {
	r.base = make([]byte, readBytes)
	r.b = r.base
}

// rest returns what was not dispatched.
func (r *readBuffer) rest() []byte { return r.b[r.used:r.end] }

// makeRoom makes room behind what was not dispatched, for the frame that has begun.
func (r *readBuffer) makeRoom(format framing.Format) {
	rest := r.rest()
	if r.large != nil && len(rest) == 0 {
		r.dispose()
		return
	}
	size, err := format.FrameSize(rest)
	if err != nil || size < len(r.b) {
		if r.used > 0 { // else it would be copied onto itself, for each piece of a long frame
			r.used, r.end = 0, copy(r.b, rest)
		}
		return
	}
	r.grow(size+readBytes, rest) // FrameSize bounds it
}

// replace leaves the buffer to the callback that has borrowed bytes of it, and goes on with
// another one, with what was not dispatched. What it returns, if it is of the pool, goes
// back there when the bytes do.
func (r *readBuffer) replace() (left *bytepool.Buffer) {
	rest := r.rest()
	r.init()
	left, r.large = r.large, nil
	if len(rest) < readBytes {
		r.used, r.end = 0, copy(r.b, rest)
	} else {
		r.grow(2*len(rest), rest)
	}
	return left
}

// grow goes on with a pooled buffer of at least n bytes, and gives a former one back.
func (r *readBuffer) grow(n int, rest []byte) {
	larger := bytepool.Get(n)
	larger.B = larger.B[:cap(larger.B)]
	r.used, r.end = 0, copy(larger.B, rest)
	if r.large != nil {
		bytepool.Put(r.large)
	}
	r.large, r.b = larger, larger.B
}

// dispose gives a pooled buffer back, with what is in it.
func (r *readBuffer) dispose() {
	if r.large != nil {
		bytepool.Put(r.large)
		r.large, r.b = nil, r.base
	}
	r.used, r.end = 0, 0
}
