package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/liveness"
)

// lock tries spins times, yields times over, before it sleeps.
const (
	spins  = 32
	yields = 32
)

// Item is what a pool can hold: something to be closed, told apart by ==.
type Item interface {
	comparable
	Close() error
}

// Of lends out items of one kind. Most pools are of connections: see Pool. Make it
// with New or NewOf. All methods are safe for any number of goroutines.
//
// The lock is held for bookkeeping only: no dial, no system call on a connection,
// no function of the user's and no channel operation that can block happens under
// it. It is the only lock.
//
// What holds whenever the lock is free:
//
//   - places = idle.Len() + lent + len(opening) + overdue + leaving <= MaxConns
//   - opened = closed + idle.Len() + lent
//   - nobody waits while an entry is idle, other than those being examined
//   - an entry is in items until its item is closed, and until its owner returned it
type Of[T Item] struct {
	cfg     Config
	src     Source[T]
	backoff backoff.Policy
	start   time.Time

	ctx    context.Context // ends at Close: dials, pings and the manager with it
	cancel context.CancelFunc
	kick   chan struct{} // wakes the manager early

	waiterPool sync.Pool     // of *waiter[T]
	errorCount atomic.Uint64 // since ResetError

	// items finds the entry of an item, as *entry[T], the first of those with equal
	// items. It is changed under the lock and read without, so that hashing does not
	// lengthen the time under the lock; what was read counts once the lock is held.
	items sync.Map

	// What each Get and Put touches under the lock, on lines of its own.
	_       cacheline.Pad
	mu      sync.Mutex
	idle    idleList[T]
	waiters waitQueue[T]
	// clock is the manager's last reading of the time since start; it lags by up to
	// a tick. Reading the time for every Put would double its cost.
	clock    time.Duration
	lent     int           // owned by callers, those that Get or Put is peeking at included
	gets     uint64        // that got an item
	returned chan struct{} // closed when nothing is lent out; nil if nobody waits
	closed   bool
	_        cacheline.Pad

	capacity int
	places   int
	opening  []*attempt // dials that somebody may wait for, the one begun first at [0]
	overdue  int        // dials that outlived their timeout
	leaving  int        // being closed, place not yet free
	pinging  []*entry[T]

	watch     *time.Timer // for the first of opening to be overdue
	watching  bool        // it runs
	dialling  dialState
	nextTurn  time.Duration
	interval  time.Duration
	nextPass  time.Duration
	passing   bool
	wantReady int           // calls of WaitReady
	ready     chan struct{} // closed when the pool becomes ready; nil if nobody waits
	running   int           // goroutines of the pool
	quiet     chan struct{} // closed when none runs; nil if nobody waits
	stats     Stats         // the other counters
}

// state says which party owns an entry's item.
type state uint8

const (
	idle     state = iota // the pool; in the idle list
	checking              // a background examination; in the idle list
	lent                  // a caller
	flushed               // a caller, but it is closed and has no place any more
	gone                  // nobody: it is being closed, or is
)

// entry is one item and its place. What each Get and Put changes is in its first 64
// bytes; the rest, which Put reads, fills it up to 128, so that it begins on a cache
// line.
type entry[T Item] struct {
	item   T
	peeker *liveness.Peeker // nil: cannot or must not be peeked at; its owner's

	// Guarded by the pool's lock.
	state     state
	returning bool                // its owner's Put is peeking at it
	place     list.Node[entry[T]] // in the idle list
	since     time.Duration       // when it became idle; on the pool's clock

	expires  time.Duration // end of its life; 0: none; never changed
	twin     *entry[T]     // another entry with an equal item
	round    uint64        // counts examinations
	validate func() bool   // the item's own examination, or nil; never changed
	_        [4]uint64
}

// NewOf makes a pool of what src opens. See Config for the fields that it does not
// take. It is usable at once. Close it.
func NewOf[T Item](src Source[T], cfg Config) (*Of[T], error) {
	if src.Open == nil {
		return nil, errors.New("pool: Source.Open is nil; it has to make the items")
	}
	if err := cfg.validateItems(); err != nil {
		return nil, err
	}
	return newOf(src, cfg.withDefaults())
}

// newOf takes a Config that has its defaults.
func newOf[T Item](src Source[T], cfg Config) (*Of[T], error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Validation == ValidatePing && src.Ping == nil {
		return nil, errors.New("pool: ValidatePing needs a Ping")
	}
	p := &Of[T]{
		cfg:      cfg,
		src:      src,
		backoff:  backoff.Policy{Min: cfg.BackoffBase, Max: cfg.BackoffMax},
		start:    time.Now(),
		kick:     make(chan struct{}, 1),
		capacity: cfg.MinCapacity,
		interval: cfg.MinInterval,
		nextTurn: cfg.MinInterval,
		nextPass: jittered(cfg.ValidationInterval),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.waiterPool.New = func() any { return newWaiter[T]() }
	p.mu.Lock()
	p.fillLocked()
	p.spawnLocked(p.manage)
	p.mu.Unlock()
	return p, nil
}

// now is the time since the pool was made: monotonic, and 8 bytes.
func (p *Of[T]) now() time.Duration { return time.Since(p.start) }

// newEntry prepares an item that was just opened.
func (p *Of[T]) newEntry(item T) *entry[T] {
	e := &entry[T]{item: item, state: lent}
	if v, ok := any(item).(interface{ Validate() bool }); ok {
		e.validate = v.Validate
	} else if nc, ok := any(item).(net.Conn); ok && p.cfg.Validation != ValidateNone {
		e.peeker = liveness.NewPeeker(nc)
	}
	if p.cfg.MaxLifetime > 0 {
		e.expires = p.now() + jittered(p.cfg.MaxLifetime)
	}
	return e
}

// jittered returns d less up to 10 %, at random.
func jittered(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}

// spawnLocked starts a goroutine that Close waits for.
func (p *Of[T]) spawnLocked(f func()) {
	p.running++
	go func() {
		f()
		p.exited()
	}()
}

// exited ends what running counts.
func (p *Of[T]) exited() {
	p.lock()
	p.running--
	if p.running == 0 && p.quiet != nil {
		close(p.quiet)
		p.quiet = nil
	}
	p.mu.Unlock()
}

// lock is p.mu.Lock for the paths that matter. The lock is held for some ten
// nanoseconds. sync.Mutex would put the goroutine to sleep whenever its processor
// has another one to run, and, once one has slept a millisecond, hand the lock
// from sleeper to sleeper: each costs a hundred times as much as the wait.
func (p *Of[T]) lock() {
	for range yields {
		for range spins {
			if p.mu.TryLock() {
				return
			}
		}
		runtime.Gosched() // its holder may be waiting for this processor
	}
	p.mu.Lock()
}

// wakeManager has the manager look again, now.
func (p *Of[T]) wakeManager() {
	select {
	case p.kick <- struct{}{}:
	default: // it has not seen the last wake yet
	}
}

func (p *Of[T]) fail(op string, err error) error {
	return &Error{Op: op, Addr: p.cfg.Addr, Err: err}
}
