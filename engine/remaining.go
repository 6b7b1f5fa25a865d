package engine

import (
	"context"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// With the extension a request tells the server for how long its caller waits: until its
// context's deadline, Call.Timeout or RequestTimeout, whichever comes first, from when it
// was framed. This is computed from the broker's coarse clock, so that a request costs no
// reading of another one; a context's deadline costs one for each call. It is rounded up:
// it may be more than the truth, by two ticks and what a sweep is late, and is less by a tick
// at most. A tick is 1 to 10 ms.

// expiryOf returns the tick of a context's deadline, NoTick without the extension, and if
// it has none or one that lies further ahead than a tick can tell.
func (b *Broker) expiryOf(ctx context.Context) taskid.Tick {
	if !b.extended {
		return taskid.NoTick
	}
	at, given := ctx.Deadline()
	if !given {
		return taskid.NoTick
	}
	left := time.Until(at)
	if left > timeoutMost {
		return taskid.NoTick
	}
	return b.clock.after(max(b.clock.ticks(left), 1))
}

// expiryIn is expiryOf for a request that is known by its outcome alone.
func (b *Broker) expiryIn(to outcome) taskid.Tick {
	switch to := to.(type) {
	case *waiter:
		return to.request.expires
	case *watchedCallback:
		return b.expiryOf(to.ctx)
	case *batchItem:
		return to.batch.common.expires
	}
	return taskid.NoTick // its context cannot end
}

// remaining returns how long the caller of a request still waits, as its frame has it.
func (b *Broker) remaining(r *request) uint32 {
	at, now := r.deadline.Earlier(r.expires), b.clock.now()
	switch {
	case at == taskid.NoTick:
		return 0
	case at.Due(now):
		return framing.Remaining(0)
	}
	ticks := max(int64(at.Since(now))-1-stepMax, 0) // without what clock.after has added
	return framing.Remaining(time.Duration(ticks) * b.clock.tick)
}
