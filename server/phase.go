package server

// phase says how far a connection is on its way to its end. It only grows. Anybody may raise
// it up to phaseUnparsed, to ask for an orderly end; the rest is the loop's.
type phase uint32

const (
	phaseUp        phase = iota
	phaseQuieting        // to end when nothing comes any more
	phaseUnread          // nothing more is read, where that can be; what was read is answered
	phaseUnparsed        // no more requests are begun; what is being worked on is answered
	phaseLingering       // our direction is shut down; input is discarded
	phaseDoomed          // to be closed at the end of this turn
	phaseBroken          // nothing is written any more: a write failed, or the end has come
	phaseEnded           // it holds nothing, or is about to let go of it
)

// at returns the connection's phase.
func (c *Conn) at() phase { return phase(c.phase.Load()) }

// raise brings the connection to a phase, and reports whether it was not there yet.
func (c *Conn) raise(to phase) bool {
	for {
		now := c.phase.Load()
		if phase(now) >= to {
			return false
		}
		if c.phase.CompareAndSwap(now, uint32(to)) {
			return true
		}
	}
}

// beginsNoMore reports whether the connection is so far that requests are not begun any more.
func (c *Conn) beginsNoMore() bool {
	p := c.at()
	return p >= phaseUnparsed || p == phaseUnread && !c.loop.pauses
}
