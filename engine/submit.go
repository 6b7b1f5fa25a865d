package engine

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/taskid"
)

// Send sends req and waits for the reply, which belongs to the caller. req is
// free for reuse when Send returns.
//
// It fails with ErrQueueFull, ErrTimeout, ErrConnLost, ErrNoPoolsAvailable,
// ErrMaxLenExceeded, ErrInvalidMsgLength, ErrClosingBroker, ErrQuit or the error
// of ctx, wrapped in an *OpError.
func (b *Broker) Send(ctx context.Context, req []byte) ([]byte, error) {
	reply, err := b.SendInto(ctx, nil, req)
	if reply == nil && err == nil {
		reply = []byte{}
	}
	return reply, err
}

// SendInto is Send with the reply appended to dst, which it returns. With room
// in dst for the reply, and a context that cannot end or whose end is not
// awaited elsewhere, it does not allocate. After an error the bytes of dst are
// unchanged; the memory behind them may have been written.
func (b *Broker) SendInto(ctx context.Context, dst, req []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return dst, &OpError{Op: "submit", Err: contextError(ctx)}
	}
	deadline := b.clock.after(b.requestTicks)
	for attempt := 0; ; attempt++ {
		c, s, err := b.submit(ctx, req, deadline, dst)
		if err == nil {
			c.kick()
			var reply []byte
			if reply, err = c.await(ctx, s); err == nil {
				return reply, nil
			}
		}
		if attempt >= b.cfg.MaxRetries || !b.repeatable(err) {
			return dst, err
		}
		b.retries.Add(1)
	}
}

// repeatable reports whether Send repeats after err: the request did not leave,
// and the reason was the connection, not a limit that a repetition meets again.
func (b *Broker) repeatable(err error) bool {
	return SafeToRetry(err) && !errors.Is(err, ErrQueueFull) && !errors.Is(err, ErrNoPoolsAvailable)
}

