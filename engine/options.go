package engine

import (
	"context"
	"time"

	"github.com/ringwire/ringwire/internal/list"
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

	// Key names the client that the request is for, so that the requests of one client meet
	// the same server with Config.Balance balance.IPHash: balance.KeyOf(client). It has no
	// effect with other strategies. 0: none, such requests take turns.
	Key uint64

	// Server is the server where the request had best go, as Config.Addrs or AddServer has
	// written it. It is a wish: when that server is not up, or takes no request now, or is no
	// server of the broker any more, the strategy chooses. "": none.
	Server string

	// Priority is how soon the request goes on when it has to wait for room: higher is sooner,
	// 0 is normal; there are four lanes, -1 and less, 0, 1, 2 and more. A lane that was passed
	// over eight times in a row is next. Requests that need not wait go at once, and the queue
	// is bounded for all of them together.
	Priority int

	// Trace notes what becomes of the call. Default nil: nothing is noted.
	Trace *Trace
}

// timeoutMost is the longest Call.Timeout, and Probe.Timeout.
const timeoutMost = 2 * time.Hour

// Client is what callers need of a [Broker], for programs that wrap it, see [Intercept], or put
// something else in its place in a test.
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

// limit sets what a call has asked for, and what bounds it in time: one deadline for the
// call, whatever it waits for, and whether ReadTimeout bounds its attempts. The deadline of a
// context that can end is left to the code that watches the context.
func (b *Broker) limit(r *request, ctx context.Context, o Call) {
	_, given := ctx.Deadline()
	r.expires = b.expiryOf(ctx)
	r.timeout = o.Timeout > 0
	r.attempts = o.Idempotent || !given && !r.timeout
	r.key, r.server, r.lane = o.Key, b.named(o.Server), list.LaneOf(o.Priority)
	if o.Trace != nil {
		r.tracer = o.Trace.follow(0)
	}
	switch {
	case r.timeout:
		r.deadline = b.clock.after(b.clock.ticks(min(o.Timeout, timeoutMost)))
	case given, o.Timeout < 0:
		r.deadline = taskid.NoTick
	default:
		r.deadline = b.clock.after(b.timeouts.request)
	}
}

// named returns the server that a call has named, nil if it is none of the broker's.
func (b *Broker) named(addr string) *address {
	if addr == "" {
		return nil
	}
	for _, a := range b.servers() {
		if a.name == addr {
			return a
		}
	}
	return nil
}

// limitPlain is limit for a call without options whose context cannot end.
func (b *Broker) limitPlain(r *request) {
	r.attempts, r.timeout, r.expires = true, false, taskid.NoTick
	r.key, r.server, r.lane = 0, nil, 0
	r.deadline = b.clock.after(b.timeouts.request)
}

// kept is the outcome of a Go of which more is kept than its function: what it has asked for,
// for when its connection ends before it was written, and, if it is idempotent, its payload.
type kept struct {
	b       *Broker
	to      outcome // of the user's function
	request request // what is made again
	ticket  ticket  // for its connection; nobody gives it up
	copied  []byte
	tries   int // repetitions left
}

// callback passes the outcome on, unless the request is made again.
func (p *kept) callback(reply []byte, err error) {
	if err != nil && p.tries > 0 && p.b.mayRepeat(&p.request, err, true) {
		p.tries--
		if p.b.placeAgain(context.Background(), &p.request, err, p.tries) {
			return
		}
	}
	to, err := p.to, p.request.told(err)
	if p.b.pooled {
		p.to, p.request, p.ticket = nil, request{}, ticket{}
		p.b.keeping.Put(p)
	}
	to.callback(reply, err)
}

// keep has what r has asked for outlive its connection, and r made again when it fails if it
// is idempotent.
func (b *Broker) keep(r *request, idempotent bool) {
	p, _ := b.keeping.Get().(*kept)
	if p == nil {
		p = new(kept)
	}
	p.b, p.to, p.tries, p.copied = b, r.to, 0, p.copied[:0]
	r.to = p
	if idempotent {
		p.tries = max(b.cfg.MaxRetries, 0)
		p.copied = append(p.copied, r.payload...)
		r.ticket = &p.ticket
	}
	p.request = *r
	p.request.payload = p.copied
}

// wishes reports whether the call asks for more than a slot can keep.
func (o *Call) wishes() bool { return o.Key != 0 || o.Server != "" || o.Priority != 0 }

// placeAgain places a request again that has failed with err, elsewhere if it can, else after a
// pause; left is how often it may be repeated after that. It goes through the backlog, under
// whose lock its ticket may be written although somebody may be giving it up.
func (b *Broker) placeAgain(ctx context.Context, r *request, err error, left int) bool {
	again := *r
	again.blocks, again.conn, again.avoid = false, nil, r.ticket.conn
	if r.deadline != taskid.NoTick && r.deadline.Due(b.clock.now()) {
		return false
	}
	b.retries.Add(1) // before its outcome can be seen
	if r.tracer != nil {
		r.tracer.note(StageRepeated, "", err)
	}
	if !b.backlog.pushAnyway(&again, b.pause(ctx, &again, err, b.cfg.MaxRetries-left)) {
		b.retries.Add(^uint64(0))
		return false
	}
	b.backlog.moveOn()
	return true
}
