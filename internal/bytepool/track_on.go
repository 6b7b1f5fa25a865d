//go:build invariant

package bytepool

import (
	"sync"

	"github.com/ringwire/ringwire/internal/invariant"
)

var lent = struct {
	sync.Mutex
	buffers map[*Buffer]struct{}
}{buffers: make(map[*Buffer]struct{})}

func noteGet(b *Buffer) {
	lent.Lock()
	defer lent.Unlock()
	lent.buffers[b] = struct{}{}
}

func notePut(b *Buffer) {
	lent.Lock()
	defer lent.Unlock()
	_, ok := lent.buffers[b]
	invariant.Check(ok, "bytepool: buffer returned that is not lent; it was returned before")
	delete(lent.buffers, b)
	whole := b.B[:cap(b.B)]
	for i := range whole {
		whole[i] = mark
	}
}

// Outstanding returns how many buffers are lent, or 0 without the build tag
// invariant. A test that ends with as many as it began with has lost none.
func Outstanding() int {
	lent.Lock()
	defer lent.Unlock()
	return len(lent.buffers)
}
