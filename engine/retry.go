package engine

import (
	"context"
	"errors"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/taskid"
)

// repeatable reports whether a call is repeated after err: the request did not leave, and
// the reason was the connection, not a limit that a repetition meets again; or it may
// run twice, and had no answer.
func (b *Broker) repeatable(err error, idempotent bool) bool {
	if errors.Is(err, ErrNoPoolsAvailable) {
		return false // whatever the last connection has met
	}
	if idempotent && (errors.Is(err, ErrConnLost) || errors.Is(err, b.timeouts.readErr)) {
		return true
	}
	return SafeToRetry(err) && !errors.Is(err, ErrQueueFull)
}

// mayRepeat reports whether a request that failed with err is made again. If a server has
// refused it, only one is asked again that has not. The caller has to make it then: it is counted.
func (b *Broker) mayRepeat(r *request, err error, idempotent bool) bool {
	var op *OpError
	r.sent = r.sent || errors.As(err, &op) && op.Written
	return b.repeatable(err, idempotent) && b.hasPlaceFor(r, err) && b.affordable(err)
}

// told returns what the caller is told of err: that the request may have been written, also if
// that was an earlier attempt.
func (r *request) told(err error) error {
	if !r.sent {
		return err
	}
	return written(err)
}

// written returns err with Written set.
func written(err error) error {
	var op *OpError
	if !errors.As(err, &op) || op.Written {
		return err
	}
	written := *op
	written.Written = true
	return &written
}

// hasPlaceFor reports whether a server is there that has not refused the request.
func (b *Broker) hasPlaceFor(r *request, err error) bool {
	var refused *RefusedError
	if !b.extended || !errors.As(err, &refused) || refused.Code == framing.RefusedGoingAway {
		return true
	}
	if refused.by == nil || refused.by.b != b {
		return true // another broker's, by which a dial function of the user's has failed
	}
	r.shun |= refused.by.bit
	rt := b.routes.Load()
	other := func(c *conn) bool { return !r.shuns(c.link.addr) }
	return rt.some(other)
}

// pause returns for how many ticks a request waits before its n-th repetition, because err may
// have been the server's trouble and it goes to the same one: at random, up to BackoffBase·2ⁿ⁻¹
// and BackoffMax, and to half of the time that its call has left. It does not wait if it goes to
// another server, nor if nobody is up: then it waits for a dial, which has a pause of its own.
func (b *Broker) pause(ctx context.Context, r *request, err error, n int) (ticks uint32) {
	var op *OpError
	rt, failed := b.routes.Load(), r.failedAt()
	other := func(c *conn) bool { return c.link.addr != failed && !r.shuns(c.link.addr) }
	if !errors.As(err, &op) || !op.Written || len(rt.conns) == 0 || rt.some(other) {
		return 0
	}
	d := backoff.Policy{Min: b.cfg.BackoffBase, Max: b.cfg.BackoffMax}.Delay(n)
	if now := b.clock.now(); r.deadline != taskid.NoTick && !r.deadline.Due(now) {
		d = min(d, time.Duration(r.deadline.Since(now))*b.clock.tick/2)
	}
	if at, given := ctx.Deadline(); given {
		d = min(d, time.Until(at)/2)
	}
	return b.clock.ticks(d)
}

// affordable reports whether a call that has failed with err may be made again as far as the
// servers are concerned. One that no server has begun costs them nothing, unless it was
// refused because one had too much to do. Of the others there are as many repetitions as a
// fifth of the requests that were answered: when all servers fail, there soon are none, so
// they do not multiply what the servers get. What may be saved up is enough for all that a
// connection has in flight.
func (b *Broker) affordable(err error) bool {
	var op *OpError
	var refused *RefusedError
	busy := errors.As(err, &refused) && refused.Code != framing.RefusedGoingAway
	if errors.As(err, &op) && !op.Written && !busy {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Counted here, and not by each request.
	served := b.past.Replies - b.past.Refused
	for _, c := range b.conns() {
		refused := c.in.got.refused.Load() // before the replies, of which it is a part
		served += c.in.got.replies.Load() - refused
	}
	if served > b.budgeted {
		b.budget.DepositAll(served - b.budgeted)
		b.budgeted = served
	}
	if !b.budget.Withdraw() {
		b.retriesDenied.Add(1)
		return false
	}
	return true
}
