package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/role"
)

const (
	// closeMax bounds Close. It is more than the five seconds that crypto/tls gives
	// a peer to take the closing alert, for which a dialer may be waiting.
	closeMax = 6 * time.Second
	// shortest is the least pause between two turns of the manager.
	shortest = time.Millisecond
)

// Pool is one end of a set of connections: a client's, made by NewClientPool, or a
// server's, made by NewServerPool. All methods work for both and are safe for any
// number of goroutines.
type Pool struct {
	minCapacity, maxCapacity int
	idleTimeout, keepAlive   time.Duration
	handshakeTimeout         time.Duration
	tls                      *tls.Config // nil for none; never changed

	client *client // one of the two is nil
	server *server

	// ctx ends when the pool closes.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines of the pool but the closer's
	ended  chan struct{}  // closed when they have ended after Close
	wake   chan struct{}  // asks the manager for a turn; room for one
	closer closer         // closes what the pool throws away

	// mu guards what follows. Nothing that can wait runs under it.
	mu       sync.Mutex
	closed   bool
	shelf    shelf
	bringing int           // places given to dials, or handshakes, that are under way
	capacity int           // the most connections, in minCapacity to maxCapacity
	interval time.Duration // between two turns without demand
	isReady  chan struct{} // closed when the pool gets ready; nil while nobody waits
	last     error         // why there was no connection; nil after a success

	// sweepAt is when the manager, which alone uses it, looks at ready connections.
	sweepAt time.Time

	count  counters
	errors atomic.Uint64
	lines  limiter
	log    *slog.Logger
}

func newPool(minCapacity, maxCapacity int, interval time.Duration, log *slog.Logger) *Pool {
	p := &Pool{
		minCapacity: minCapacity, maxCapacity: maxCapacity,
		ended:    make(chan struct{}),
		wake:     make(chan struct{}, 1),
		shelf:    newShelf(),
		interval: interval,
		log:      log,
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// manage is the manager's goroutine. It alone evicts, looks at ready connections,
// and decides to dial.
func (p *Pool) manage() {
	role.Set("paired manager")
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		}
		timer.Reset(max(time.Until(p.turn(time.Now())), shortest))
	}
}

// turn does what is due and returns when the next turn is.
func (p *Pool) turn(now time.Time) time.Time {
	if !now.Before(p.sweepAt) {
		p.sweep()
		p.sweepAt = now.Add(p.Interval())
	}
	next := p.sweepAt
	if at, ok := p.evict(now); ok && at.Before(next) {
		next = at
	}
	if p.client != nil {
		if at := p.dialTurn(now); at.Before(next) {
			next = at
		}
	}
	return next
}

// sweep looks at each ready connection and throws away those that have died.
func (p *Pool) sweep() {
	p.mu.Lock()
	all := make([]*entry, 0, p.shelf.idle.Len())
	for e := p.shelf.idle.Back(); e != nil; e = e.place.Prev() {
		all = append(all, e)
	}
	p.mu.Unlock()
	for _, e := range all {
		p.check(e)
	}
}

// check looks at one connection if it still is ready. Meanwhile nobody can take it,
// but it keeps its place.
func (p *Pool) check(e *entry) {
	p.mu.Lock()
	if e.state != ready {
		p.mu.Unlock()
		return
	}
	e.state = checking
	p.mu.Unlock()

	var err error
	if !e.partial {
		err = lookAtReady(e, sweepWait)
	}

	p.mu.Lock()
	switch {
	case e.state != checking:
		err = nil // cleaned away: somebody else closes it
	case err == nil:
		p.shelf.checked(e)
	default:
		p.shelf.drop(e)
	}
	p.mu.Unlock()
	if err != nil {
		p.died(e, err)
	}
}

// died throws away a connection that was found dead while it was ready, and that
// the caller has dropped.
func (p *Pool) died(e *entry, err error) {
	p.count.died.Add(1)
	p.event("connection died while ready", e, slog.Any("cause", err))
	p.closer.add(e.nc)
}

// evict throws away the connections that nobody took for too long, and returns when the
// next one's time comes, if there is one. A client that has more than it needs
// keeps one less for each.
func (p *Pool) evict(now time.Time) (next time.Time, ok bool) {
	if p.idleTimeout < 0 {
		return next, false
	}
	var old []*entry
	p.mu.Lock()
	for e := p.shelf.idle.Back(); e != nil; e = p.shelf.idle.Back() {
		if next = e.since.Add(p.idleTimeout); next.After(now) {
			ok = true
			break
		}
		p.shelf.drop(e)
		old = append(old, e)
		if p.client != nil && p.capacity > p.minCapacity {
			p.capacity--
		}
	}
	p.mu.Unlock()
	for _, e := range old {
		p.event("idle connection closed", e)
	}
	p.count.evicted.Add(uint64(len(old)))
	p.closeAll(old)
	return next, ok
}

