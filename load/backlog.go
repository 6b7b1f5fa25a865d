package load

import (
	"sync"
	"sync/atomic"
	"time"
)

// due is a request that is to be sent.
type due struct {
	n        uint64 // of the run
	intended time.Duration
	lag      time.Duration // by how much it was late when it began to wait
	phase    uint8
	waited   bool // for a free slot
}

// backlog holds the requests that are due and that no connection has room for, the oldest
// first. The pacer puts them in; a session that has a free slot takes them out, or the
// pacer for it.
type backlog struct {
	mu    sync.Mutex // guards what follows
	ring  []due      // doubles while it is full
	most  int
	first int
	len   atomic.Int64 // read without the lock, too
}

// backlogStart is the room that a backlog has at first.
const backlogStart = 1024

func newBacklog(most int) *backlog { return &backlog{ring: make([]due, backlogStart), most: most} }

// push adds a request, false if there are as many as may be.
func (b *backlog) push(d due) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int(b.len.Load())
	if n >= b.most {
		return false
	}
	b.makeRoom(n)
	b.ring[(b.first+n)%len(b.ring)] = d
	b.len.Add(1)
	return true
}

// makeRoom leaves room for one more than n.
func (b *backlog) makeRoom(n int) {
	if n < len(b.ring) {
		return
	}
	grown := make([]due, 2*n)
	copy(grown[copy(grown, b.ring[b.first:]):], b.ring[:b.first])
	b.ring, b.first = grown, 0
}

// putBack makes a request the first one again.
func (b *backlog) putBack(d due) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.makeRoom(int(b.len.Load()))
	b.first = (b.first + len(b.ring) - 1) % len(b.ring)
	b.ring[b.first] = d
	b.len.Add(1)
}

// pop takes the oldest.
func (b *backlog) pop() (d due, ok bool) {
	if b.len.Load() == 0 {
		return due{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.len.Load() == 0 {
		return due{}, false
	}
	d = b.ring[b.first]
	b.first = (b.first + 1) % len(b.ring)
	b.len.Add(-1)
	return d, true
}

// clear takes all out and returns how many of each phase there were.
func (b *backlog) clear(phases int) []uint64 {
	of := make([]uint64, phases)
	for d, ok := b.pop(); ok; d, ok = b.pop() {
		of[d.phase]++
	}
	return of
}
