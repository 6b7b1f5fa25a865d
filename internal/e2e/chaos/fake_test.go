package chaos

import (
	"context"
	"errors"
	"sync"

	"github.com/ringwire/ringwire/engine"
)

// errFake is what fakes fail with when they fail on purpose.
var errFake = errors.New("fake: failed on purpose")

type fault int

const (
	none         fault = iota
	swapReply          // exchange replies with an earlier call
	emptyReply         // the reply of an empty request
	flipBit            // damage the reply
	cutReply           // shorten it
	longReply          // a whole reply of another size
	changeLater        // change the reply after it was returned
	damageReq          // the server sees other bytes than were sent
	hang               // never complete; a method that blocks never returns
	hangInGo           // Go itself never returns
	twice              // complete twice
	execTwice          // the server sees the request twice
	failExecuted       // fail although the server saw the request
	failAndCall        // Go fails and calls back all the same
	fail               // fail, and the server never saw it
	spoilDst           // SendInto overwrites what was in dst
)

// A fake is a client without a network: it calls the harness's server side. It
// keeps all promises, except in the call that broken returns a fault for.
type fake struct {
	h      *Harness
	broken func(n int) fault // n counts the requests from 1; nil: always honest
	forget chan struct{}     // closed when calls that hang may return
	wg     sync.WaitGroup    // callbacks

	mu       sync.Mutex // guards what follows
	n        int
	held     []byte // a reply kept to be swapped
	returned []byte // a reply to be changed at the next exchange
	apis     [4]int // how often each method was called
}

func newFake(h *Harness, broken func(n int) fault) *fake {
	return &fake{h: h, broken: broken, forget: make(chan struct{})}
}

// stop lets hanging calls return and waits for the callbacks.
func (f *fake) stop() {
	close(f.forget)
	f.wg.Wait()
}

func (f *fake) begin(a api) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apis[a]++
	f.n++
	if f.broken == nil {
		return none
	}
	return f.broken(f.n)
}

// exchange is the way to the server and back.
func (f *fake) exchange(ctx context.Context, what fault, req []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if what == fail {
		return nil, errFake
	}
	req = append([]byte(nil), req...)
	if what == damageReq && len(req) > 0 {
		req[len(req)/2] ^= 1
	}
	reply, err := f.h.Answer([]byte{}, req)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	scribble(f.returned)
	f.returned = nil
	switch what {
	case execTwice:
		_, _ = f.h.Answer(nil, req)
	case failExecuted:
		return nil, errFake
	case emptyReply:
		reply = reply[:0]
	case flipBit:
		if len(reply) > 0 {
			reply[len(reply)-1] ^= 0x10
		}
	case cutReply:
		reply = reply[:len(reply)/2]
	case longReply:
		if id, err := parsePayload(req, requestMagic); err == nil {
			reply = appendPayload(nil, replyMagic, id, int(id.want)+1)
		}
	case swapReply:
		reply, f.held = f.held, reply
	case changeLater:
		f.returned = reply
	}
	return reply, nil
}

func (f *fake) Send(ctx context.Context, req []byte, _ ...engine.Call) ([]byte, error) {
	what := f.begin(apiSend)
	if what == hang {
		<-f.forget
		return nil, errFake
	}
	return f.exchange(ctx, what, req)
}

func (f *fake) SendInto(ctx context.Context, dst, req []byte, _ ...engine.Call) ([]byte, error) {
	what := f.begin(apiInto)
	if what == hang {
		<-f.forget
		return dst, errFake
	}
	reply, err := f.exchange(ctx, what, req)
	if what == spoilDst {
		return append(dst[:0], reply...), err
	}
	return append(dst, reply...), err
}

func (f *fake) Go(
	ctx context.Context, req []byte, fn func([]byte, error), _ ...engine.Call,
) error {
	what := f.begin(apiGo)
	if what == hangInGo {
		<-f.forget
		return errFake
	}
	reply, err := f.exchange(ctx, what, req)
	switch what {
	case hang:
		return nil
	case failAndCall:
		fn(reply, err)
		return errFake
	}
	f.wg.Go(func() {
		defer func() { _ = recover() }() // as a client does
		fn(reply, err)
		if what == twice {
			fn(reply, err)
		}
	})
	return nil
}

// inline is a fake that calls back before Go returns.
type inline struct {
	*fake
	lent []byte // to the callback that runs
}

func (f *inline) Go(ctx context.Context, req []byte, fn func([]byte, error), _ ...engine.Call) error {
	reply, err := f.exchange(ctx, f.begin(apiGo), req)
	outer := f.lent
	f.lent = reply
	fn(reply, err) // may call Go again
	f.lent = outer
	return nil
}

func (f *fake) SendBatch(
	ctx context.Context, reqs [][]byte, fn func(int, []byte, error), _ ...engine.Call,
) (first error) {
	for i, req := range reqs {
		what := f.begin(apiBatch)
		if what == hang {
			continue
		}
		reply, err := f.exchange(ctx, what, req)
		fn(i, reply, err)
		if what == twice {
			fn(i, reply, err)
		}
		if first == nil {
			first = err
		}
	}
	return first
}