// joinLocked makes a connection ready under its ID, or hands it to a waiter. The
// place it takes was counted in bringing. When it fails, the caller closes nc.
func (p *Pool) joinLocked(id connID, nc net.Conn, now time.Time) (*entry, error) {
	p.bringing--
	if p.closed {
		return nil, ErrClosed
	}
	if p.shelf.open[id] != nil {
		p.count.collisions.Add(1)
		return nil, fmt.Errorf("the ID %v is in use already", id)
	}
	e := &entry{id: id, nc: nc}
	p.shelf.open[id] = e
	p.shelf.put(e, now)
	p.last = nil
	p.count.opened.Add(1)
	if p.isReady != nil && len(p.shelf.open) >= p.minCapacity {
		close(p.isReady)
		p.isReady = nil
	}
	return e, nil
}

// discard takes a connection out of the pool and has it closed, without waiting.
func (p *Pool) discard(e *entry) {
	p.mu.Lock()
	mine := p.shelf.drop(e)
	p.mu.Unlock()
	if mine { // else the goroutine that dropped it has it closed
		p.event("connection closed", e)
		p.closer.add(e.nc)
	}
}

// end takes a connection out of the pool and closes it for its owner, who may have
// to wait for the peer.
func (p *Pool) end(e *entry) error {
	p.mu.Lock()
	p.shelf.drop(e)
	p.mu.Unlock()
	p.event("connection closed", e)
	return e.nc.Close()
}

// shortLocked reports whether a client should dial soon: somebody waits, or fewer
// than a fifth of the capacity are ready.
func (p *Pool) shortLocked() bool {
	return p.client != nil && (p.shelf.anyone.Len() > 0 || 5*p.shelf.idle.Len() < p.capacity)
}

// nudge asks the manager for a turn.
func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // it has been asked already
	}
}

// Clean takes the connections that are ready out of the pool, and returns how many
// they were. They are closed without the caller's waiting for it. Those that are
// taken go on. A client dials new ones.
func (p *Pool) Clean() int {
	return p.closeSome(func(e *entry) bool { return e.state == ready || e.state == checking })
}

// Flush takes all connections out of the pool, and returns how many they were. They
// are closed without the caller's waiting for it: their owners soon meet errors, and
// cannot put them back. A client dials new ones.
func (p *Pool) Flush() int {
	return p.closeSome(func(*entry) bool { return true })
}

func (p *Pool) closeSome(which func(*entry) bool) int {
	p.mu.Lock()
	dropped := p.shelf.dropAll(which)
	p.mu.Unlock()
	p.count.cleaned.Add(uint64(len(dropped)))
	p.closeAll(dropped)
	p.nudge()
	return len(dropped)
}

// Close closes the pool: the listener, all connections, those that are taken
// included, and what is under way. Callers that wait get ErrClosed. It may be called
// again and takes at most six seconds: it returns an error when a Dial that ignores
// its context, or a Close of a connection, takes longer. What that Dial returns later
// is closed.
func (p *Pool) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	dropped := p.shelf.dropAll(func(*entry) bool { return true })
	p.mu.Unlock()
	if first {
		p.cancel()
		if p.server != nil {
			p.wg.Go(func() { p.server.listener.Close() }) // a user's may wait
		}
		go func() {
			p.wg.Wait()
			close(p.ended)
		}()
	}
	p.count.cleaned.Add(uint64(len(dropped)))
	timer := time.NewTimer(closeMax)
	defer timer.Stop()
	p.closeAll(dropped)
	select {
	case <-p.ended:
	case <-timer.C:
		return errors.New("paired: close: a Dial or Accept goes on although it was told to end; make it heed its context")
	}
	select { // only now: the goroutines that have ended may have thrown something away
	case <-p.closer.quiet():
		return nil
	case <-timer.C:
		return errors.New("paired: close: the Close of a connection has not returned; make it end, whatever the peer does")
	}
}

// ClientManager waits until the pool is closed. The pool manages itself: there is
// no need to call it. It is for code that runs its parts as `go pool.ClientManager()`
// or in a group, and may be called any number of times, on either end.
func (p *Pool) ClientManager() { <-p.ctx.Done() }

// ServerManager is ClientManager by its other name.
func (p *Pool) ServerManager() { <-p.ctx.Done() }

// closeAll has connections closed that the caller has dropped, without waiting.
func (p *Pool) closeAll(dropped []*entry) {
	all := make([]net.Conn, len(dropped))
	for i, e := range dropped {
		all[i] = e.nc
	}
	p.closer.add(all...)
}
