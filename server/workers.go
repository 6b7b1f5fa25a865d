package server

import (
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
)

// runnerExpiry is how long an idle goroutine is kept for the next job.
const runnerExpiry = 10 * time.Second

// releaseTimeout bounds the end of the goroutine pool's own goroutines.
const releaseTimeout = time.Second

// workers run handlers on goroutines of their own, at most max at a time. A slot
// is free when the handler returns, whatever became of its connection: a client
// that comes, asks and goes cannot have more handlers running than one that stays.
type workers struct {
	srv      *Server
	max      int64
	queue    queue
	running  atomic.Int64  // runners that exist or are about to; at most max
	starting atomic.Bool   // one of them is about to take its first job, or to be made
	busy     atomic.Int64  // of those that run, inside a handler
	discard  atomic.Bool   // set when the server closes: run no more handlers
	idle     chan struct{} // after discard: the last runner may have gone
	pool     *ants.Pool    // lends the goroutines; its own bounds are not used
	runner   func()        // run, bound once: a method value allocates
}

func newWorkers(s *Server) (*workers, error) {
	pool, err := ants.NewPool(-1, ants.WithExpiryDuration(runnerExpiry), ants.WithLogger(loopLog{s.cfg.Logger}))
	if err != nil {
		return nil, err
	}
	w := &workers{srv: s, max: int64(s.cfg.Workers), idle: make(chan struct{}, 1), pool: pool}
	w.runner = w.run
	w.queue.bytes = bounded{&s.jobBytes, s.cfg.MaxHeld}
	return w, nil
}

// roomForRequest reports whether another request may leave the loop, and blocks the
// connection for this turn if not.
func (c *Conn) roomForRequest() bool {
	s := c.srv
	if s.workers == nil { // requests that are answered later
		switch {
		case int(c.inflight) >= s.cfg.MaxInFlight:
			c.block = blockFlight
		case s.jobBytes.Load() > s.cfg.MaxHeld:
			c.block = blockShared
		}
		return c.block == blockNone
	}
	if d := c.desk.Load(); d != nil && c.inflight > 0 && d.pending >= int64(s.cfg.MaxUnparsed/pauseShare) {
		c.block = blockFlight
		return false
	}
	if w := s.workers; w.full(1) && (c.inflight > 0 || w.full(2)) {
		c.block = blockShared
		return false
	}
	return true
}

// needDesk returns the connection's desk. The loop calls it.
func (c *Conn) needDesk() *desk {
	d := c.desk.Load()
	if d == nil {
		d = newDesk(c.srv.cfg.MaxInFlight)
		c.desk.Store(d)
	}
	return d
}

// dispatch queues a request for the workers.
func (c *Conn) dispatch(f framing.Frame) {
	s, d := c.srv, c.needDesk()
	r := requestPool.Get().(*Request)
	r.conn, r.desk, r.id, r.arrived, r.limit = c, d, f.ID, c.loop.at, c.loop.limit
	// Room for a reply as long as the request; append does the rest.
	r.buf = bytepool.Get(2*len(f.Payload) + s.format.HeaderSize())
	r.buf.B = append(r.buf.B, f.Payload...)
	r.reply, r.result = len(r.buf.B), resultDropped
	r.held = int64(cap(r.buf.B)) + requestBytes
	r.pending = r.held
	d.pending += r.pending
	s.jobBytes.Add(r.held)
	s.workers.submit(r)
	c.inflight++
	c.loop.frames++
	c.loop.event.Requests++
}

// full reports whether as much waits, or is held, as may be, so many times over. Those
// that have nothing waiting have something beyond the bound, up to twice of it: others
// that fill the queue do not keep them out.
func (w *workers) full(times int64) bool {
	s := w.srv
	return w.queue.n.Load()/times >= int64(s.cfg.QueueSize) || s.jobBytes.Load()/times > s.cfg.MaxHeld
}

// submit queues a request and sees to it that somebody takes it.
func (w *workers) submit(r *Request) {
	w.queue.put(r)
	w.more()
}

