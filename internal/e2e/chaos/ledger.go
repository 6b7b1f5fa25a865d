package chaos

import (
	"math/bits"
	"sync/atomic"
)

// A ledger remembers a bit for each request of each caller. Its methods may be
// called from any goroutine.
type ledger []bitset // by caller

const (
	segmentBits = 1 << 16
	maxSegments = 1 << 9
	maxSeq      = segmentBits * maxSegments // sequence numbers a caller may use
)

type segment [segmentBits / 64]atomic.Uint64

// A bitset grows by segments, so that a caller costs what it uses.
type bitset struct {
	segments [maxSegments]atomic.Pointer[segment]
}

// set sets bit seq and reports whether it was set before.
func (b *bitset) set(seq uint32) bool {
	p := &b.segments[seq/segmentBits%maxSegments]
	s := p.Load()
	if s == nil {
		p.CompareAndSwap(nil, new(segment))
		s = p.Load()
	}
	mask := uint64(1) << (seq % 64)
	return s[seq%segmentBits/64].Or(mask)&mask != 0
}

// both calls visit for each bit that is set in b and in other.
func (b *bitset) both(other *bitset, visit func(seq uint32)) {
	for i := range b.segments {
		s, o := b.segments[i].Load(), other.segments[i].Load()
		if s == nil || o == nil {
			continue
		}
		for j := range s {
			for word := s[j].Load() & o[j].Load(); word != 0; word &= word - 1 {
				visit(uint32(i*segmentBits + j*64 + bits.TrailingZeros64(word)))
			}
		}
	}
}
