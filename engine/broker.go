package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/budget"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/ring"
)

// brokerState says what a broker takes. It only grows.
type brokerState uint32

const (
	running brokerState = iota
	draining
	closed
)

// Broker sends requests to servers and matches the replies. All methods are safe for
// concurrent use. Create it with New, end it with Shutdown or Close.
type Broker struct {
	cfg        Config
	format     framing.Format
	extended   bool // Config.Extensions
	header     int  // bytes in front of a payload
	maxPayload int
	pooled     bool // memory is kept from call to call
	silent     bool // nobody reads the log

	judges    *health.Group
	judged    atomic.Bool               // a judge has changed its mind since the clock's last Advance
	choice    *balance.Balancer[*route] // its set is replaced together with the routes
	byLoad    bool                      // it goes by the requests in flight
	pollers   int32                     // how many goroutines of the process may poll at once
	clock     *clock
	timeouts  timeouts
	stopwatch *stopwatch.Stopwatch // of calls; nil: none is timed
	born      time.Time

	routes atomic.Pointer[routes]
	list   atomic.Pointer[[]*address]
	live   atomic.Pointer[[]*conn] // every connection that is not gone; replaced, not changed

	state  atomic.Uint32 // a brokerState
	ctx    context.Context
	stop   context.CancelFunc // ends ctx, with the broker; bounds dials and pauses
	wg     sync.WaitGroup     // every goroutine of the broker
	ending sync.Once
	ended  chan struct{} // closed when the broker is closed and none of them runs

	backlog   backlog
	callbacks callbacks
	contexts  sharedContexts
	records   events // for the logger
	hooks     events // for OnConnect and OnDisconnect

	untried   atomic.Int32 // addresses of which no dial has ended since they were last idle
	awaited   atomic.Int32 // callers of WaitReady
	downSince atomic.Int64 // uptime when the last connection was lost; 0: none was

	// They hold *waiter, *batch, *kept and *timedCallback. The first two are the broker's own
	// because both hold a channel, and one made inside a synctest bubble must not be met outside
	// it.
	waiters, batches, keeping, timed sync.Pool

	_       cacheline.Pad
	retries atomic.Uint64
	// retriesDenied counts calls that were not repeated because of the budget.
	retriesDenied atomic.Uint64
	queueFull     *ring.Counter // many goroutines may be refused at once
	ends          ends          // of requests that waited in the backlog

	mu      sync.Mutex // guards what follows, changes of routes and live; nothing is called under it
	past    Stats      // counters of connections and addresses that are gone
	leaving []*address // removed, and not gone
	polling []*poller
	linked  int // links that have been given a poller

	budget   *budget.Budget
	budgeted uint64 // requests answered that are in the budget
	changed  chan struct{}

	changing sync.Mutex // held while a server is added or removed, before mu
}

// New returns a broker and starts to connect in the background: it does not wait for a
// server, and calls made meanwhile wait. It fails only when cfg makes no sense.
func New(cfg Config) (*Broker, error) {
	silent := cfg.Logger == nil
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	clock := newClock(&cfg)
	b := &Broker{
		cfg:        cfg,
		format:     cfg.Framing,
		header:     cfg.Framing.HeaderSize(),
		maxPayload: cfg.maxPayload(),
		pooled:     cfg.OptimizeMemory != Off,
		silent:     silent,
		byLoad:     cfg.Balance == balance.LeastConn || cfg.Balance == balance.TwoChoices,
		pollers:    busypoll.Limit(),
		clock:      clock,
		timeouts:   newTimeouts(&cfg, clock),
		stopwatch:  stopwatch.New(cfg.LatencyEvery),
		born:       time.Now(),
		changed:    make(chan struct{}),
		ended:      make(chan struct{}),
		budget:     budget.NewUpTo(cfg.MaxInFlight),
		queueFull:  ring.NewCounter(),
	}
	if cfg.Extensions {
		b.extended = true
		b.header += framing.RemainingSize
	}
	b.live.Store(&[]*conn{})
	b.routes.Store(new(routes))
	b.waiters.New, b.batches.New = b.newTimedWaiter, newBatch
	b.backlog.init(b)
	b.callbacks.init(b)
	b.ctx, b.stop = context.WithCancel(context.Background())
	if err := b.makeServers(); err != nil {
		b.closePools()
		return nil, err
	}
	b.wg.Add(1)
	go b.keepTime()
	for _, a := range b.servers() {
		b.startLinks(a)
	}
	return b, nil
}

// makeServers makes what chooses and judges, and the addresses.
func (b *Broker) makeServers() (err error) {
	b.list.Store(new([]*address))
	if b.judges, err = newJudges(&b.cfg, b.rejudge); err != nil {
		return fmt.Errorf("engine: Config: %w", err)
	}
	if b.choice, err = balance.New[*route](b.cfg.Balance); err != nil {
		return fmt.Errorf("engine: Config.Balance: %w", err)
	}
	for _, name := range b.cfg.Addrs {
		a, err := b.newAddress(name, 1)
		if err != nil {
			return fmt.Errorf("engine: Config.Addrs: %w", err)
		}
		list := append(slices.Clone(b.servers()), a)
		b.list.Store(&list)
	}
	b.untried.Store(int32(len(b.servers())))
	return nil
}

// notify wakes the goroutines that wait for a connection to come up or for the broker's end.
func (b *Broker) notify() {
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// conns returns every connection that is not gone.
func (b *Broker) conns() []*conn { return *b.live.Load() }

// adopt puts a connection on the list that the clock and Stats go over.
func (b *Broker) adopt(c *conn) {
	b.mu.Lock()
	live := append(slices.Clone(b.conns()), c)
	b.live.Store(&live)
	b.mu.Unlock()
}

// forget takes a connection that is gone off the list and keeps its counts.
func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	live := slices.DeleteFunc(slices.Clone(b.conns()), func(o *conn) bool { return o == c })
	b.live.Store(&live)
	c.addEndedTo(&b.past)
	c.addEndedTo(&c.link.addr.past)
	c.forgotten = true
	b.mu.Unlock()
}

// countLate counts what was dispatched on a connection that may be forgotten by now.
func (b *Broker) countLate(c *conn, n tally) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !c.forgotten {
		c.in.got.add(n)
		return
	}
	n.addTo(&b.past)
	n.addTo(&c.link.addr.past)
}

// stateError returns why the broker takes no requests, or nil.
func (b *Broker) stateError() error {
	switch brokerState(b.state.Load()) {
	case running:
		return nil
	case draining:
		return &OpError{Op: "submit", Err: ErrClosingBroker}
	default:
		return &OpError{Op: "submit", Err: ErrQuit}
	}
}

// downError tells why there is no connection.
func (b *Broker) downError() error {
	if err := b.stateError(); err != nil {
		return err
	}
	for _, a := range b.servers() {
		if last := a.lastErr.Load(); last != nil {
			return &OpError{Op: "dial", Addr: a.name, Err: joinErrors(ErrNoHealthyServer, last.Err)}
		}
	}
	return &OpError{Op: "dial", Err: ErrNoHealthyServer}
}

// withTimeout is context.WithTimeout for a duration that may mean none.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
