package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// Call is what one call asks for; the zero value asks for nothing special. It is passed by
// value, at most one to a call, as the last argument:
//
//	reply, err := b.Send(ctx, req, engine.Call{Timeout: time.Second, Idempotent: true})
type Call struct {
	// Timeout is the deadline of the call, instead of RequestTimeout; ReadTimeout does not
	// bound it then, unless it is Idempotent. It costs less than a context with a deadline,
	// but is coarser: it is met late by up to six ticks of the broker's clock, which is a
	// 64th of the shortest timeout in Config, 1 to 10 ms. If the context has a deadline
	// too, the earlier one counts. 0: not set; negative: none; longer than two hours counts
	// as two hours.
	Timeout time.Duration

	// Idempotent says that the request may be carried out more than once. When ReadTimeout
	// passes or the connection is lost it is made again, on another connection if there is
	// one, up to MaxRetries times within the call's deadline.
	Idempotent bool
}

// timeoutMost is the longest Call.Timeout.
const timeoutMost = 2 * time.Hour

// Client is what callers need of a [Broker], for those who wrap it or put something else
// in its place in a test.
type Client interface {
	Send(ctx context.Context, req []byte, opts ...Call) ([]byte, error)
	SendInto(ctx context.Context, dst, req []byte, opts ...Call) ([]byte, error)
	Go(ctx context.Context, req []byte, fn func(reply []byte, err error), opts ...Call) error
	SendBatch(ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error),
		opts ...Call) error
	SendOneWay(ctx context.Context, req []byte) error
}

var _ Client = (*Broker)(nil)

// optionsOf returns the options of a call.
func optionsOf(opts []Call) Call {
	if len(opts) == 0 {
		return Call{}
	}
	return opts[len(opts)-1]
}

// limit sets what bounds a request in time: one deadline for the call, whatever it waits
// for, and whether ReadTimeout bounds its attempts. The deadline of a context that can
// end is left to those who watch the context.
func (b *Broker) limit(r *request, ctx context.Context, o Call) {
	_, given := ctx.Deadline()
	r.expires = b.expiryOf(ctx)
	r.timeout = o.Timeout > 0
	r.attempts = o.Idempotent || !given && !r.timeout
	switch {
	case r.timeout:
		r.deadline = b.clock.after(b.clock.ticks(min(o.Timeout, timeoutMost)))
	case given, o.Timeout < 0:
		r.deadline = taskid.NoTick
	default:
		r.deadline = b.clock.after(b.requestTicks)
	}
}

// limitPlain is limit for a call without options whose context cannot end.
func (b *Broker) limitPlain(r *request) {
	r.attempts, r.timeout, r.expires = true, false, taskid.NoTick
	r.deadline = b.clock.after(b.requestTicks)
}

// repeatable reports whether a call is repeated after err: the request did not leave, and
// the reason was the connection, not a limit that a repetition meets again; or it may
// run twice, and had no answer.
func (b *Broker) repeatable(err error, idempotent bool) bool {
	if errors.Is(err, ErrNoPoolsAvailable) {
		return false // whatever the last connection has met
	}
	if idempotent && (errors.Is(err, ErrConnLost) || errors.Is(err, b.readLimit)) {
		return true
	}
	return SafeToRetry(err) && !errors.Is(err, ErrQueueFull)
}

// mayRepeat is repeatable for the request that failed. If a server has refused it, only
// one is asked again that has not.
func (b *Broker) mayRepeat(r *request, err error, idempotent bool) bool {
	if !b.repeatable(err, idempotent) {
		return false
	}
	var refused *RefusedError
	if !b.extended || !errors.As(err, &refused) || refused.Code == framing.RefusedGoingAway {
		return true
	}
	if refused.by == nil || refused.by.b != b {
		return true // another broker's, by which a dial function of the user's has failed
	}
	r.shun |= refused.by.bit
	rt := b.routes.Load()
	other := func(c *conn) bool { return !r.shuns(c) }
	return slices.ContainsFunc(rt.conns, other) || slices.ContainsFunc(rt.trials, other)
}

// repeater is the outcome of a Go that is idempotent.
type repeater struct {
	b       *Broker
	to      outcome // of the user's function
	request request // what is made again
	ticket  ticket  // for its connection; nobody gives it up
	copied  []byte
	tries   int
}

// callback passes the outcome on, unless the request is made again.
func (p *repeater) callback(reply []byte, err error) {
	if err != nil && p.tries > 0 && p.b.mayRepeat(&p.request, err, true) {
		p.tries--
		if p.b.placeAgain(&p.request) {
			return
		}
	}
	to := p.to
	if p.b.pooled {
		p.to, p.request, p.ticket = nil, request{}, ticket{}
		p.b.repeaters.Put(p)
	}
	to.callback(reply, err)
}

// repeat makes r a request that is made again when it fails.
func (b *Broker) repeat(r *request) {
	p, _ := b.repeaters.Get().(*repeater)
	if p == nil {
		p = new(repeater)
	}
	p.b, p.to, p.tries = b, r.to, max(b.cfg.MaxRetries, 0)
	p.copied = append(p.copied[:0], r.payload...)
	r.to, r.ticket = p, &p.ticket
	p.request = *r
	p.request.payload = p.copied
}

// placeAgain places a request again that has failed, elsewhere if it can. It goes through
// the backlog, under whose lock its ticket may be written although somebody may be giving
// it up.
func (b *Broker) placeAgain(r *request) bool {
	again := *r
	again.blocks, again.conn, again.avoid = false, nil, r.ticket.conn
	if r.deadline != taskid.NoTick && r.deadline.Due(b.clock.now()) {
		return false
	}
	b.retries.Add(1) // before its outcome can be seen
	if !b.backlog.pushAnyway(&again) {
		b.retries.Add(^uint64(0))
		return false
	}
	b.backlog.moveOn()
	return true
}
