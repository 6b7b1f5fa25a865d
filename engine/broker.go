package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/ring"
)

// A broker's states, in the order it goes through them.
const (
	running uint32 = iota
	draining
	closed
)

// Broker sends requests to servers and matches the replies. All methods are safe
// for concurrent use. Create it with New, end it with Shutdown or Close.
type Broker struct {
	cfg     Config
	format  framing.Format
	pooled  bool
	pools   []*pool.Pool // one for each address; they make the connections
	links   []*link
	pollers int32          // how many goroutines of the process may poll at once
	relax   backoff.Policy // the pause after a connection was lost
	clock   *clock

	requestTicks uint32 // RequestTimeout in ticks; 0: none
	readTicks    uint32
	writeTicks   uint32

	state atomic.Uint32
	ctx   context.Context // ends with the broker; bounds dials and pauses
	stop  context.CancelFunc
	wg    sync.WaitGroup // every goroutine of the broker

	// batches holds *batch. It is the broker's own because a batch holds a channel,
	// and a channel made inside a synctest bubble must not be met outside it.
	batches sync.Pool

	_    cacheline.Pad
	turn atomic.Uint64 // round robin; moved by every call when there are several links
	_    cacheline.Pad

	retries   atomic.Uint64
	queueFull *ring.Counter // many goroutines may be refused at once

	mu      sync.Mutex // guards what follows; nothing is called under it
	live    []*conn    // every connection that may hold requests; replaced, never changed
	past    totals     // counters of connections that are gone
	changed chan struct{}
}

// New returns a broker and starts to connect in the background: it does not
// wait for a server, and calls made meanwhile wait in the connection's queue.
// It fails only when cfg makes no sense.
func New(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		cfg:     cfg,
		format:  cfg.Framing,
		pollers: busypoll.Limit(),
		pooled:  cfg.OptimizeMemory != Off,
		changed: make(chan struct{}),

		queueFull: ring.NewCounter(),
	}
	b.batches.New = newBatch
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.clock = newClock(&cfg)
	b.requestTicks = b.clock.ticks(cfg.RequestTimeout)
	b.readTicks = b.clock.ticks(cfg.ReadTimeout)
	b.writeTicks = b.clock.ticks(cfg.WriteTimeout)

	b.relax = backoff.Policy{Min: cfg.BackoffBase, Max: cfg.BackoffMax}
	for _, addr := range cfg.Addrs {
		conns, err := newPool(&b.cfg, addr)
		if err != nil {
			b.closePools()
			return nil, fmt.Errorf("engine: %s: %w", addr, err)
		}
		b.pools = append(b.pools, conns)
		for range cfg.ConnsPerAddr {
			b.links = append(b.links, newLink(b, addr, conns))
		}
	}
	b.wg.Add(1 + len(b.links))
	go b.sweep()
	for _, l := range b.links {
		go l.run()
	}
	return b, nil
}

// WaitReady waits until at least one connection is up. It fails when ctx ends,
// with the last error of dialling, or when the broker is closed.
func (b *Broker) WaitReady(ctx context.Context) error {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if err := b.stateError(); err != nil {
			return err
		}
		for _, l := range b.links {
			if c := l.current.Load(); c != nil && c.up.Load() {
				return nil
			}
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
		case <-ctx.Done():
			if down := b.downError(); down != nil {
				return &OpError{Op: "dial", Err: joinErrors(contextError(ctx), down)}
			}
			return &OpError{Op: "dial", Err: contextError(ctx)}
		}
	}
}

// notify wakes who waits for a connection to come up or for the broker's end.
func (b *Broker) notify() {
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// adopt puts a connection on the list that the sweeper and Stats go over.
func (b *Broker) adopt(c *conn) {
	b.mu.Lock()
	b.live = append(b.live[:len(b.live):len(b.live)], c)
	b.mu.Unlock()
}

// forget takes finished connections off the list and keeps their counts.
func (b *Broker) forget(gone func(*conn) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.live, gone) {
		return
	}
	kept := make([]*conn, 0, len(b.live))
	for _, c := range b.live {
		if gone(c) {
			b.past.add(c)
		} else {
			kept = append(kept, c)
		}
	}
	b.live = kept
}

func (b *Broker) conns() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.live
}

// stateError returns why the broker takes no requests, or nil.
func (b *Broker) stateError() error {
	switch b.state.Load() {
	case running:
		return nil
	case draining:
		return &OpError{Op: "submit", Err: ErrClosingBroker}
	default:
		return &OpError{Op: "submit", Err: ErrQuit}
	}
}

// withTimeout is context.WithTimeout for a duration that may mean none.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
