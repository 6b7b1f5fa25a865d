package chaos

import (
	"context"
	"errors"
	"sync/atomic"
)

// The states of a call. The goroutine that moves it from open decides what it was.
const (
	open uint32 = iota
	done
	lost
)

// A call is one request on its way. Records are never reused, so that a second
// completion always meets the first.
type call struct {
	shape
	caller *caller
	place  int // in caller.pending
	began  int64
	state  atomic.Uint32
	cancel context.CancelFunc
	links  int // calls of Go from callbacks before this one
}

// maxLinks bounds how long callbacks go on sending the next request themselves.
const maxLinks = 8

func (k *call) appendRequest(dst []byte) []byte {
	if k.blank {
		return dst
	}
	return appendPayload(dst, requestMagic, k.id, k.size)
}

// called is the callback of Go. It ends with Config.Callback: whatever that does, the
// reply stays as it is until it has returned.
func (k *call) called(reply []byte, err error) {
	h := k.caller.h
	if !k.goOn(reply, err) || h.cfg.Callback == nil {
		return
	}
	right := err == nil && k.matches(reply)
	h.cfg.Callback(k.id.nonce)
	if right && !k.matches(reply) {
		h.tally.violation(&h.tally.corrupt, "reply changed while its callback ran: %v", k.id)
	}
}

// goOn decides the call. One time in four it sends the next request itself, from the
// goroutine of the client it runs on. It reports whether the call was open.
func (k *call) goOn(reply []byte, err error) bool {
	c := k.caller
	chain := k.id.nonce>>60 < 4 && k.links < maxLinks && err == nil && !c.gone.Load() && c.h.more(1)
	if !k.resolve(reply, err) {
		if chain {
			c.h.started.Add(-1)
		}
		return false
	}
	if !chain {
		c.places <- k.place
		return true
	}
	next := c.next()
	next.links = k.links + 1
	ctx := c.context(next)
	c.begin(next, k.place)
	req := next.appendRequest(nil)
	if err := c.h.client.(Goer).Go(ctx, req, next.called); err != nil {
		next.complete(nil, err)
	}
	scribble(req)
	return true
}

// complete resolves a call and gives its place back.
func (k *call) complete(reply []byte, err error) bool {
	if !k.resolve(reply, err) {
		return false
	}
	k.giveBack()
	return true
}

// resolve decides a call by its outcome. It returns false, and counts a
// duplicate, when the call was decided before; a call that comes after it was
// given up for lost is no duplicate.
func (k *call) resolve(reply []byte, err error) bool {
	t := &k.caller.h.tally
	if !k.state.CompareAndSwap(open, done) {
		if k.state.Load() == done {
			t.violation(&t.duplicates, "completed twice: %v", k.id)
		}
		return false
	}
	k.cancel()
	if err == nil {
		t.ok.Add(1)
		k.check(reply)
		return true
	}
	t.cause(err)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		t.cancelled.Add(1)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		t.timeouts.Add(1)
	default:
		t.failed.Add(1)
	}
	if k.caller.h.cfg.Unwritten(err) {
		t.unwritten.Add(1)
		if !k.blank { // blank requests say nothing the server could note
			k.caller.h.unwritten[k.caller.index].set(k.id.seq)
		}
	}
	return true
}

// check holds a reply against the request.
func (k *call) check(reply []byte) {
	if k.matches(reply) {
		return
	}
	t := &k.caller.h.tally
	id, err := parsePayload(reply, replyMagic)
	switch {
	case len(reply) == 0:
		t.violation(&t.misdelivered, "misdelivered: %v got an empty reply", k.id)
	case err != nil:
		t.violation(&t.corrupt, "corrupt: %v got %d damaged bytes, wants %d", k.id, len(reply), k.id.want)
	case k.blank:
		t.violation(&t.misdelivered, "misdelivered: an empty request got the reply of %v", id)
	case id == k.id:
		t.violation(&t.corrupt, "corrupt: %v got %d bytes, wants %d", k.id, len(reply), k.id.want)
	default:
		t.violation(&t.misdelivered, "misdelivered: %v got the reply of %v", k.id, id)
	}
}

// matches reports whether reply is the reply.
func (k *call) matches(reply []byte) bool {
	if k.blank {
		return len(reply) == 0
	}
	id, err := parsePayload(reply, replyMagic)
	return err == nil && id == k.id && len(reply) == int(id.want)
}

// lose gives a call up unless it is decided.
func (k *call) lose(why string) {
	if !k.state.CompareAndSwap(open, lost) {
		return
	}
	k.cancel()
	t := &k.caller.h.tally
	t.violation(&t.lost, "lost: %v: %s", k.id, why)
	k.giveBack()
}

// giveBack frees the place of a decided call.
func (k *call) giveBack() {
	k.caller.pending[k.place].CompareAndSwap(k, nil)
	if k.place < k.caller.h.cfg.Window {
		k.caller.places <- k.place
	}
}
