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

	pushed uint64
}

type largeFrame struct {
	id  taskid.ID
	buf *bytepool.Buffer
	nth uint64 // of all that were pushed
}

func (l *largeFrames) push(f largeFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.nth = l.pushed
	l.pushed++
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

// take takes the frame with this ID out, if it waits.
func (l *largeFrames) take(id taskid.ID) (largeFrame, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.q, func(f largeFrame) bool { return f.id == id })
	if i < 0 {
		return largeFrame{}, false
	}
	f := l.q[i]
	l.q = slices.Delete(l.q, i, i+1)
	l.n.Store(int32(len(l.q)))
	return f, true
}
