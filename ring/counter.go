package ring

import (
	"unsafe"

	"github.com/ringwire/ringwire/internal/cacheline"
)

const (
	// stripesPerProc is how many stripes there are for each processor. A goroutine
	// stays on the stripe that its stack hashes to, so two busy ones that collide
	// go on colliding: spare stripes make that unlikely.
	stripesPerProc = 4
	// stripesMax bounds a counter to 32 KiB.
	stripesMax = 256
)

// Counter is a sum that many goroutines add to at once and somebody reads now and
// then. It costs 128 bytes a stripe, four stripes for each processor (GOMAXPROCS
// when it was made, rounded up to a power of two), 256 at most. What only one
// goroutine at a time adds to needs no Counter: an atomic.Uint64 on a cache line of
// that goroutine's does as well.
//
// Make it with [NewCounter]. Its methods may be called by anybody.
type Counter struct {
	stripes []stripe
	spread  cacheline.Stripes
}

type stripe struct {
	n word
	_ [cacheline.Size - unsafe.Sizeof(word{})]byte
}

// NewCounter returns a counter at 0.
func NewCounter() *Counter {
	spread, n := cacheline.NewStripes(stripesPerProc, stripesMax)
	return &Counter{stripes: make([]stripe, n), spread: spread}
}

// Add adds n to the sum, which wraps at 2^64. Wait-free.
func (c *Counter) Add(n uint64) {
	c.stripes[c.spread.Own()].n.Add(n)
}

// Load returns the sum. It includes every Add that returned before Load was
// called, and perhaps some that overlap it; unless the sum wraps, one caller never
// sees it decrease. Wait-free.
func (c *Counter) Load() uint64 {
	var sum uint64
	for i := range c.stripes {
		sum += c.stripes[i].n.Load()
	}
	return sum
}
