package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/taskid"
)

// Send sends req and waits for the reply, which belongs to the caller. req is free for
// reuse when Send returns.
//
// It fails with ErrQueueFull, ErrTimeout, ErrConnLost, ErrNoPoolsAvailable,
// ErrMaxLenExceeded, ErrInvalidMsgLength, ErrClosingBroker, ErrQuit, ErrInCallback or
// the error of ctx, wrapped in an *OpError; with Config.Extensions also with a *RefusedError
// or a *RemoteError.
func (b *Broker) Send(ctx context.Context, req []byte, opts ...Call) ([]byte, error) {
	return b.SendInto(ctx, nil, req, opts...)
}

// SendInto is Send with the reply appended to dst, which it returns. With room in dst
// for the reply, and a context that cannot end or whose end is not awaited elsewhere,
// it does not allocate. After an error the bytes of dst are unchanged; the memory
// behind them may have been written.
func (b *Broker) SendInto(ctx context.Context, dst, req []byte, opts ...Call) ([]byte, error) {
	if ctx.Err() != nil || b.callbacks.running.Load() != 0 {
		if err := b.mayBlock(ctx, "submit"); err != nil {
			return dst, err
		}
	}
	w := b.waiter()
	w.began = w.turns.Begin(b.stopwatch)
	w.dst = dst
	w.request.payload = req
	b.prepare(ctx, w, opts)
	err := b.ask(ctx, w)
	if err == nil {
		err = w.err
	}
	if err != nil {
		err = b.askAgain(ctx, w, err)
	}
	dst = w.take(err)
	if w.traced {
		w.overTraced(err)
	}
	b.stopwatch.End(w.began)
	b.putWaiter(w)
	return dst, err
}

// prepare sets what all attempts of a blocking call have in common.
func (b *Broker) prepare(ctx context.Context, w *waiter, opts []Call) {
	r := &w.request
	r.to, r.blocks, r.waits, r.avoid, r.shun = w, true, b.cfg.WaitQueue, nil, 0
	w.watch(ctx.Done())
	if r.ticket = nil; len(opts) == 0 && w.ended == nil {
		w.idempotent = false
		b.limitPlain(r)
		return
	}
	o := optionsOf(opts)
	if w.idempotent = o.Idempotent; w.ended != nil || o.Idempotent {
		r.ticket = &w.ticket
	}
	b.limit(r, ctx, o)
	w.traced = r.tracer != nil
}

// askAgain repeats a request that failed with err, if that may be done and may help.
func (b *Broker) askAgain(ctx context.Context, w *waiter, err error) error {
	r := &w.request
	r.sent = false
	for n := range b.cfg.MaxRetries {
		late := r.deadline != taskid.NoTick && r.deadline.Due(b.clock.now())
		if late || ctx.Err() != nil || !b.mayRepeat(r, err, w.idempotent) {
			break
		}
		b.retries.Add(1)
		if w.traced {
			r.tracer.note(StageRepeated, "", err)
		}
		w.err = nil
		if r.avoid = r.conn; r.ticket != nil { // it may have gone by way of the backlog
			r.avoid = r.ticket.conn
		}
		if pause := b.pause(ctx, r, err, n+1); pause > 0 {
			err = b.askLater(ctx, w, pause)
		} else {
			err = b.ask(ctx, w)
		}
		if err == nil {
			err = w.err
		}
		if err == nil {
			break
		}
	}
	return r.told(err)
}

// askLater is ask for a repetition that pauses before, for so many ticks.
func (b *Broker) askLater(ctx context.Context, w *waiter, pause uint32) error {
	r := &w.request
	r.conn, w.ticket = nil, ticket{}
	if !b.backlog.pushAnyway(r, pause) {
		return b.stateError()
	}
	if w.ended == nil {
		<-w.done
	} else {
		b.await(ctx, w)
	}
	return nil
}

// ask submits a request and waits until its outcome is in w. An error means that it was
// not submitted. The request is kept in w and not on the stack: what a caller touches
// between two sleeps decides how many of them fit the caches, and all of its frames should
// fit the two KiB of stack that a goroutine begins with.
func (b *Broker) ask(ctx context.Context, w *waiter) error {
	r := &w.request
	r.conn = nil
	if r.ticket != nil {
		w.ticket = ticket{}
	}
	if err := b.place(r); err != nil {
		return err
	}
	if r.conn != nil && r.conn.in.right.State() == baton.Free && r.conn.lead(w, r.id) {
		return nil
	}
	switch {
	case w.ended == nil:
		<-w.done
	case b.sharedFor(ctx, w) != nil:
		b.awaitShared(ctx, w)
	default:
		b.await(ctx, w)
	}
	return nil
}

// mayBlock returns why a call that would block must not: its context has ended, or it
// is made from one of the broker's own callbacks, which the reply may need.
func (b *Broker) mayBlock(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return &OpError{Op: op, Err: contextError(ctx)}
	}
	if b.callbacks.isOne() {
		return &OpError{Op: op, Err: ErrInCallback}
	}
	return nil
}

// waiter returns a waiter that belongs to the caller until putWaiter.
func (b *Broker) waiter() *waiter {
	if !b.pooled {
		return b.newTimedWaiter().(*waiter)
	}
	return b.waiters.Get().(*waiter)
}

func (b *Broker) putWaiter(w *waiter) {
	if b.pooled {
		b.waiters.Put(w)
	}
}

