package backends

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// The classes of errors. What is safe to repeat is a call that is idempotent, and any of which
// nothing was written.
const (
	safeFailed    = "safe to repeat"
	writtenFailed = "written, not idempotent"
	wrongReply    = "wrong reply"
)

// openMax bounds the calls that are under way: more than one connection of a server that hangs
// holds, and less than a broker's queues do, so that a machine that stops for seconds does not look
// like an overload.
const openMax = 12_000

// drive makes calls at a rate until ctx ends, whatever becomes of those before, and waits for the
// last.
func drive(ctx context.Context, rate int, call func(n int, due time.Time)) (made int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	open := make(chan struct{}, openMax)
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return made
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); made < due; made++ {
			n, at := made, began.Add(time.Duration(float64(made)/float64(rate)*float64(time.Second)))
			open <- struct{}{} // a call ends by its own limits
			wg.Go(func() {
				defer func() { <-open }()
				call(n, at)
			})
		}
	}
}

// brokerCalls returns a call of a broker's that is noted in r. Every second one is idempotent.
func brokerCalls(b *engine.Broker, f *fleet, r *record) func(n int, due time.Time) {
	return func(n int, due time.Time) {
		var req [requestSize]byte
		_, _ = rand.Read(req[:16])
		idempotent := n%2 == 0
		reply, err := b.Send(context.Background(), req[:], engine.Call{Idempotent: idempotent})
		o := outcome{due: due, server: f.of(reply), err: err}
		switch {
		case err != nil:
			o.class = classOf(err, idempotent)
		case o.server < 0 || string(reply) != string(req[:len(reply)]):
			o.class = wrongReply
		}
		r.note(o)
	}
}

func classOf(err error, idempotent bool) string {
	var op *engine.OpError
	if idempotent || !errors.As(err, &op) || !op.Written {
		return safeFailed
	}
	return writtenFailed
}

// sleep waits, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
