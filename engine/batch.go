package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/taskid"
)

// batch is one SendBatch in progress.
type batch struct {
	fn   func(i int, reply []byte, err error)
	left atomic.Int64  // requests without an outcome, plus one for the submitter
	done chan struct{} // receives one token when left reaches 0; capacity 1

	mu    sync.Mutex // guards first
	first error

	sent []placed // for cancellation; belongs to the submitter
}

// placed names one request of a batch.
type placed struct {
	conn *conn
	id   taskid.ID
}

// newBatch makes what Broker.batches has none of.
func newBatch() any { return &batch{done: make(chan struct{}, 1)} }

// SendBatch sends all requests and returns when fn has run for each, exactly once,
// whatever happens. fn gets the request's index and its outcome, in any order, on
// the broker's goroutines or the caller's; it may run at the same time as itself.
// reply is borrowed until fn returns, and fn must not block.
//
// SendBatch waits for room in queue and flight; when ctx ends, the requests still
// open are given up. It returns the error of the first request found to have
// failed, nil if none did. Only a nil fn makes it return without sending.
func (b *Broker) SendBatch(ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	if fn == nil {
		return &OpError{Op: "submit", Err: errNoFunc}
	}
	bt := b.batches.Get().(*batch)
	bt.fn = fn
	bt.left.Store(int64(len(reqs)) + 1)

	watched := ctx.Done() != nil
	b.sendAll(ctx, bt, reqs, watched)

	if bt.left.Add(-1) == 0 {
		bt.done <- struct{}{}
	}
	if watched {
		select {
		case <-bt.done:
			bt.done <- struct{}{} // taken again below
		case <-ctx.Done():
			for _, p := range bt.sent {
				p.conn.cancel(p.id, contextError(ctx))
			}
		}
	}
	<-bt.done
	err := bt.first
	clear(bt.sent)
	bt.fn, bt.first, bt.sent = nil, nil, bt.sent[:0]
	b.batches.Put(bt)
	return err
}

// batchRun is how many requests of a batch go to one connection, at least, before
// the next has its turn.
const batchRun = 64

// sendAll queues every request and sees to it that those of one connection leave
// together.
func (b *Broker) sendAll(ctx context.Context, bt *batch, reqs [][]byte, watched bool) {
	deadline := b.clock.after(b.requestTicks)
	run := max(batchRun, (len(reqs)+len(b.links)-1)/len(b.links))
	var at *conn // where the present run goes
	held := false
	letGo := func() {
		if held {
			held = false
			at.unhold()
			at.flushNow()
		}
	}
	for i, req := range reqs {
		if watched && ctx.Err() != nil {
			bt.finish(i, nil, &OpError{Op: "submit", Err: contextError(ctx)})
			continue
		}
		if i%run == 0 {
			letGo()
			at = b.route()
			held = at != nil && at.seize()
		}
		var id taskid.ID
		c, err := b.placeWaiting(ctx, req, deadline, at, letGo, func(s *slot) {
			s.V.batch, s.V.index = bt, int32(i)
			id = s.ID()
		})
		if err != nil {
			bt.finish(i, nil, err)
			continue
		}
		c.summon()
		if watched {
			bt.sent = append(bt.sent, placed{c, id})
		}
		if c != at {
			letGo()
			at = c
		}
		// Asked again after the request was queued: if the token is taken now, who
		// has it will find the request.
		held = held || at.seize()
	}
	letGo()
}

// placeWaiting is place that waits for room. Before it waits it calls letGo, since
// what it waits for may be its own requests.
func (b *Broker) placeWaiting(ctx context.Context, req []byte, deadline taskid.Tick, at *conn, letGo func(), prepare func(*slot)) (*conn, error) {
	for {
		c, _, err := b.place(req, deadline, at, prepare)
		if err == nil || !errors.Is(err, ErrQueueFull) {
			return c, err
		}
		letGo()
		runtime.Gosched()
		if c, _, err = b.place(req, deadline, nil, prepare); err == nil || !errors.Is(err, ErrQueueFull) {
			return c, err
		}
		if err := b.waitRoom(ctx); err != nil {
			return nil, err
		}
	}
}

// finish delivers one outcome and, with the last one, wakes the submitter.
func (bt *batch) finish(i int, reply []byte, err error) {
	if err != nil {
		bt.mu.Lock()
		if bt.first == nil {
			bt.first = err
		}
		bt.mu.Unlock()
	}
	bt.fn(i, reply, err)
	if bt.left.Add(-1) == 0 {
		bt.done <- struct{}{} // the batch is now the submitter's
	}
}