// await blocks until the outcome is in w, or gives the request up when ctx ends.
func (b *Broker) await(ctx context.Context, w *waiter) {
	select {
	case <-w.done:
	case <-w.ended:
		if l, won := b.giveUp(&w.ticket); won {
			w.err = givenUp(ctx, l)
			return
		}
		<-w.done // the outcome is being delivered this moment
	}
}

// giveUp takes a request away from wherever it is on behalf of its context. If it has
// won, the caller delivers the outcome, and l is the link it was sent on, nil for none.
func (b *Broker) giveUp(t *ticket) (l *link, won bool) {
	var last *conn
	var lastID taskid.ID
	for {
		waited, c, id := b.backlog.withdraw(t)
		if waited {
			b.ends.cancelled.Add(1)
			return nil, true
		}
		if c == nil || c == last && id == lastID {
			return nil, false // it has its outcome
		}
		if c.cancel(id) {
			return c.link, true
		}
		last, lastID = c, id // it has its outcome, unless its connection ended and it moved
	}
}

// givenUp is the error of a request that was given up because its context had ended.
func givenUp(ctx context.Context, l *link) *OpError {
	if l == nil {
		return &OpError{Op: "submit", Err: contextError(ctx)}
	}
	return &OpError{Op: "wait", Addr: l.addr.name, Written: true, Err: contextError(ctx)}
}

// Go sends req and returns; fn runs when the outcome is known, exactly once if and only
// if Go returned nil. Go never waits: a full queue is ErrQueueFull. req is copied.
//
// fn runs on one of the broker's goroutines, maybe before Go returns, and may run at
// the same time as others. reply is borrowed until fn returns. With a reply, fn runs on
// the goroutine that reads: it must not block, since it holds up the replies behind it;
// when it has not returned after 100 ms, that is logged and the reading goes on
// elsewhere. With an error, fn runs on a goroutine of its own, of which there are 64 at
// most, in no promised order. Its request counts in MaxInFlight until fn has returned.
//
// fn may call Go, and such requests leave together; the first that is made with a reply
// finds room even when there is none for others. A call that would block fails with
// ErrInCallback. (Both on amd64 and arm64 only: elsewhere goroutines cannot be told apart,
// and a call that blocks holds up replies for 100 ms.) If fn panics or ends its goroutine,
// that is logged and counted, and costs nobody else anything.
//
// Go keeps no copy of a request that was written, unless it is Call.Idempotent: with
// Config.Extensions fn is told of one that the server has not executed, and SafeToRetry is
// true for the error.
//
// With a context that cannot be cancelled Go does not allocate.
func (b *Broker) Go(
	ctx context.Context, req []byte, fn func(reply []byte, err error), opts ...Call,
) error {
	if fn == nil {
		return &OpError{Op: "submit", Err: errNoFunc}
	}
	ended := ctx.Done()
	r := request{payload: req}
	if len(opts) == 0 && ended == nil {
		r.to, r.unchosen = plainCallback(fn), b.stopwatch != nil
		b.limitPlain(&r)
		return b.place(&r)
	}
	if ctx.Err() != nil {
		return &OpError{Op: "submit", Err: contextError(ctx)}
	}
	o := optionsOf(opts)
	b.limit(&r, ctx, o)
	if ended != nil {
		return b.goWatched(ctx, &r, o, fn)
	}
	r.to = b.calling(fn)
	if r.tracer != nil {
		r.to = &tracedCallback{r.to, r.tracer}
	}
	if o.Idempotent || o.wishes() {
		b.keep(&r, o.Idempotent)
	}
	return r.notePlacing(b.place(&r))
}

// notePlacing notes that a Go was not accepted, if it is traced.
func (r *request) notePlacing(err error) error {
	if err != nil && r.tracer != nil {
		r.tracer.over(err)
	}
	return err
}

var errNoFunc = errors.New("it needs a function to call with the reply")

// goWatched is Go for a context that can end.
func (b *Broker) goWatched(
	ctx context.Context, r *request, o Call, fn func([]byte, error),
) error {
	w := &watchedCallback{ctx: ctx, fn: fn, began: b.stopwatch.Begin()}
	r.to, r.ticket = w, &w.ticket
	w.b, w.request = b, *r
	w.request.payload = nil
	if o.Idempotent {
		w.tries = max(b.cfg.MaxRetries, 0)
		w.request.payload = slices.Clone(r.payload)
	}
	placed := make(chan struct{})
	ready := false
	w.unbind = context.AfterFunc(ctx, func() {
		<-placed
		if !ready {
			return
		}
		if l, won := b.giveUp(&w.ticket); won {
			b.callbacks.fail(l, w, givenUp(ctx, l))
		}
	})
	err := b.place(r)
	ready = err == nil
	close(placed)
	if err != nil {
		w.unbind()
	}
	return r.notePlacing(err)
}

// SendOneWay sends a request that nobody waits for and that the server need not answer;
// if it does, the reply is dropped and counted. It never waits, and nil says only that
// the request was queued: nothing tells whether it arrives. req is copied. It fails with
// ErrQueueFull, ErrNoPoolsAvailable, ErrMaxLenExceeded, ErrClosingBroker, ErrQuit or the
// error of ctx, wrapped in an *OpError.
func (b *Broker) SendOneWay(ctx context.Context, req []byte) error {
	if err := ctx.Err(); err != nil {
		return &OpError{Op: "submit", Err: contextError(ctx)}
	}
	r := request{payload: req, deadline: b.clock.after(b.timeouts.request), expires: b.expiryOf(ctx)}
	return b.place(&r)
}
