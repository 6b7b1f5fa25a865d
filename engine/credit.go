package engine

import "sync/atomic"

// credit bounds the bytes that were written and have no answer, Config.MaxInFlightBytes.
// While there are as many or more, nothing is taken out of the outbox, and held tells
// the goroutine that brings bytes back to have the outbox looked at. One frame always
// passes.
type credit struct {
	limit    uint64
	answered atomic.Uint64 // bytes of requests with a reply
	returned atomic.Uint64 // of those that were given up, or that nobody answers
	held     atomic.Bool
}

// full reports whether there are too many, of all those written.
func (k *credit) full(written *atomic.Uint64) bool {
	back := k.answered.Load() + k.returned.Load() // before what was written
	n := written.Load() - back
	return n >= k.limit && int64(n) > 0
}

// hold notes that there are too many, unless that has just ceased to be so.
func (k *credit) hold(written *atomic.Uint64) bool {
	if !k.full(written) {
		return false
	}
	k.held.Store(true)
	return k.full(written)
}

// giveBack returns the bytes of a request that was given up.
func (c *conn) giveBack(n int) {
	c.out.credit.returned.Add(uint64(n))
	c.release()
}

// release has the outbox looked at if it was held.
func (c *conn) release() {
	o := &c.out
	if k := &o.credit; k.held.Load() && !k.full(&o.sent.bytes) && k.held.CompareAndSwap(true, false) {
		o.right.Assign()
	}
}
