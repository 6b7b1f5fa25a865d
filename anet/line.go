package anet

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/liveness"
)

const (
	// gone is set in a line's load when it takes no more requests.
	gone = int64(1) << 62
	// restAfter is how long a connection may have nothing to do before it goes back
	// to its pool, where it is looked after, and where others may have it. It takes
	// up to twice as long.
	restAfter = 500 * time.Millisecond
	// redial bounds the pause in which an engine takes requests for a second
	// connection, which it will not get.
	redial = time.Millisecond
	// staleMost is how many connections of a pool may be found dead in a row.
	staleMost = 8
)

// line is one connection of a pool, from before the pool is asked for it until it
// goes back, with an engine of its own. It is used for one connection only.
type line struct {
	source *source
	engine *engine.Broker

	load    atomic.Int64 // requests on it; or'ed with gone
	dialled atomic.Bool
	loan    atomic.Pointer[loan] // nil until the pool has given the connection
	rest    *time.Timer

	// What tells whether the connection is as clean as it came: everything that was
	// asked has been answered, and nothing else has been read.
	replyBytes atomic.Uint64
	soiled     atomic.Bool
}

// newLine is called under the source's mutex; it does not ask the pool.
func newLine(s *source) (*line, error) {
	l := &line{source: s}
	cfg := s.b.engineConfig()
	cfg.Addrs = []string{s.addr}
	cfg.BackoffBase, cfg.BackoffMax = redial, redial
	cfg.DialContext = l.dial
	var err error
	if l.engine, err = engine.New(cfg); err != nil {
		return nil, err
	}
	l.watch()
	return l, nil
}

// reserve takes a place on the line; done gives it back.
func (l *line) reserve() bool {
	for {
		n := l.load.Load()
		if n&gone != 0 {
			return false
		}
		if l.load.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leaveList makes the line take no more requests. It reports whether it did before,
// and, if asked for, had none.
func (l *line) leaveList(onlyIdle bool) bool {
	if onlyIdle {
		return l.load.CompareAndSwap(0, gone)
	}
	return l.load.Or(gone)&gone == 0
}

func (l *line) up() bool { return l.loan.Load() != nil }

// send makes a request in the reserved place and waits.
func (l *line) send(ctx context.Context, req []byte) ([]byte, error) {
	reply, err := l.engine.Send(ctx, req)
	l.done(len(reply), err)
	return reply, l.explain(err)
}

// explain replaces the error of a request that came to the line when it was ending
// because the pool had no connection: that is the reason.
func (l *line) explain(err error) error {
	if err == nil || l.source.b.closing.Load() || !lineEnded(err) {
		return err
	}
	return &engine.OpError{Op: "dial", Addr: l.source.addr, Err: l.source.failure()}
}

// done gives a place back.
func (l *line) done(replyLength int, err error) {
	if err == nil {
		l.replyBytes.Add(uint64(framing.HeaderSize + replyLength))
	} else if !engine.SafeToRetry(err) && !lineEnded(err) {
		l.soiled.Store(true)
	}
	l.load.Add(-1)
}

// dial gets the connection for the line's engine: from the pool, once the broker
// has begun to work. The engine asks a second time when it has lost the connection,
// or wants another because too many requests were given up: the line's end.
func (l *line) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if l.dialled.Swap(true) {
		l.source.retire(l, false)
		return nil, errEnded
	}
	select {
	case <-l.source.b.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	nc, err := l.borrow(ctx)
	if err == nil {
		l.source.succeeded()
		return nc, nil
	}
	if ctx.Err() == nil {
		l.source.failed(err)
		l.source.retire(l, false)
	}
	return nil, err
}

// borrow takes a connection out of the pool. One that has died there is released.
func (l *line) borrow(ctx context.Context) (net.Conn, error) {
	pool := l.source.pool
	for tries := 0; ; tries++ {
		item, err := pool.GetWithContext(ctx)
		if err != nil {
			return nil, err
		}
		nc, ok := item.(net.Conn)
		if !ok || item == nil {
			if item != nil {
				pool.Release(item)
			}
			return nil, fmt.Errorf("anet: the pool gave a %T; a broker needs a net.Conn", item)
		}
		// Deadlines of the factory or of an earlier user are not meant for us.
		if err = nc.SetDeadline(time.Time{}); err == nil {
			err = liveness.Peek(nc)
		}
		if err == nil {
			loan := &loan{Conn: nc, line: l, item: item}
			l.loan.Store(loan)
			return loan, nil
		}
		pool.Release(item)
		if tries == staleMost {
			return nil, fmt.Errorf("anet: the pool gave %d dead connections in a row: %w", tries+1, err)
		}
	}
}

// watch gives the connection back to the pool when it is not used.
func (l *line) watch() {
	var before uint64
	// The timer is set before it can fire: look reads l.rest.
	l.rest = time.AfterFunc(time.Hour, func() {
		now := l.replyBytes.Load()
		if now == before && l.source.retire(l, true) {
			return
		}
		before = now
		if l.load.Load()&gone == 0 {
			l.rest.Reset(restAfter)
		}
	})
	l.rest.Reset(restAfter)
}

// end stops the engine and gives the connection back. The line takes no requests any
// more; one that has none has a connection that may be used again.
func (l *line) end(stop func() error) {
	defer l.source.b.wg.Done()
	l.rest.Stop()
	loan := l.loan.Load()
	if loan != nil && l.load.Load() == gone && !l.soiled.Load() {
		loan.kept.Store(true)
	}
	err := stop()
	if loan = l.loan.Load(); loan != nil {
		loan.giveBack(err == nil)
	}
}
