package engine

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/ringwire/ringwire/taskid"
)

// A request on a connection has up to two deadlines: that of its call, and that of this
// attempt, ReadTimeout after it was submitted. The slot holds one tick: that of the
// earlier one. If it is the attempt's, the slot's note, the slack, tells how much later
// the call's is, in units of 2^timeouts.slackShift ticks, rounded up:
//
//	0           the tick is the call's deadline
//	1 to 22     the tick is the attempt's, the call's is so many units later
//	23 to 30    it is 44, 88, 176 ... 5632 units later: Call.Timeout can be longer than
//	            RequestTimeout, for which the units are made
//	slackNone   the call has no deadline, or a later one
//
// The attempt's deadline may be put off, because its time stands still (standstill); only
// then is the call's deadline looked for, and may be met up to a unit late, one by
// Call.Timeout later.
const (
	slackEven = 22
	slackMost = taskid.MaxNote - 1
	slackNone = taskid.MaxNote
)

// timeouts are those of the configuration, in ticks, 0 for none, and the errors that name them.
type timeouts struct {
	request, read, write, silence uint32

	frame     uint32        // for each piece of a frame that arrives,
	frameTime time.Duration // and as time
	// slackShift is s if 2^s ticks are a unit of slack.
	slackShift uint

	requestErr, readErr, writeErr error // ErrTimeout with what has passed
}

func newTimeouts(cfg *Config, c *clock) timeouts {
	t := timeouts{
		request: c.ticks(cfg.RequestTimeout), read: c.ticks(cfg.ReadTimeout),
		write: c.ticks(cfg.WriteTimeout), silence: c.ticks(cfg.SilenceTimeout),
		frameTime:  DefaultReadTimeout,
		requestErr: limited("RequestTimeout", cfg.RequestTimeout),
		readErr:    limited("ReadTimeout", cfg.ReadTimeout),
		writeErr:   limited("WriteTimeout", cfg.WriteTimeout),
	}
	if cfg.ReadTimeout > 0 {
		t.frameTime = max(cfg.ReadTimeout, frameTimeLeast)
	}
	t.frame = c.ticks(t.frameTime)
	t.slackShift = slackShift(t.request, t.read)
	return t
}

// slackShift returns s so that 2^s ticks are a unit of slack. Without RequestTimeout, as
// well as where it is the shorter one, ReadTimeout says what is long.
func slackShift(requestTicks, readTicks uint32) uint {
	ticks := readTicks
	if requestTicks > readTicks {
		ticks = requestTicks - readTicks
	}
	return uint(bits.Len32(ticks / slackEven))
}

// slackUnits is how many units a slack stands for.
func slackUnits(slack uint8) uint32 {
	if slack <= slackEven {
		return uint32(slack)
	}
	return slackEven << (slack - slackEven)
}

// attemptTicks is how many ticks after an attempt has begun it ends.
func (b *Broker) attemptTicks() uint32 { return b.timeouts.read + 1 + stepMax }

// attemptDeadline returns what a slot holds for an attempt that begins now, of a call with
// the given deadline. If the request has moved, that deadline was rounded up to units
// before, and the attempt's is put off by less than a unit so that it is not again: else
// one that moves often would never end.
func (b *Broker) attemptDeadline(call taskid.Tick, moved bool) (taskid.Tick, uint8) {
	if b.timeouts.read == 0 {
		return call, 0
	}
	attempt := b.clock.now().After(b.attemptTicks())
	if call == taskid.NoTick {
		return attempt, slackNone
	}
	if call.Due(attempt) {
		return call, 0
	}
	if moved {
		attempt = attempt.After(call.Since(attempt) & (1<<b.timeouts.slackShift - 1))
		if call == attempt {
			return call, 0
		}
	}
	units := (call.Since(attempt) + 1<<b.timeouts.slackShift - 1) >> b.timeouts.slackShift
	if units <= slackEven {
		return attempt, uint8(units)
	}
	for slack := uint8(slackEven + 1); slack <= slackMost; slack++ {
		if units <= slackUnits(slack) {
			return attempt, slack
		}
	}
	return attempt, slackNone
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
	// A slot holds no deadline that is further ahead than MaxTicks.
	later := min(slackUnits(slack)<<b.timeouts.slackShift, taskid.MaxTicks-b.attemptTicks())
	return tick.After(later), true
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
			return c.hinted(b.timeouts.readErr)
		}
	}
	if s.V.at&spotTimeout != 0 {
		return errCallTimeout
	}
	return b.timeouts.requestErr
}

// errCallTimeout is the end of a call by Call.Timeout.
var errCallTimeout = fmt.Errorf("%w: Call.Timeout", ErrTimeout)
