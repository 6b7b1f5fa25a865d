package engine

import (
	"context"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// request is one request on its way to a connection.
type request struct {
	payload  []byte      // the caller's; copied before place returns, or borrowed while it blocks
	to       outcome     // nil: one way
	ticket   *ticket     // where the request is, for a caller that may give it up or make it again
	deadline taskid.Tick // of the whole call; NoTick: none, or its context has one
	expires  taskid.Tick // the context's, for the server to know; NoTick: none
	attempts bool        // ReadTimeout bounds each attempt
	timeout  bool        // the deadline is that of Call.Timeout
	blocks   bool        // its caller blocks, so the payload may be borrowed meanwhile
	waits    bool        // it waits for room however many wait before it
	moved    bool        // its connection has ended before it was written
	sent     bool        // it is a repetition, and may have been written before
	unchosen bool        // it is not decided whether the call is timed (timeByID, timeLater)

	avoid *conn // where it failed before, if there is another; nil: nowhere

	conn *conn // where place has put it; nil: into the backlog
	id   taskid.ID
	shun uint32 // the bits of the addresses that have refused it

	server *address  // where it had best go; nil: where the strategy says
	key    uint64    // for strategy ip_hash
	lane   list.Lane // where it waits

	tracer *tracer // nil: nobody follows it
}

// failedAt returns the address where the request has failed before, nil if it has not.
func (r *request) failedAt() *address {
	if r.avoid == nil {
		return nil
	}
	return r.avoid.link.addr
}

// outcome is where the result of a request goes. It is delivered exactly once, by
// the goroutine that takes the request out of the table or the backlog.
//
// A *waiter belongs to a goroutine that blocks: to deliver to it runs nobody's code.
// The others are callbacks, and run code of the user's: only a reply is delivered to
// them by the reading goroutine, every other result by the runners (callback.go).
type outcome interface {
	callback(reply []byte, err error)
}

// flight is what the table keeps for a request whose frame is in the outbox or on the
// wire.
type flight struct {
	to outcome
	at spot
}

// spot says where a frame begins in the outbox, and how long it is.
//
//	 63      62        61       45 44                           0
//	┌───────┬─────────┬───────────┬──────────────────────────────┐
//	│ large │ timeout │ length    │ position in the ring, short  │
//	│   1   │ timeout │ length                                   │
//	└───────┴─────────┴──────────────────────────────────────────┘
//
// A large frame does not go through the ring. timeout is that of the request.
type spot uint64

const (
	spotLarge   spot = 1 << 63
	spotTimeout spot = 1 << 62
)

// inRing is the spot of a frame of n bytes in the ring.
func inRing(p ring.Position, n int) spot {
	return spot(uint64(n)<<ring.ShortBits | p.Short())
}

func (s spot) large() bool { return s&spotLarge != 0 }

// length returns the length of the frame in bytes.
func (s spot) length() int {
	n := uint64(s &^ (spotLarge | spotTimeout))
	if s.large() {
		return int(n)
	}
	return int(n >> ring.ShortBits)
}

// short returns the position in the ring.
func (s spot) short() uint64 { return uint64(s) & (1<<ring.ShortBits - 1) }

type (
	table = taskid.Table[flight]
	slot  = taskid.Slot[flight]
)

// ticket says where a request is, so that it can be given up: in the backlog, or on a
// connection. It is written by the goroutine that places the request: by the submitter
// before place returns, and under the backlog's lock by the one that moves the request on
// from there.
type ticket struct {
	waiting *pending
	conn    *conn
	id      taskid.ID
}

// ticketOf returns the ticket of the request that an outcome belongs to, nil if nobody may
// give it up. The request must be in flight.
func ticketOf(to outcome) *ticket {
	switch to := to.(type) {
	case *waiter:
		return to.request.ticket
	case *watchedCallback:
		return &to.ticket
	case *kept:
		return to.request.ticket
	case *batchItem:
		if f := to.fate(); f != nil && f.ticket.conn != nil {
			return &f.ticket
		}
	}
	return nil
}

// recall sets what the call has asked for that an outcome belongs to, as far as that is kept
// outside the table. The request must be in flight.
func (r *request) recall(to outcome) {
	var of *request
	switch to := to.(type) {
	case *waiter:
		of = &to.request
	case *watchedCallback:
		of = &to.request
	case *kept:
		of = &to.request
	case *batchItem:
		of = &to.batch.common
	case *tracedCallback:
		r.tracer = to.tracer
		return
	default:
		return
	}
	r.server, r.key, r.lane, r.tracer = of.server, of.key, of.lane, of.tracer
	if it, ok := to.(*batchItem); ok && it.fate() != nil {
		r.tracer = it.fate().tracer
	}
}

// deadlineOf returns the deadline of the call that an outcome belongs to, if that is kept
// outside the table too. The request must be in flight.
func deadlineOf(to outcome) (deadline taskid.Tick, ok bool) {
	switch to := to.(type) {
	case *waiter:
		return to.request.deadline, true
	case *watchedCallback:
		return to.request.deadline, to.request.to != nil
	case *kept:
		return to.request.deadline, true
	case *batchItem:
		return to.batch.common.deadline, true
	}
	return taskid.NoTick, false
}

// waiter is what a blocked caller waits with. It belongs to the caller and stays warm
// from call to call; the goroutine that delivers the outcome has it until the token is in
// done.
type waiter struct {
	// What every call needs, in one cache line: the caller writes it on one processor and
	// the goroutine that reads replies often on another one.
	done    chan struct{} // receives one token; capacity 1
	dst     []byte        // the reply is put behind it if there is room,
	n       int           // and is this long
	spilled bool          // or it is in own, from where the caller copies it
	traced  bool          // request has a tracer
	err     error

	idempotent bool // the call may be made again although it may have been carried out

	turns stopwatch.Turns // which of the calls are timed
	began stopwatch.Time  // when the call began, if it is

	request request // the caller's
	own     []byte
	ticket  ticket

	// For contexts that many calls share, see shared.go.
	state  atomic.Uint32
	ended  <-chan struct{} // the context's; nil: it cannot end
	calls  int             // in a row with that context
	shared *sharedContext  // what watches it; nil: the caller does
}

// keepReplyBytes is the largest memory for a reply that a waiter keeps.
const keepReplyBytes = 64 << 10

func newWaiter() any { return &waiter{done: make(chan struct{}, 1)} }

// watch sets what ends the context of the call that begins.
func (w *waiter) watch(ended <-chan struct{}) {
	if w.ended != ended {
		w.ended, w.calls, w.shared = ended, 0, nil
	}
}

// reply delivers a reply, which is borrowed.
func (w *waiter) reply(b []byte) {
	w.keep(b)
	if w.traced {
		w.request.tracer.replied(nil)
	}
	w.done <- struct{}{} // the waiter is now the caller's
}

// keep copies a reply.
func (w *waiter) keep(b []byte) {
	w.n = len(b)
	if have := len(w.dst); cap(w.dst)-have >= len(b) {
		copy(w.dst[have:have+len(b)], b)
		return
	}
	w.spilled = true
	w.own = append(w.own[:0], b...)
}

// fail delivers an error.
func (w *waiter) fail(err error) {
	w.err = err
	w.done <- struct{}{}
}

// callback makes a waiter an outcome.
func (w *waiter) callback(reply []byte, err error) {
	if err != nil {
		w.fail(err)
		return
	}
	w.reply(reply)
}

// take returns the caller's slice, grown by the reply if there is one, never nil then, and
// makes the waiter ready for the next call.
func (w *waiter) take(err error) []byte {
	dst := w.dst
	w.dst, w.err, w.request.payload = nil, nil, nil
	if w.spilled {
		return w.takeOwn(dst, err)
	}
	if err == nil {
		dst = dst[:len(dst)+w.n]
		if dst == nil {
			dst = []byte{}
		}
	}
	return dst
}

// takeOwn is take for a reply that found no room in dst.
func (w *waiter) takeOwn(dst []byte, err error) []byte {
	w.spilled = false
	if err == nil {
		dst = append(dst, w.own...)
	}
	if cap(w.own) > keepReplyBytes {
		w.own = nil
	}
	return dst
}

// plainCallback is the outcome of a Go whose context cannot end.
type plainCallback func(reply []byte, err error)

func (fn plainCallback) callback(reply []byte, err error) { fn(reply, err) }

// watchedCallback is the outcome of a Go whose context may end.
type watchedCallback struct {
	ctx    context.Context
	fn     func(reply []byte, err error)
	began  stopwatch.Time // when the call began, if it is timed
	unbind func() bool    // ends the watch on the context
	ticket ticket

	// What was asked for, and, if it is idempotent, what is made again:
	b       *Broker
	request request
	tries   int
}

func (w *watchedCallback) callback(reply []byte, err error) {
	if err != nil && w.tries > 0 && w.ctx.Err() == nil && w.b.mayRepeat(&w.request, err, true) {
		w.tries--
		if w.b.placeAgain(w.ctx, &w.request, err, w.tries) {
			if w.ctx.Err() == nil {
				return
			}
			// It may have ended while nothing was in flight, so that nobody gives it up.
			if _, won := w.b.giveUp(&w.ticket); !won {
				return
			}
			err = givenUp(w.ctx, nil)
		}
	}
	w.unbind()
	err = w.request.told(err)
	if w.request.tracer != nil {
		w.request.tracer.replied(err)
		w.request.tracer.over(err)
	}
	w.b.stopwatch.End(w.began) // first: fn may panic
	w.fn(reply, err)
}
