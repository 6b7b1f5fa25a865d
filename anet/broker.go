package anet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
)

// Broker sends requests over the connections of its pools and matches the replies.
// Its methods are safe for concurrent use. A nil request is an empty one; requests
// are copied before the call that takes them returns, and a reply belongs to
// the caller that receives it.
//
// Requests fail with ErrMaxLenExceeded, ErrQueueFull, ErrNoPoolsAvailable,
// ErrClosingBroker, ErrTimeout, the error of their context, the error of a pool or
// of its factory, or, wrapped in an *engine.OpError, that of their connection.
type Broker interface {
	// Send sends a request and waits for its reply.
	Send(req *[]byte) ([]byte, error)
	// SendContext is Send until ctx ends. A nil ctx never ends.
	SendContext(ctx context.Context, req *[]byte) ([]byte, error)
	// SendAsync sends a request and returns at once. If it returns no error, one
	// Response comes out of the channel, whose capacity is 1: a caller that does not receive
	// it leaves nothing behind.
	SendAsync(req *[]byte) (<-chan Response, error)
	// SendAsyncContext is SendAsync whose Response is the error of ctx when that
	// ends first. A nil ctx never ends.
	SendAsyncContext(ctx context.Context, req *[]byte) (<-chan Response, error)
	// Start begins to work. With workers it blocks until Close and returns ErrQuit,
	// without it returns nil at once; after Close it returns ErrQuit. A broker with
	// neither workers nor need for them works without it.
	Start() error
	// Close fails every open request with ErrClosingBroker, gives the connections
	// back to their pools and waits for that, CloseTimeout at most. The pools remain
	// open. It may be called more than once.
	Close()
}

// attemptsMin is how often a request is tried, at least, while it is certain that
// no byte of it was sent. With more pools it is once for each.
const attemptsMin = 3

// broker is the Broker.
//
// A request goes: take (a place among those that may be open), route (a line: one
// connection of one pool), the line's engine, settle.
type broker struct {
	sources   []*source
	workers   int
	multiplex bool // Multiplex, or nobody to start: work at once
	logger    Logger
	config    BrokerConfig // with defaults
	attempts  int

	turn  atomic.Uint64 // moves from pool to pool
	taken atomic.Int64  // requests open; not counted with multiplex

	startOnce sync.Once
	started   chan struct{} // closed when pools may be asked for connections
	closeOnce sync.Once
	closing   atomic.Bool
	closed    chan struct{} // closed when Close begins

	wg sync.WaitGroup // lines that end; Add under the source's mutex, before closing
}

// NewBroker returns a broker over pools, which it asks in turn; one that has no
// connection to give is passed over. workers bounds the connections of each pool,
// beside the pool's capacity. A nil logger drops everything, a nil config has the
// defaults. The pools remain the caller's to close.
func NewBroker(p []Pool, n int, l Logger, config *BrokerConfig) Broker {
	if l == nil {
		l = &NoopLogger{}
	}
	b := &broker{
		workers:  n,
		logger:   l,
		config:   config.withDefaults(),
		attempts: max(len(p), attemptsMin),
		started:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
	b.multiplex = b.config.Multiplex || n <= 0
	if b.multiplex {
		b.begin()
	}
	for i, pool := range p {
		b.sources = append(b.sources, newSource(b, i, pool))
	}
	return b
}

func (b *broker) begin() { b.startOnce.Do(func() { close(b.started) }) }

func (b *broker) hasBegun() bool {
	select {
	case <-b.started:
		return true
	default:
		return false
	}
}

// Start implements Broker.
func (b *broker) Start() error {
	if b.closing.Load() {
		b.logger.Warnf("Broker already closing; Start does nothing")
		return ErrQuit
	}
	b.begin()
	b.logger.Infof("Broker starting with %d workers...", b.workers)
	if b.workers <= 0 {
		return nil
	}
	<-b.closed
	b.logger.Infof("Broker stopped gracefully.")
	return ErrQuit
}

// Send implements Broker.
func (b *broker) Send(req *[]byte) ([]byte, error) { return b.SendContext(context.Background(), req) }

// SendContext implements Broker.
func (b *broker) SendContext(ctx context.Context, req *[]byte) ([]byte, error) {
	ctx, payload, err := b.take(ctx, req)
	if err != nil {
		return nil, err
	}
	defer b.settle()
	for attempt := 1; ; attempt++ {
		l, err := b.route()
		if err != nil {
			return nil, b.outcome(ctx, err)
		}
		reply, err := l.send(ctx, payload)
		if err == nil {
			return reply, nil
		}
		if attempt >= b.attempts || !b.again(ctx, err) {
			return nil, b.outcome(ctx, err)
		}
	}
}

// SendAsync implements Broker.
func (b *broker) SendAsync(req *[]byte) (<-chan Response, error) {
	return b.SendAsyncContext(context.Background(), req)
}

// SendAsyncContext implements Broker.
func (b *broker) SendAsyncContext(ctx context.Context, req *[]byte) (<-chan Response, error) {
	ctx, payload, err := b.take(ctx, req)
	if err != nil {
		return nil, err
	}
	r := &asyncRequest{b: b, ctx: ctx, response: make(chan Response, 1)}
	if err := r.send(payload); err != nil {
		b.settle()
		return nil, b.outcome(ctx, err)
	}
	return r.response, nil
}

// take checks a request and finds a place for it; settle gives the place back.
func (b *broker) take(ctx context.Context, req *[]byte) (context.Context, []byte, error) {
	if b.closing.Load() {
		return nil, nil, ErrClosingBroker
	}
	var payload []byte
	if req != nil {
		payload = *req
	}
	if len(payload) > framing.MaxPayload {
		return nil, nil, ErrMaxLenExceeded
	}
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if b.multiplex {
		return ctx, payload, nil
	}
	limit := b.config.QueueSize
	if b.hasBegun() {
		limit += b.workers
	}
	if b.taken.Add(1) > int64(limit) {
		b.taken.Add(-1)
		return nil, nil, ErrQueueFull
	}
	return ctx, payload, nil
}

func (b *broker) settle() {
	if !b.multiplex {
		b.taken.Add(-1)
	}
}

// route returns a line with a place reserved on it, of the pool whose turn it is or
// of one after it.
func (b *broker) route() (*line, error) {
	if len(b.sources) == 0 {
		return nil, ErrNoPoolsAvailable
	}
	var err error
	turn := b.turn.Add(1)
	for i := range uint64(len(b.sources)) {
		var l *line
		if l, err = b.sources[(turn+i)%uint64(len(b.sources))].pick(); err == nil {
			return l, nil
		}
	}
	return nil, err
}

// again reports whether a request may be tried once more: nobody has seen it, and
// the next line may fare better.
func (b *broker) again(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !b.closing.Load() && engine.SafeToRetry(err)
}

// Close implements Broker.
func (b *broker) Close() {
	b.closeOnce.Do(b.shut)
}

func (b *broker) shut() {
	b.closing.Store(true)
	close(b.closed)
	for _, s := range b.sources {
		s.close()
	}
	ended := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(ended)
	}()
	if b.config.CloseTimeout < 0 {
		<-ended
		return
	}
	timer := time.NewTimer(b.config.CloseTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		b.logger.Warnf("broker close: connections still being given back after %v", b.config.CloseTimeout)
	}
}
