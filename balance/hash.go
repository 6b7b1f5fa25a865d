package balance

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// KeyOf returns the key for what names a client: an ID, an address. It is 0, which is no key,
// only for the empty one. It is the same in all processes and on all machines (FNV-1a). It
// is no protection against clients that choose their names.
func KeyOf[S ~string | ~[]byte](client S) uint64 {
	if len(client) == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(client) {
		h = (h ^ uint64(client[i])) * 1099511628211
	}
	return max(h, 1)
}

// mix spreads a change of any bit over all bits (MurmurHash3's finaliser).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// slots is how many kinds of keys are told apart: the keys of one slot have one server. It
// never changes with the servers, so what is said of a slot holds for its keys. The part of one
// server among n is right to about √(n/slots): 2 % of ten servers, 8 % of a hundred.
const slots = 1 << 14

// homes are the servers of the slots, each found when it is first asked for. They belong to one
// set.
type homes [slots]atomic.Uint32 // 1 + the member's index; 0: nobody has asked

// home returns the member for a key: the one that its slot ranks first. A member's rank does
// not depend on the others, so when one goes only its slots move.
func (s *set[T]) home(key uint64, skip func(T) bool) int {
	slot := mix(key) % slots
	known := &s.homes[slot]
	i := int(known.Load()) - 1
	if i < 0 {
		i = s.firstRanked(slot, nil)
		known.Store(uint32(i + 1)) // any other goroutine that looks finds the same
	}
	if skip != nil && skip(s.members[i].server) {
		return s.firstRanked(slot, skip)
	}
	return i
}

// firstRanked is rendezvous hashing: slot and member together make a number, this is made an
// exponential waiting time whose rate is the member's weight, and the shortest is first: each
// with its weight's probability.
func (s *set[T]) firstRanked(slot uint64, skip func(T) bool) int {
	best, least, at := none, math.Inf(1), mix(slot+1)
	for i := range s.members {
		m := &s.members[i]
		wait := negLog(mix(at^m.hash)) * m.perWeight
		if wait < least && (skip == nil || !skip(m.server)) {
			best, least = i, wait
		}
	}
	return best
}

// negLog returns -ln(u / 2^64), within 0.007 %. It falls as u grows, which is all that
// moving few keys needs, and takes a quarter of math.Log's time.
func negLog(u uint64) float64 {
	zeros := bits.LeadingZeros64(u)
	v := 1 - float64(u<<zeros>>11)/(1<<53) // in (0, 1/2], or 1 for u = 0
	// -ln(1-v) / v, by least squares over the relative error; exact at 0 and 1/2, so that
	// the pieces join.
	q := 1 + v*(0.49691471953132194+v*(0.3888248516651257+v*(-0.04381696362945081+v*0.7377265422660726)))
	return float64(zeros)*math.Ln2 + v*q
}
