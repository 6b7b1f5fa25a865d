package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// API is a way of sending requests.
type API string

const (
	// Send and SendInto are one goroutine per caller, each waiting for its reply.
	Send     API = "send"
	SendInto API = "sendinto"
	// Go keeps one request per caller in flight: a reply's callback sends the next.
	Go API = "go"
	// Batch is one goroutine that sends one request per caller with SendBatch.
	Batch API = "batch"
)

// PayloadBytesMin is the smallest payload: it names its caller and its turn.
const PayloadBytesMin = 8

// connectTimeout bounds the wait for a client's first connection.
const connectTimeout = 10 * time.Second

// Connect returns a broker with conns connections to addr, the first of them up.
// Its bounds are the defaults, or twice the callers if that is more, and adjust may
// change anything. The caller must Close it.
func Connect(addr string, callers, conns int, adjust ...func(*engine.Config)) (*engine.Broker, error) {
	cfg := engine.Config{
		Addrs:        []string{addr},
		ConnsPerAddr: conns,
		QueueSize:    max(engine.DefaultQueueSize, 2*callers),
		MaxInFlight:  max(engine.DefaultMaxInFlight, 2*callers),
	}
	for _, a := range adjust {
		a(&cfg)
	}
	broker, err := engine.New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	if err := broker.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	return broker, nil
}

// Load sends requests through one broker and checks every reply. It is used by
// one goroutine at a time, for any number of runs. After the first it does not
// allocate, but for the replies of Send.
type Load struct {
	broker  *engine.Broker
	api     API
	callers []*caller
	batch   *batch // of the API Batch, else nil

	left    atomic.Int64 // requests of this run that nobody has taken on
	open    sync.WaitGroup
	failure atomic.Pointer[error] // the first; ends the run
}

// caller sends one request at a time. It belongs to the goroutine that runs it: its own,
// or that of the callback of its only request in flight.
type caller struct {
	load   *Load
	req    []byte
	dst    []byte
	number uint32 // of the next request, so that a late reply is a wrong one

	// Bound once, so that neither a run nor a request allocates a closure.
	run func()                        // loop
	fn  func(reply []byte, err error) // answered

	_ [64]byte // callers on different processors share no cache line
}

// New returns a load of callers over a connected broker. payloadBytes is the
// size of each request, at least PayloadBytesMin, and of each reply.
func New(broker *engine.Broker, api API, callers, payloadBytes int) *Load {
	l := &Load{broker: broker, api: api, callers: make([]*caller, callers)}
	for i := range l.callers {
		c := &caller{load: l, req: make([]byte, payloadBytes), dst: make([]byte, 0, payloadBytes)}
		binary.BigEndian.PutUint32(c.req, uint32(i))
		for at := PayloadBytesMin; at < payloadBytes; at++ {
			c.req[at] = byte(31*i + at)
		}
		c.run, c.fn = c.loop, c.answered
		l.callers[i] = c
	}
	if api == Batch {
		l.batch = newBatch(l)
	}
	return l
}

// Run sends so many requests, shared among the callers, and returns when each
// has been answered, or with the first failure: a request that failed or whose
// reply was not its echo.
func (l *Load) Run(requests int) error {
	l.left.Store(int64(requests))
	l.failure.Store(nil)
	switch l.api {
	case Send, SendInto:
		l.open.Add(len(l.callers))
		for _, c := range l.callers {
			go c.run()
		}
	case Go:
		l.open.Add(len(l.callers))
		for _, c := range l.callers {
			c.next()
		}
	case Batch:
		for n := l.batch.take(); n > 0; n = l.batch.take() {
			l.batch.send(n)
		}
	default:
		return fmt.Errorf("load: api %q: must be send, sendinto, go or batch", l.api)
	}
	l.open.Wait()
	if failure := l.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// fail ends the run.
func (l *Load) fail(err error) { l.failure.CompareAndSwap(nil, &err) }

// more reports whether there is another request to send, which is the caller's
// then.
func (l *Load) more() bool { return l.left.Add(-1) >= 0 && l.failure.Load() == nil }

// renew makes the caller's request one that was never sent before.
func (c *caller) renew() {
	c.number++
	binary.BigEndian.PutUint32(c.req[4:], c.number)
}

// check ends the run unless reply is the echo of the caller's request.
func (c *caller) check(reply []byte, err error) {
	if err != nil {
		c.load.fail(err)
	} else if !bytes.Equal(reply, c.req) {
		c.load.fail(fmt.Errorf("load: caller %d: the reply to request %d, of %d bytes, is not its echo",
			binary.BigEndian.Uint32(c.req), c.number, len(c.req)))
	}
}

// loop is a blocking caller.
func (c *caller) loop() {
	defer c.load.open.Done()
	ctx := context.Background()
	for c.load.more() {
		c.renew()
		if c.load.api == Send {
			c.check(c.load.broker.Send(ctx, c.req))
		} else {
			c.check(c.load.broker.SendInto(ctx, c.dst, c.req))
		}
	}
}

// next sends a caller's next request, which its callback follows, or ends its part.
func (c *caller) next() {
	if !c.load.more() {
		c.load.open.Done()
		return
	}
	c.renew()
	if err := c.load.broker.Go(context.Background(), c.req, c.fn); err != nil {
		c.load.fail(err)
		c.load.open.Done()
	}
}

func (c *caller) answered(reply []byte, err error) {
	c.check(reply, err)
	c.next()
}
