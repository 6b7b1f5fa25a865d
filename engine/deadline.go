package engine

import (
	"fmt"
	"math/bits"

	"github.com/ringwire/ringwire/taskid"
)

// A request on a connection has up to two deadlines: that of its call, and that of this
// attempt, ReadTimeout after it was submitted. The slot holds one tick: that of the
// earlier one. If it is the attempt's, the slot's note, the slack, tells how much later
// the call's is, in units of Broker.slackUnit, rounded up:
//
//	0           the tick is the call's deadline
//	1 to 30     the tick is the attempt's, the call's is up to so many units later
//	slackNone   the tick is the attempt's, the call has none
//
// The attempt's deadline may be put off, because its time stands still (standstill); only
// then is the call's deadline looked for, and may be met up to a unit late.
const (
	slackMost = taskid.MaxNote - 1
	slackNone = taskid.MaxNote
)

// slackShift returns s so that 2^s ticks are a unit of slack, for calls of at most so
// many ticks.
func slackShift(ticks uint32) uint {
	return uint(bits.Len32(ticks / slackMost))
}

// attemptTicks is how many ticks after an attempt has begun it ends.
func (b *Broker) attemptTicks() uint32 { return b.readTicks + 1 + stepMax }

// attemptDeadline returns what a slot holds for an attempt that begins now, of a call with
// the given deadline.
func (b *Broker) attemptDeadline(call taskid.Tick) (taskid.Tick, uint8) {
	if b.readTicks == 0 {
		return call, 0
	}
	attempt := b.clock.now().After(b.attemptTicks())
	if call == taskid.NoTick {
		return attempt, slackNone
	}
	if call.Due(attempt) {
		return call, 0
	}
	units := (call.Since(attempt) + 1<<b.slackShift - 1) >> b.slackShift
	if units > slackMost {
		return attempt, slackNone
	}
	return attempt, uint8(max(units, 1))
}

// wholeDeadline turns what a slot holds back into the deadline of the call, and whether
// ReadTimeout bounds its attempts.
func (b *Broker) wholeDeadline(tick taskid.Tick, slack uint8) (call taskid.Tick, attempts bool) {
	switch slack {
	case 0:
		return tick, false
	case slackNone:
		return taskid.NoTick, true
	}
	return tick.After(uint32(slack) << b.slackShift), true
}

// overdue reports whether a request is to be ended whose slot says so with slack.
func (c *conn) overdue(tick taskid.Tick, slack uint8) bool {
	still := c.watch.still.since(c.b.attemptTicks(), tick)
	if still == 0 {
		return true
	}
	now := c.b.clock.now()
	if call, _ := c.b.wholeDeadline(tick, slack); call != taskid.NoTick && call.Due(now) {
		return true
	}
	return tick.After(still).Due(now)
}

// limitOf returns the error that names what a request on the wire ran into.
func (c *conn) limitOf(s *slot) error {
	b := c.b
	tick, slack := s.Deadline()
	if call, attempts := b.wholeDeadline(tick, slack); attempts {
		if call == taskid.NoTick || !call.Due(b.clock.now()) {
			return c.hinted(b.readLimit)
		}
	}
	if s.V.at&spotTimeout != 0 {
		return errCallTimeout
	}
	return b.requestLimit
}

// errCallTimeout is the end of a call by Call.Timeout.
var errCallTimeout = fmt.Errorf("%w: Call.Timeout", ErrTimeout)
