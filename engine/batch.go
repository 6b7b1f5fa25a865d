package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// batch is one SendBatch in progress.
type batch struct {
	b    *Broker
	ctx  context.Context
	fn   func(i int, reply []byte, err error)
	reqs [][]byte
	left atomic.Int64  // requests without an outcome, plus one for the submitter
	done chan struct{} // receives one token when left reaches 0; capacity 1

	mu    sync.Mutex // guards first
	first error

	items []batchItem // one for each request, and more if an earlier batch was longer
	fates []batchFate // one for each request; none if all that they can is be answered or fail

	// The submitter's.
	common   request // what all requests have in common
	accepted bool    // one of the requests has been
	parts    parts

	began     stopwatch.Time // if one of them is timed, else 0
	timedFrom int            // the first that is

	idempotent bool
}

// batchItem is the outcome of one request of a batch. It is the same in every batch, and small: a
// thousand of them fit the first level of the cache.
type batchItem struct {
	batch *batch
	index uint32
	timed bool
}

// batchFate is what may become of a request of a batch before its outcome.
type batchFate struct {
	ticket ticket
	tries  int // repetitions left
	sent   bool
	shun   uint32
	tracer *tracer
}

// fate returns the fate of an item, nil if its batch keeps none.
func (it *batchItem) fate() *batchFate {
	if len(it.batch.fates) == 0 {
		return nil
	}
	return &it.batch.fates[it.index]
}

// someTicket says of what a batch's requests have in common that each has a ticket.
var someTicket ticket

// newBatch makes what Broker.batches has none of.
func newBatch() any { return &batch{done: make(chan struct{}, 1)} }

// callback delivers one outcome and, with the last one, wakes the submitter.
func (it *batchItem) callback(reply []byte, err error) {
	bt := it.batch
	if err != nil {
		if err = it.again(err); err == nil {
			return
		}
		bt.mu.Lock()
		if bt.first == nil {
			bt.first = err
		}
		bt.mu.Unlock()
	}
	if f := it.fate(); f != nil && f.tracer != nil {
		f.tracer.replied(err)
		f.tracer.over(err)
	}
	if it.timed {
		bt.b.stopwatch.End(bt.began) // first: fn may panic
	}
	bt.fn(int(it.index), reply, err)
	bt.leave()
}

// again repeats a request that failed, if it is idempotent, or was not executed by a server
// that can say so, and that may help. Its payload is still that of the submitter, which waits. It
// returns nil if the outcome is open again, else the error.
func (it *batchItem) again(err error) error {
	bt, f := it.batch, it.fate()
	if f == nil {
		return err
	}
	r := bt.request(int(it.index))
	if f.tries == 0 || bt.ctx.Err() != nil || !bt.b.mayRepeat(&r, err, bt.idempotent) {
		return r.told(err)
	}
	f.tries--
	f.shun, f.sent = r.shun, r.sent
	bt.left.Add(1) // or the batch might be another one's before we have looked
	if bt.b.placeAgain(bt.ctx, &r, err, f.tries) {
		err = nil
		// The context may have ended while nothing was in flight, so that nobody gives it up.
		if bt.ctx.Err() != nil {
			if l, won := bt.b.giveUp(&f.ticket); won {
				err = givenUp(bt.ctx, l)
			}
		}
	}
	bt.leave()
	return r.told(err)
}

// leave counts an outcome that was delivered.
func (bt *batch) leave() {
	if bt.left.Add(-1) == 0 {
		bt.done <- struct{}{} // the batch is now the submitter's
	}
}

// SendBatch sends all requests and returns when fn has run for each, exactly once,
// whatever happens. fn gets the request's index and its outcome, in any order, on the
// broker's goroutines; it may run at the same time as itself. What is said of the
// function of [Broker.Go] holds for it: reply is borrowed until fn returns, fn must not
// block, a panic, or runtime.Goexit, costs only its own request.
//
// SendBatch waits for room once one of its requests has been accepted; when ctx ends, the
// requests still open are given up. It returns the error of the first request found to
// have failed, nil if none did. Only a nil fn, and a call from a callback, make it
// return without sending.
func (b *Broker) SendBatch(
	ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error), opts ...Call,
) error {
	if fn == nil {
		return &OpError{Op: "submit", Err: errNoFunc}
	}
	if b.callbacks.isOne() {
		return &OpError{Op: "submit", Err: ErrInCallback}
	}
	bt := b.batches.Get().(*batch)
	bt.start(b, ctx, reqs, fn, optionsOf(opts))
	b.sendAll(ctx, bt, reqs)
	bt.leave()
	if ended := ctx.Done(); ended != nil {
		select {
		case <-bt.done:
			bt.done <- struct{}{} // taken again below
		case <-ended:
			b.giveUpBatch(ctx, bt)
		}
	}
	<-bt.done
	err := bt.first
	bt.end()
	b.batches.Put(bt)
	return err
}

