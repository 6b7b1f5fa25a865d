package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/internal/pace"
)

const (
	// drainTimeout bounds the wait for what is in flight when a slice ends.
	drainTimeout = 40 * time.Second
	// errorPause keeps a caller whose requests fail at once from spinning.
	errorPause = time.Millisecond
	// samplesPerSlice is how many latencies a slice takes at most. At some 60 ns
	// for two clock readings that is about 1 ms of a slice.
	samplesPerSlice = 20_000
	// usualPatience is that of a load.
	usualPatience = time.Second
)

// load drives one client with one API. Its callers, their buffers and their
// request numbers last over several runs.
type load struct {
	client  Client
	api     API
	callers []*caller
	pids    []int   // the servers' processes
	rate    float64 // requests begun per second; 0: as replies come
	ticks   float64 // requests begun per second by a timer; 0: it has none
	reply   []byte  // to every request; nil: its own bytes
	// patience is for how long a request of a fixed rate may be due before it is not
	// sent. It bounds what a system that cannot keep up has to do after the slice.
	patience time.Duration

	// Of one run.
	every   uint32      // one request in so many is timed; a power of two
	pacer   *pace.Pacer // nil without a rate
	stop    atomic.Bool
	gate    chan struct{} // closed when all callers may start
	ready   sync.WaitGroup
	done    sync.WaitGroup
	failure atomic.Pointer[error] // the first wrong, doubled or lost reply
}

// caller sends one request at a time. Its fields belong to the goroutine
// that runs it, or to the callback of its only request in flight, and to
// load.run before the gate opens and after all are done.
type caller struct {
	client Client // the load's, or one of its own
	req    []byte
	dst    []byte
	number uint32 // of the next request; never repeats, so a late reply is a wrong one

	requests  uint64
	errors    uint64
	firstErr  error
	latencies []int64 // nanoseconds; capacity is the bound
	lags      []int64 // of the requests that latencies are of; with a rate only

	_ [64]byte // callers on different processors share no cache line
}

// measurement is what one run gave.
type measurement struct {
	requests, errors uint64
	firstErr         error // of a failed request
	elapsed          time.Duration
	cpu              time.Duration // of client and server, without the pacer; 0 when unknown
	mallocs          uint64        // of the client
	stolen           float64       // part of the machine's time that its host took; negative: unknown
	latencies        []int64       // nanoseconds
	p50, p99         int64         // of the latencies, in nanoseconds
	lags             []int64       // nanoseconds; none without a rate
	unsent           int64
}

func (m *measurement) perSecond() float64 {
	return float64(m.requests) / m.elapsed.Seconds()
}

// cpuPerSecond is in nanoseconds; 0 when unknown.
func (m *measurement) cpuPerSecond() float64 {
	return float64(m.cpu) / m.elapsed.Seconds()
}

// secondsPerCPU is its inverse; 0 when unknown.
func (m *measurement) secondsPerCPU() float64 {
	if m.cpu <= 0 {
		return 0
	}
	return m.elapsed.Seconds() / float64(m.cpu)
}

// newLoad has 0 for the process where the target has no server.
func newLoad(client Client, api API, callers, payloadBytes int, pids ...int) *load {
	pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == 0 })
	l := &load{client: client, api: api, pids: pids, patience: usualPatience,
		callers: make([]*caller, callers)}
	each, many := client.(callersClient)
	for i := range l.callers {
		l.callers[i] = &caller{
			client: client,
			req:    newRequest(payloadBytes, uint32(i)),
			dst:    make([]byte, 0, payloadBytes),
		}
		if many {
			l.callers[i].client = each.Caller(i)
		}
	}
	return l
}

