package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/pace"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

const (
	// batchMax is how many requests that are due are framed before they are written.
	batchMax = 64
	// tick is how often somebody looks whether the run is over, and tickPerConn how much
	// less often for each connection that has to be asked.
	tick        = 2 * time.Millisecond
	tickPerConn = 2 * time.Microsecond
	// unreachableFor ends a closed loop without a duration that has no connection.
	unreachableFor = 10 * time.Second
	// earlyDrain bounds the drain of a run that ends before its time.
	earlyDrain = time.Second
)

// state of a run; it only grows.
type state = int32

const (
	connecting state = iota
	sending
	drainingState
	stoppedState
)

// run is one run.
type run struct {
	cfg     Config
	ordered bool
	ctx     context.Context // ends with the run: dials, pauses
	cancel  context.CancelFunc
	state   atomic.Int32
	links   []*link
	shards  []*shard
	phases  int
	dials   dialTurns
	conns   conns
	// openings counts the connections that have begun with Config.Open.
	openings atomic.Uint64
	beats    atomic.Uint64 // heartbeats sent
	// visitors are connections that the backend made, for links that have none.
	visitors chan net.Conn
	ended    sync.WaitGroup // links, writers, the clock
	broke    atomic.Pointer[string]
	dump     *dump // nil: failures are not written down
	samples  samples

	base time.Time    // when the run was made
	zero atomic.Int64 // when the first request was due, since base; the clock's zero

	// Of the open loop.
	backlog *backlog // nil: the loop is closed
	free    atomic.Int64
	pacer   *pace.Pacer
	paced   chan struct{} // closed when the pacer has no more
	stages  *schedule.Phases
	turn    int // the link that is asked first; the pacer's
	dirty   []*session
	unsent  []atomic.Uint64 // by phase: the backlog was full
	dropped []uint64        // by phase: in the backlog of a run that ended before its time, else nil

	// Of the closed loop.
	taken atomic.Int64
	limit int64
}

// Run makes a run and returns what it gave. Its error is that of Validate; everything that
// happens to connections and requests is in the Result. When ctx ends, the run does, and
// the Result is marked so.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newRun(cfg).result(ctx), nil
}

// result makes the run, which can be made once.
func (r *run) result(ctx context.Context) *Result {
	defer r.cancel()
	cfg := &r.cfg
	if cfg.Dump != nil {
		r.dump = newDump(cfg.Dump, cfg.Codec)
	}
	res := &Result{Open: cfg.Schedule != nil, InFlight: cfg.InFlight, Warmup: cfg.Warmup}
	if cfg.Listener != nil {
		res.Targets = []string{"listening on " + cfg.Listener.Addr().String()}
	}
	for _, t := range cfg.Targets {
		res.Targets = append(res.Targets, t.String())
	}
	unwatch := func() {}
	if r.connect(ctx) && r.waitForStart(ctx) {
		use := watchUse()
		res.Started = time.Now()
		r.restart()
		unwatch = r.watch()
		r.send(ctx)
		res.Elapsed = r.now()
		res.Interrupted = ctx.Err() != nil
		r.drain(res.Interrupted || r.broke.Load() != nil)
		res.Generator = use()
	}
	res.Interrupted = ctx.Err() != nil
	r.stop()
	unwatch()
	if r.dump != nil {
		res.DumpError = r.dump.end()
	}
	r.collect(res)
	return res
}

func newRun(cfg Config) *run {
	r := &run{cfg: cfg, phases: 2, base: time.Now(), paced: make(chan struct{}), visitors: make(chan net.Conn), limit: math.MaxInt64}
	spec := cfg.Codec.Spec()
	r.ordered = spec.Ordered()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.conns.errors = make(map[string]uint64)
	if cfg.ConnectRate > 0 {
		r.dials.every = time.Duration(float64(time.Second) / cfg.ConnectRate)
	}
	if cfg.Requests > 0 {
		r.limit = cfg.Requests
	}
	if n := cfg.Mix.Count(); n > 0 && n < uint64(r.limit) {
		r.limit = int64(n)
	}
	if cfg.Schedule != nil {
		r.phases = 1 + len(cfg.Schedule.Stages)
		r.openLoop()
	}
	for range min(shardsMax, runtime.GOMAXPROCS(0)) {
		s := newShard(r.phases, cfg.Mix)
		s.interval = newInterval(&cfg)
		r.shards = append(r.shards, s)
	}
	for i, target := range cfg.targetOf() {
		r.links = append(r.links, &link{run: r, target: target, shard: r.shards[i%len(r.shards)]})
	}
	return r
}

func (r *run) openLoop() {
	s := *r.cfg.Schedule
	if r.limit < math.MaxInt64 && (s.N == 0 || r.limit < s.N) {
		s.N = r.limit // a source that ends
	}
	r.pacer = pace.NewSchedule(schedule.New(s), r.cfg.Timeout)
	r.stages = schedule.NewPhases(s)
	r.backlog = newBacklog(r.cfg.Backlog)
	r.unsent = make([]atomic.Uint64, r.phases)
}