// start begins a batch.
func (bt *batch) start(
	b *Broker, ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error), o Call,
) {
	n := len(reqs)
	bt.b, bt.ctx, bt.fn, bt.reqs, bt.accepted = b, ctx, fn, reqs, false
	bt.common = request{blocks: true}
	b.limit(&bt.common, ctx, o)
	bt.idempotent = o.Idempotent
	bt.left.Store(int64(n) + 1)
	bt.items = slices.Grow(bt.items, max(n-len(bt.items), 0))
	for i := len(bt.items); i < n; i++ {
		bt.items = append(bt.items, batchItem{batch: bt, index: uint32(i)})
	}
	repeats := o.Idempotent || b.extended
	if ctx.Done() != nil || repeats {
		bt.common.ticket = &someTicket
	}
	if bt.common.ticket != nil || o.Trace != nil {
		bt.fates = slices.Grow(bt.fates, n)[:n]
	}
	for i := range bt.fates {
		f := &bt.fates[i]
		if repeats {
			f.tries = max(b.cfg.MaxRetries, 0)
		}
		if o.Trace != nil {
			f.tracer = o.Trace.follow(i)
		}
	}
	if b.stopwatch != nil {
		bt.timeSome()
	}
}

// end makes a batch whose outcomes were all delivered ready for the next one.
func (bt *batch) end() {
	if bt.began != 0 {
		bt.setTimed(false)
		bt.began = 0
	}
	clear(bt.fates)
	bt.fates = bt.fates[:0]
	bt.fn, bt.first, bt.reqs, bt.ctx = nil, nil, nil, nil
}

// giveUpBatch gives up what is open when the context has ended.
func (b *Broker) giveUpBatch(ctx context.Context, bt *batch) {
	for i := range bt.fates {
		if l, won := b.giveUp(&bt.fates[i].ticket); won {
			b.callbacks.fail(nil, &bt.items[i], givenUp(ctx, l))
		}
	}
}

// sendAll submits every request.
func (b *Broker) sendAll(ctx context.Context, bt *batch, reqs [][]byte) {
	watched := ctx.Done() != nil
	for i := 0; i < len(reqs); {
		if watched && ctx.Err() != nil {
			b.callbacks.fail(nil, &bt.items[i], &OpError{Op: "submit", Err: contextError(ctx)})
			i++
			continue
		}
		if n := b.sendRun(bt, i); n > 0 {
			i += n
			bt.accepted = true
			continue
		}
		b.sendOne(bt, i)
		i++
	}
	bt.parts.end(b)
}

// runMax is how many requests of a batch go to one connection at once at most, before the
// next one has its turn.
const runMax = 64

// request makes the i-th request.
func (bt *batch) request(i int) request {
	r := bt.common
	bt.choose(&r, i)
	return r
}

// choose makes r, which is another request of the batch or what all have in common, the i-th.
func (bt *batch) choose(r *request, i int) {
	r.payload, r.to = bt.reqs[i], &bt.items[i]
	if len(bt.fates) == 0 {
		return
	}
	f := &bt.fates[i]
	r.shun, r.sent, r.tracer = f.shun, f.sent, f.tracer
	if r.ticket != nil {
		r.ticket = &f.ticket
	}
}

// sendRun submits requests from the first on to one connection, as many as it takes at once, with
// one operation each on the free slots and on the output. It returns how many, 0 if it
// takes none that way.
func (b *Broker) sendRun(bt *batch, first int) int {
	reqs := bt.reqs[first:]
	if b.backlog.len() > 0 || b.header+len(reqs[0]) > ring.ChunkBytes {
		return 0 // before it is a connection's turn
	}
	c, run := bt.parts.next(b, &bt.common, len(reqs), len(bt.reqs))
	if c == nil {
		return 0
	}
	n := b.sendRunTo(c, bt, first, run)
	bt.parts.sent(n)
	return n
}

// sendRunTo is sendRun for a connection and so many requests at most.
func (b *Broker) sendRunTo(c *conn, bt *batch, first, run int) int {
	if c.busy() {
		return 0
	}
	reqs := bt.reqs[first:]
	count, size := 0, 0
	for _, req := range reqs[:run] {
		n := b.header + len(req)
		if len(req) > b.maxPayload || size+n > ring.ChunkBytes {
			break
		}
		size += n
		count++
	}
	var ids [runMax]taskid.ID
	if count = c.table.AcquireInto(ids[:count]); count == 0 {
		return 0
	}
	size = 0
	for _, req := range reqs[:count] {
		size += b.header + len(req)
	}
	room, ok := c.out.ring.Reserve(size)
	if !ok {
		c.table.FreeAll(ids[:count])
		return 0
	}
	armed, r := 0, bt.common
	for out := room.Bytes()[:0]; armed < count; armed++ {
		bt.choose(&r, first+armed)
		begins := len(out)
		out = c.frame(out, &r, ids[armed])
		at := inRing(room.At+ring.Position(begins), len(out)-begins)
		if !c.arm(&r, c.table.Slot(ids[armed]), ids[armed], at) {
			out = out[:begins]
			for _, r.payload = range reqs[armed:count] {
				out = c.frame(out, &r, taskid.None)
			}
			c.abandon(room, count)
			c.table.FreeAll(ids[armed:count])
			c.call()
			return armed
		}
	}
	room.PublishAll(count)
	c.kick()
	c.call()
	return count
}

// sendOne submits one request of a batch, wherever there is room.
func (b *Broker) sendOne(bt *batch, i int) {
	r := bt.request(i)
	r.waits = b.cfg.WaitQueue
	err := b.place(&r)
	if errors.Is(err, ErrQueueFull) && bt.accepted {
		// If none of its own requests holds room now, one did a moment ago.
		r.waits = bt.left.Load() > int64(len(bt.reqs)-i+1)
		err = b.place(&r)
	}
	if err != nil {
		b.callbacks.fail(nil, &bt.items[i], err)
		return
	}
	bt.accepted = true
	if r.conn != nil {
		r.conn.call()
	}
}