// more starts a runner for what is queued, unless one is being started, which will do so
// after its first look at the queue, or there are as many as may be. So handlers that
// return at once are run by one goroutine, and those that block by more and more.
// (The Go scheduler wakes its threads like this.)
func (w *workers) more() {
	for w.queue.ready.Load() > 0 && w.starting.CompareAndSwap(false, true) {
		if w.claim() {
			w.start()
			return
		}
		w.starting.Store(false) // and look again: somebody may have relied on us
		if w.running.Load() >= w.max {
			return
		}
	}
}

// claim takes a runner's slot if one is free.
func (w *workers) claim() bool {
	for {
		n := w.running.Load()
		if n >= w.max {
			return false
		}
		if w.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// start gives a claimed slot a goroutine.
func (w *workers) start() {
	if w.pool.Submit(w.runner) != nil {
		go w.runner() // the pool is released only after the last runner: not expected
	}
}

// run works until the queue is empty, then gives its slot back. A job queued just
// before that may have found all slots taken, so the queue is looked at again.
func (w *workers) run() {
	w.starting.Store(false) // before the look: what comes after it starts another one
	returned := false
	defer func() {
		if !returned {
			w.start() // a handler has ended this goroutine: another one has its slot
		}
	}()
	for {
		w.drainQueue()
		left := w.running.Add(-1)
		if w.queue.ready.Load() > 0 && w.claim() {
			continue
		}
		if left == 0 && w.discard.Load() {
			select {
			case w.idle <- struct{}{}:
			default:
			}
		}
		returned = true
		return
	}
}

func (w *workers) drainQueue() {
	for {
		r, more := w.queue.take(w.srv.now())
		if r == nil {
			return
		}
		if more {
			w.more()
		}
		w.do(r)
	}
}

// do answers one request and hands it back, whatever its handler does.
func (w *workers) do(r *Request) {
	s, c := w.srv, r.conn
	ours := true
	defer func() {
		if ours {
			s.deliver(r)
		}
	}()
	if w.discard.Load() || c.at() == phaseEnded {
		return
	}
	if why := s.stale(c, r.arrived, r.limit); why != nil {
		r.payload = r.buf.B[:r.reply:r.reply]
		w.settle(r, r.buf.B, why)
		return
	}
	w.handle(r, &ours)
}

// handle runs the handler of a request. It is not ours any more if its reply comes later,
// whatever ends this goroutine.
func (w *workers) handle(r *Request, ours *bool) {
	w.busy.Add(1)
	defer w.busy.Add(-1)
	r.payload = r.buf.B[:r.reply:r.reply]
	r.result = resultUnanswered // until it has another outcome
	c, responded, returned := r.conn, false, false
	defer func() {
		v := recover()
		if returned {
			return
		}
		if v == nil {
			v = ErrGoexit
		}
		w.srv.logPanic(c, v)
		if responded { // ErrorReply is not asked twice
			w.srv.failures.panics.Add(1)
			return
		}
		*ours = r.later == nil
		w.settle(r, r.buf.B[:r.reply], &PanicError{Value: v})
	}()
	r.began = w.srv.timing.Begin()
	out, err := w.srv.respond(r.buf.B, r)
	responded = true
	*ours = r.later == nil
	w.settle(r, out, err)
	returned = true
}

// settle notes what has become of a request whose handler is done.
func (w *workers) settle(r *Request, out []byte, err error) {
	switch {
	case r.later != nil:
		r.later.leave(r.payload, err)
	case err != nil:
		r.buf.B, r.result = w.srv.failure(r.conn, out, r.id, r.payload, err)
	default:
		r.buf.B, r.result = out, resultReplied
	}
}

// deliver hands a request back to its connection, which wakes once for all that are
// handed back before it looks.
func (s *Server) deliver(r *Request) {
	c, d := r.conn, r.desk
	if grown := int64(cap(r.buf.B)) + requestBytes - r.held; grown > 0 {
		r.held += grown
		s.jobBytes.Add(grown)
	}
	pushed := d.back.TryPush(r) // the request is the loop's now
	invariant.Check(pushed, "server: a request found no place on its desk")
	s.wake(c)
	// The end may have emptied the desk before the push. It sets ended first, so
	// then this is true.
	if c.at() == phaseEnded {
		c.reap(d)
	}
}

// collect takes the requests that were handed back and puts their replies behind the
// others, as far as the peer takes them.
func (c *Conn) collect() {
	if c.inflight == 0 {
		return
	}
	l, d, n := c.loop, c.desk.Load(), 0
	for c.inflight > 0 && c.roomForReplies() {
		r, ok := d.back.TryPop()
		if !ok {
			break
		}
		n++
		c.inflight--
		c.appendPushed() // what its handler pushed comes before its reply
		if r.result == resultReplied {
			l.out = append(l.out, r.buf.B[r.reply:]...)
		}
		l.event.count(r.result)
		d.pending -= r.pending
		c.srv.free(r)
	}
	if w := c.srv.workers; w != nil && (n > 0 || w.queue.mayGoOn(d)) && w.queue.collected(d, n) {
		w.more()
	}
}

// heldUp reports whether requests wait that a turn can do something for: the workers that are
// to take them may be stuck, or nobody has told them that they may. The sweep asks.
func (c *Conn) heldUp() bool {
	w, d := c.srv.workers, c.desk.Load()
	return w != nil && (c.tooOld(d.since()) || w.queue.mayGoOn(d))
}

// refuseOld refuses requests that have waited for too long for a worker. Workers do so
// themselves, but they may be stuck.
func (c *Conn) refuseOld() {
	s, d := c.srv, c.desk.Load()
	if s.cfg.QueueTimeout <= 0 || d == nil || s.workers == nil {
		return
	}
	for c.roomForReplies() && c.tooOld(d.since()) {
		r := s.workers.queue.takeOld(d, s.now()-s.cfg.QueueTimeout)
		if r == nil {
			return
		}
		c.inflight--
		d.pending -= r.pending
		c.refuseTaken(r)
	}
}

// refuseTaken refuses a request that was taken off the queue.
func (c *Conn) refuseTaken(r *Request) {
	l, s := c.loop, c.srv
	defer s.free(r) // also when ErrorReply ends the loop
	l.owing = true
	out, result := s.failure(c, l.out, r.id, r.buf.B[:r.reply:r.reply], ErrOverloaded)
	l.out, l.owing = out, false
	l.event.count(result)
}

// roomForReplies is open for replies: they are written even when the connection is
// to end in order.
func (c *Conn) roomForReplies() bool {
	if c.at() >= phaseBroken || c.block == blockUnsent {
		return false
	}
	if len(c.loop.out) < c.srv.flushAt {
		return true
	}
	c.flush()
	return c.at() < phaseBroken && !c.full()
}

// reap empties the desk of a connection that has ended.
func (c *Conn) reap(d *desk) {
	if d == nil {
		return
	}
	c.reapMu.Lock()
	defer c.reapMu.Unlock()
	// A goroutine that still pushes comes here afterwards.
	for r, ok := d.back.TryPop(); ok; r, ok = d.back.TryPop() {
		c.srv.drop(r)
	}
	if w := c.srv.workers; w != nil {
		for r := w.queue.takeOld(d, never); r != nil; r = w.queue.takeOld(d, never) {
			c.srv.drop(r)
		}
	}
}

// drop ends a request whose connection has ended.
func (s *Server) drop(r *Request) {
	s.failures.dropped.Add(1)
	s.free(r)
}

// free ends a request off the loop: nobody holds it or its buffer any more.
func (s *Server) free(r *Request) {
	s.jobBytes.Add(-r.held)
	bytepool.Put(r.buf)
	*r = Request{}
	requestPool.Put(r)
}

// stop waits for the handlers, forgets what is queued and ends the goroutines. No
// connection is left to dispatch.
func (w *workers) stop() {
	w.discard.Store(true)
	w.drainQueue()
	for w.running.Load() > 0 {
		<-w.idle
	}
	// Its goroutines have nothing to do: at most its housekeeping is late.
	_ = w.pool.ReleaseTimeout(releaseTimeout)
}
