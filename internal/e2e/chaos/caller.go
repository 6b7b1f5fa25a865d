package chaos

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"
)

// kept is how many replies a caller holds on to, to see whether they change.
const kept = 4

// A caller sends requests one after the other, or several at once with Go. The
// fields from pending on are shared with callbacks and the watch.
type caller struct {
	h       *Harness
	index   uint32
	buf     []byte // of the request
	into    []byte // dst of SendInto
	replies [kept]struct {
		reply []byte
		call  *call
	}
	turn int

	pending []atomic.Pointer[call] // open calls, by place
	places  chan int               // free places of Go calls: 0 to Window-1
	seq     atomic.Uint32
	entered atomic.Int64 // when the client's method was called; 0 outside
	gone    atomic.Bool  // done or abandoned
}

func newCaller(h *Harness, index uint32) *caller {
	c := &caller{
		h: h, index: index,
		pending: make([]atomic.Pointer[call], h.cfg.Window+h.cfg.BatchMax),
		places:  make(chan int, h.cfg.Window),
	}
	for i := range h.cfg.Window {
		c.places <- i
	}
	return c
}

// run calls until the budget is spent, then waits for the calls of Go: for each
// place, which its call's completion or loss gives back.
func (c *caller) run() {
	defer c.leave()
	for !c.gone.Load() && c.h.more(1) {
		if err := c.one(); err != nil && !c.gone.Load() {
			c.pause()
		}
	}
	for range c.h.cfg.Window {
		if c.gone.Load() {
			return
		}
		<-c.places
	}
	for slot := range kept {
		c.drop(slot)
	}
}

func (c *caller) leave() {
	if c.gone.CompareAndSwap(false, true) {
		c.h.left.Done()
	}
}

// pause keeps a caller whose calls fail at once from spending the budget while
// the client reconnects.
func (c *caller) pause() {
	t := time.NewTimer(time.Duration(mix(uint64(c.seq.Load()))%2000) * time.Microsecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.h.run.Done():
	}
}

// one makes the next call, or batch, with the method its shape names. It returns
// the error of a call that failed before it returned.
func (c *caller) one() error {
	first := c.next()
	switch first.api {
	case apiInto:
		if client, ok := c.h.client.(IntoSender); ok {
			return c.sendInto(client, first)
		}
	case apiGo:
		if client, ok := c.h.client.(Goer); ok {
			return c.goCall(client, first)
		}
	case apiBatch:
		if client, ok := c.h.client.(Batcher); ok {
			return c.sendBatch(client, first)
		}
	}
	return c.send(first)
}

// next makes the record of the caller's next request.
func (c *caller) next() *call {
	return &call{shape: c.h.shapeOf(c.index, c.seq.Add(1)), caller: c, cancel: func() {}}
}

// begin makes a call pending at a place: from here on it can be lost.
func (c *caller) begin(k *call, place int) {
	k.place, k.began = place, c.h.now()
	c.pending[place].Store(k)
}

func (c *caller) context(k *call) context.Context {
	ctx, cancel := c.h.cfg.Context(c.h.run, k.id.nonce)
	k.cancel = cancel
	return ctx
}

func (c *caller) enter() { c.entered.Store(c.h.now()) }
func (c *caller) exit()  { c.entered.Store(0) }

// blocking is the place of a call that blocks its caller, and of the first of a
// batch.
func (c *caller) blocking() int { return c.h.cfg.Window }

func (c *caller) send(k *call) error {
	c.buf = k.appendRequest(c.buf[:0])
	ctx := c.context(k)
	c.begin(k, c.blocking())
	c.enter()
	reply, err := c.h.client.Send(ctx, c.buf)
	c.exit()
	scribble(c.buf) // it is ours again: code that still reads it reads rubbish
	if k.complete(reply, err) && err == nil {
		c.keep(k, reply)
	}
	return err
}

// keep holds a reply, which is ours, for a few calls and then checks it again:
// it must not have changed. It is scribbled over before it is dropped, so that
// any other code that believes it owns the reply finds rubbish.
func (c *caller) keep(k *call, reply []byte) {
	slot := c.turn % kept
	c.turn++
	c.drop(slot)
	if k.matches(reply) {
		c.replies[slot].reply, c.replies[slot].call = reply, k
	}
}

func (c *caller) drop(slot int) {
	r := &c.replies[slot]
	if r.call != nil && !r.call.matches(r.reply) {
		c.h.tally.violation(&c.h.tally.corrupt, "reply changed after it was handed over: %v", r.call.id)
	}
	scribble(r.reply)
	r.reply, r.call = nil, nil
}

const prefix = "\x00dst\xff"

func (c *caller) sendInto(client IntoSender, k *call) error {
	c.buf = k.appendRequest(c.buf[:0])
	c.into = append(c.into[:0], prefix...)
	ctx := c.context(k)
	c.begin(k, c.blocking())
	c.enter()
	out, err := client.SendInto(ctx, c.into, c.buf)
	c.exit()
	scribble(c.buf)
	if err != nil {
		out = c.into
	}
	if len(out) < len(prefix) || string(out[:len(prefix)]) != prefix {
		c.h.tally.violation(&c.h.tally.corrupt, "SendInto changed the bytes of dst: %v", k.id)
		out = append([]byte(prefix), out...)
	}
	k.complete(out[len(prefix):], err)
	c.into = out // grown, most likely
	return err
}

func (c *caller) goCall(client Goer, k *call) error {
	place := <-c.places
	if c.gone.Load() {
		c.places <- place
		return nil
	}
	c.buf = k.appendRequest(c.buf[:0])
	ctx := c.context(k)
	c.begin(k, place)
	c.enter()
	err := client.Go(ctx, c.buf, k.called)
	c.exit()
	scribble(c.buf)
	if err != nil {
		k.complete(nil, err)
	}
	return err
}

func (c *caller) sendBatch(client Batcher, first *call) error {
	calls := []*call{first}
	if n := 1 + int(mix(first.id.nonce+5)%uint64(c.h.cfg.BatchMax)); n > 1 && c.h.more(n-1) {
		for len(calls) < n {
			calls = append(calls, c.next())
		}
	}
	ctx, cancel := c.h.cfg.Context(c.h.run, first.id.nonce)
	defer cancel()
	reqs := make([][]byte, len(calls))
	for i, k := range calls {
		reqs[i] = k.appendRequest(nil)
		c.begin(k, c.blocking()+i)
	}
	c.enter()
	err := client.SendBatch(ctx, reqs, func(i int, reply []byte, err error) { calls[i].complete(reply, err) })
	c.exit()
	for i, k := range calls {
		k.lose("SendBatch returned before it completed")
		scribble(reqs[i])
	}
	return err
}

// giveUp loses the calls that began before limit and abandons the caller if it
// is stuck in the client.
func (c *caller) giveUp(limit int64) {
	for i := range c.pending {
		if k := c.pending[i].Load(); k != nil && k.began < limit {
			k.lose("did not complete in time")
		}
	}
	if entered := c.entered.Load(); entered != 0 && entered < limit {
		c.leave()
	}
}

// rubbish is no header and no body.
var rubbish = bytes.Repeat([]byte{0xDB}, 64<<10)

// scribble overwrites b.
func scribble(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, rubbish):]
	}
}