// run sends for d, waits for what is in flight, and counts what was completed
// until then, divided by the time until then. The clock readings, the counting
// of allocations and the adding up all lie outside. An error means that the
// client broke its promise or that ctx ended; failed requests are counted.
func (l *load) run(ctx context.Context, d time.Duration, every uint32) (*measurement, error) {
	l.prepare(every)
	if err := l.launch(); err != nil {
		return nil, err
	}
	drained := make(chan struct{})
	go func() { l.done.Wait(); close(drained) }()
	l.ready.Wait()

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	stolen := watchStolen()
	cpu := l.cpuTime()
	start := time.Now()
	l.begin()
	sleep(ctx, d)
	l.end()
	if !waitFor(drained, drainTimeout) {
		return nil, fmt.Errorf("requests without a reply or an error %v after the last was sent", drainTimeout)
	}
	m := &measurement{elapsed: time.Since(start)}
	m.cpu = l.cpuTime() - cpu
	if l.pacer != nil && m.cpu > 0 {
		m.cpu = max(0, m.cpu-l.pacer.Cost())
	}
	m.stolen = stolen(m.elapsed)
	runtime.ReadMemStats(&after)
	m.mallocs = after.Mallocs - before.Mallocs

	if failure := l.failure.Load(); failure != nil {
		return nil, *failure
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.collect(m)
	return m, nil
}

func (l *load) prepare(every uint32) {
	l.every = every
	l.stop.Store(false)
	l.gate = make(chan struct{})
	for _, c := range l.callers {
		c.requests, c.errors, c.firstErr = 0, 0, nil
		c.latencies = make([]int64, 0, 2*samplesPerSlice/len(l.callers)+1)
		if l.rate > 0 {
			c.lags = make([]int64, 0, cap(c.latencies))
		}
	}
	if l.rate > 0 {
		l.pacer = pace.New(l.rate, l.patience)
	}
}

// begin lets the callers send.
func (l *load) begin() {
	if l.pacer != nil {
		l.pacer.Start()
	}
	close(l.gate)
}

// end lets them send no more than what is due.
func (l *load) end() {
	l.stop.Store(true)
	if l.pacer != nil {
		l.pacer.End()
	}
}

func (l *load) launch() error {
	switch l.api {
	case Idle:
		return nil
	case Blocking:
		switch {
		case l.ticks > 0:
			l.launchTicking()
		case l.rate > 0:
			l.launchPaced()
		default:
			l.launchBlocking()
		}
		return nil
	case Callback:
		if client, ok := l.client.(callbackClient); ok {
			l.launchCallback(client)
			return nil
		}
	case Batch:
		if client, ok := l.client.(batchClient); ok {
			l.launchBatch(client)
			return nil
		}
	}
	return fmt.Errorf("bench: the client has no %s api", l.api)
}

func (l *load) collect(m *measurement) {
	for _, c := range l.callers {
		m.requests += c.requests
		m.errors += c.errors
		m.firstErr = firstError(m.firstErr, c.firstErr)
		m.latencies = append(m.latencies, c.latencies...)
		m.lags = append(m.lags, c.lags...)
	}
	if l.pacer != nil {
		m.unsent = l.pacer.Unsent()
	}
}

// cpuTime is what client and servers have used; 0 where that cannot be known.
func (l *load) cpuTime() time.Duration {
	sum, err := proc.CPUTime(0)
	if err != nil || len(l.pids) == 0 {
		return 0
	}
	for _, pid := range l.pids {
		server, err := proc.CPUTime(pid)
		if err != nil {
			return 0
		}
		sum += server
	}
	return sum
}

// watchStolen returns what tells the part of the machine's time since then that its
// host took, negative where that cannot be known.
func watchStolen() func(elapsed time.Duration) float64 {
	before, err := proc.Stolen()
	return func(elapsed time.Duration) float64 {
		after, errAfter := proc.Stolen()
		if err != nil || errAfter != nil || elapsed <= 0 {
			return -1
		}
		return float64(after-before) / float64(elapsed) / float64(runtime.NumCPU())
	}
}

// fail ends the run with the first broken promise.
func (l *load) fail(err error) {
	l.failure.CompareAndSwap(nil, &err)
	l.end()
}

// timed reports whether the caller's next request is one of those whose latency
// is taken. The callers' turns are spread, because their requests travel
// together.
func (l *load) timed(c *caller, i int) bool {
	return (c.number+uint32(i))&(l.every-1) == 0
}

// failed counts a request that failed, or ends the run when its reply was a wrong one.
func (l *load) failed(c *caller, err error) {
	if errors.Is(err, ErrWrongReply) {
		l.fail(err)
		return
	}
	c.failed(err)
}

func (c *caller) failed(err error) {
	c.errors++
	c.firstErr = firstError(c.firstErr, err)
}

// took keeps the time since start while there is room.
func (c *caller) took(start time.Time) {
	if len(c.latencies) < cap(c.latencies) {
		c.latencies = append(c.latencies, int64(time.Since(start)))
	}
}

var errDoubled = errors.New("a callback ran twice for one request")

// check counts the reply to c's request, or ends the run when it is a wrong one.
func (l *load) check(c *caller, reply []byte) {
	if l.right(c, reply) {
		c.requests++
	}
}

// right reports whether the reply to c's request is its echo, or the target's reply. It
// ends the run where it is not.
func (l *load) right(c *caller, reply []byte) bool {
	switch {
	case l.reply == nil && !bytes.Equal(reply, c.req):
		l.fail(mismatch(c.req, reply))
	case l.reply != nil && !bytes.Equal(reply, l.reply):
		l.fail(fmt.Errorf("wrong reply: %d bytes that are not the stored %d", len(reply), len(l.reply)))
	default:
		return true
	}
	return false
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// waitFor reports whether c was closed within d.
func waitFor(c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}