// now is the run's clock.
func (r *run) now() time.Duration { return time.Since(r.base) - time.Duration(r.zero.Load()) }

func (r *run) stopped() bool  { return r.state.Load() == stoppedState }
func (r *run) draining() bool { return r.state.Load() >= drainingState }

// pause waits for d, false if the run is over.
func (r *run) pause(d time.Duration) bool { return wait(r.ctx, d) }

// wait waits for d, false if ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// failed ends a run that is to end with the first failure.
func (r *run) failed(what string) {
	if r.cfg.FailFast && !r.draining() {
		r.broke.CompareAndSwap(nil, &what)
	}
}

// connect dials all connections and returns when each has been tried, false if none is up
// or the run is to end.
func (r *run) connect(ctx context.Context) bool {
	var tried sync.WaitGroup
	tried.Add(len(r.links))
	r.ended.Add(len(r.links))
	for _, l := range r.links {
		go l.keepUp(tried.Done)
	}
	r.ended.Go(r.clock)
	if r.cfg.Listener != nil {
		r.ended.Go(r.accept)
	}
	all := make(chan struct{})
	go func() { tried.Wait(); close(all) }()
	select {
	case <-all:
	case <-ctx.Done():
	}
	return ctx.Err() == nil && r.broke.Load() == nil && r.up() > 0
}

// up is how many connections there are.
func (r *run) up() (n int) {
	for _, l := range r.links {
		if l.current.Load() != nil {
			n++
		}
	}
	return n
}

func (r *run) waitForStart(ctx context.Context) bool {
	return r.cfg.StartAt.IsZero() || wait(ctx, time.Until(r.cfg.StartAt))
}

// send has requests sent until there are no more or ctx ends.
func (r *run) send(ctx context.Context) {
	if r.backlog != nil {
		go func() { defer close(r.paced); r.pace() }()
		defer func() { r.pacer.End(); <-r.paced }()
	}
	r.each((*session).start)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	lastUp := time.Now()
	for !r.sentAll() && r.broke.Load() == nil {
		if r.up() > 0 {
			lastUp = time.Now()
		}
		if r.backlog == nil && r.cfg.Duration == 0 && time.Since(lastUp) > unreachableFor {
			why := fmt.Sprintf("no connection for %v", unreachableFor)
			r.broke.CompareAndSwap(nil, &why)
		}
		select {
		case <-ticker.C:
		case <-r.paced:
		case <-ctx.Done():
			return
		}
	}
}

// restart makes now the time from which requests are due. Nothing was sent before.
func (r *run) restart() {
	start := time.Now()
	r.zero.Store(int64(start.Sub(r.base)))
	if r.pacer != nil {
		r.pacer.StartAt(start)
	}
	r.state.Store(sending)
}

func (r *run) sentAll() bool {
	if r.backlog != nil {
		select {
		case <-r.paced:
			return true
		default:
			return false
		}
	}
	return r.taken.Load() >= r.limit || r.cfg.Duration > 0 && r.now() >= r.cfg.Duration
}

// each calls f for every connection that is up.
func (r *run) each(f func(*session)) {
	for _, l := range r.links {
		if s := l.current.Load(); s != nil {
			f(s)
		}
	}
}

// clock gives up what waits for too long, has heartbeats sent, and samples what is in flight.
func (r *run) clock() {
	every := min(max(r.cfg.Timeout/64, time.Millisecond), 50*time.Millisecond)
	for r.pause(irregular(every)) {
		now, open := r.now(), 0
		r.each(func(s *session) { open += s.expire(now) })
		r.sample(open, now)
	}
}

// drain waits for what is in flight, and for late replies. A run that ends before its time
// sends no more meanwhile.
func (r *run) drain(early bool) {
	r.state.CompareAndSwap(sending, drainingState)
	bound := r.cfg.Drain
	if early {
		bound = min(bound, earlyDrain)
		if r.backlog != nil {
			r.dropped = r.backlog.clear(r.phases)
		}
	}
	deadline := time.Now().Add(bound)
	every := tick + time.Duration(len(r.links))*tickPerConn
	for time.Now().Before(deadline) && r.waiting() > 0 && r.pause(every) {
	}
}

// waiting is how many requests have no reply or wait for a connection.
func (r *run) waiting() (n int) {
	if r.backlog != nil {
		n = int(r.backlog.len.Load())
	}
	r.each(func(s *session) {
		all, _ := s.waiting()
		n += all
	})
	return n
}

// stop ends all goroutines.
func (r *run) stop() {
	r.state.Store(stoppedState)
	r.cancel()
	if r.cfg.Listener != nil {
		_ = r.cfg.Listener.Close()
	}
	r.each(func(s *session) { _ = s.conn.Close() })
	r.ended.Wait()
}

// lengthCause is cause for errors of framing, which name bytes of the peer's.
func lengthCause(err error) string {
	var length *wire.LengthError
	if errors.As(err, &length) {
		return "a length field that makes no frame"
	}
	return err.Error()
}
