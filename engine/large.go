package engine

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/taskid"
)

// largeFrames are frames longer than a chunk of the ring, in order. They come one at a
// time and cost tens of microseconds each, so a lock does not matter.
type largeFrames struct {
	n  atomic.Int32 // their number, read without the lock
	mu sync.Mutex
	q  []largeFrame
}

type largeFrame struct {
	id  taskid.ID
	buf *bytepool.Buffer
}

func (l *largeFrames) push(f largeFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.q = append(l.q, f)
	l.n.Store(int32(len(l.q)))
}

func (l *largeFrames) pop() (largeFrame, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.q) == 0 {
		return largeFrame{}, false
	}
	f := l.q[0]
	l.q = slices.Delete(l.q, 0, 1)
	l.n.Store(int32(len(l.q)))
	return f, true
}

// has reports whether the frame with this ID waits.
func (l *largeFrames) has(id taskid.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.q, func(f largeFrame) bool { return f.id == id })
}