// submit queues a request of a blocking call.
func (b *Broker) submit(ctx context.Context, req []byte, deadline taskid.Tick, dst []byte) (*conn, *slot, error) {
	for {
		c, s, err := b.place(req, deadline, nil, func(s *slot) {
			s.V.dst, s.V.leads = dst, ctx.Done() == nil
			if s.V.done == nil {
				s.V.done = make(chan struct{}, 1)
			}
		})
		if err == nil || !b.cfg.WaitQueue || !errors.Is(err, ErrQueueFull) {
			return c, s, err
		}
		if err := b.waitRoom(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// Go sends req and returns; fn runs when the outcome is known, exactly once if
// and only if Go returned nil. Go never waits: a full queue is ErrQueueFull. req
// is copied.
//
// fn runs on one of the broker's goroutines, maybe before Go returns, and may
// run at the same time as others. reply is borrowed until fn returns. fn must
// not block, since it holds up the replies behind it; it may call Go, and such
// requests leave together. A panic in fn is not recovered.
//
// With a context that cannot be cancelled Go does not allocate.
func (b *Broker) Go(ctx context.Context, req []byte, fn func(reply []byte, err error)) error {
	if fn == nil {
		return &OpError{Op: "submit", Err: errNoFunc}
	}
	if err := ctx.Err(); err != nil {
		return &OpError{Op: "submit", Err: contextError(ctx)}
	}
	deadline := b.clock.after(b.requestTicks)
	if ctx.Done() != nil {
		return b.goWatched(ctx, req, deadline, fn)
	}
	c, _, err := b.place(req, deadline, nil, func(s *slot) { s.V.fn = fn })
	if err != nil {
		return err
	}
	c.kick()
	c.summon()
	return nil
}

var errNoFunc = errors.New("Go needs a function to call with the reply")

// goWatched is Go for a context that can end.
func (b *Broker) goWatched(ctx context.Context, req []byte, deadline taskid.Tick, fn func([]byte, error)) error {
	var (
		on *conn
		id taskid.ID
	)
	armed := make(chan struct{})
	unbind := context.AfterFunc(ctx, func() {
		<-armed
		if on != nil {
			on.cancel(id, contextError(ctx))
		}
	})
	c, _, err := b.place(req, deadline, nil, func(s *slot) {
		s.V.fn, s.V.unbind = fn, unbind
		id = s.ID()
	})
	on = c
	close(armed)
	if err != nil {
		unbind()
		return err
	}
	c.kick()
	c.summon()
	return nil
}

// place finds a connection with room, at if that is not nil and can, and queues the
// request there: it acquires a slot, frames the request, lets prepare say how the
// outcome is delivered, and arms it. Once place has returned a connection, the slot may be complete already;
// only a blocking caller may go on using it. On error nothing was queued.
func (b *Broker) place(req []byte, deadline taskid.Tick, at *conn, prepare func(*slot)) (*conn, *slot, error) {
	if err := b.stateError(); err != nil {
		return nil, nil, err
	}
	var err error
	for range len(b.links) + 1 { // one more: a connection may end just as we meet it
		c := at
		if at = nil; c == nil {
			c = b.route()
		}
		if c == nil {
			return nil, nil, b.downError()
		}
		var s *slot
		if s, err = c.enqueue(req, deadline, prepare); err == nil {
			return c, s, nil
		}
		if errors.Is(err, ErrMaxLenExceeded) {
			break
		}
	}
	if errors.Is(err, ErrQueueFull) {
		b.queueFull.Add(1)
	}
	return nil, nil, err
}

// enqueue is place for one connection.
func (c *conn) enqueue(req []byte, deadline taskid.Tick, prepare func(*slot)) (*slot, error) {
	if c.holds() {
		return c.enqueueHeld(req, deadline, prepare)
	}
	if c.queue.AtLeast(c.b.cfg.QueueSize) && !c.relieve() {
		return nil, c.errFull
	}
	s := c.table.Acquire()
	if s == nil {
		return nil, c.errFull
	}
	var err error
	s.Buf.B, err = c.b.format.Append(s.Buf.Reserve(c.b.format.HeaderSize()+len(req), c.b.pooled), s.ID(), req)
	if err != nil {
		c.table.Discard(s)
		return nil, &OpError{Op: "submit", Addr: c.link.addr, Err: err}
	}
	prepare(s)
	id := s.ID()
	if !c.table.Arm(s, deadline) {
		c.takeBack(s)
		return nil, c.lostError(false)
	}
	// There is room for the IDs of all slots.
	if pushed := c.queue.TryPush(id); invariant.Enabled {
		invariant.Check(pushed, "engine: no room in the queue for a slot's ID")
	}
	c.b.clock.rouse()
	return s, nil
}

// takeBack returns a slot whose request was not accepted.
func (c *conn) takeBack(s *slot) {
	s.V.dst, s.V.fn, s.V.batch, s.V.unbind = nil, nil, nil, nil
	c.table.Discard(s)
}

// relieve deals with a queue of QueueSize: it sees to it that somebody writes, and
// reports whether bytes move. While they do, thousands of callers may have their
// turn before the flusher has its own, and that is no reason to refuse any; the
// number of slots is bound enough.
func (c *conn) relieve() bool {
	if c.stalled() {
		return false
	}
	if c.token.CompareAndSwap(idle, busy) {
		c.flushNow()
	} else {
		runtime.Gosched()
	}
	return !c.stalled()
}

// stalled reports whether the connection takes no bytes at the moment: it is not
// up yet, or a write waits for the peer.
func (c *conn) stalled() bool { return c.writing.Load() != 0 || !c.up.Load() }

// waitRoom waits until some connection may have room again.
func (b *Broker) waitRoom(ctx context.Context) error {
	c := b.route()
	if c == nil {
		return b.downError()
	}
	c.waiters.Add(1)
	defer c.waiters.Add(-1)
	if c.table.InUse() < c.table.Cap() && !(c.stalled() && c.queue.AtLeast(c.b.cfg.QueueSize)) {
		return nil // room came before we were seen waiting
	}
	timer := time.NewTimer(b.roomTimeout())
	defer timer.Stop()
	select {
	case <-c.room:
		return nil
	case <-c.dead:
		return nil
	case <-timer.C:
		return &OpError{Op: "submit", Addr: c.link.addr, Err: ErrTimeout}
	case <-ctx.Done():
		return &OpError{Op: "submit", Addr: c.link.addr, Err: contextError(ctx)}
	}
}

// roomTimeout bounds a wait for room.
func (b *Broker) roomTimeout() time.Duration {
	if b.cfg.RequestTimeout > 0 {
		return b.cfg.RequestTimeout
	}
	return MaxTimeout
}

// signalRoom wakes one submitter that waits for room; it wakes the next by its
// own release.
func (c *conn) signalRoom() {
	if c.waiters.Load() == 0 {
		return
	}
	select {
	case c.room <- struct{}{}:
	default:
	}
}

// cancel gives a request up on behalf of its context.
func (c *conn) cancel(id taskid.ID, cause error) {
	if s, won, sent := c.table.Cancel(id); won {
		c.cancelled.Add(1)
		c.complete(s, nil, &OpError{Op: "wait", Addr: c.link.addr, Written: sent, Err: cause})
	}
}
