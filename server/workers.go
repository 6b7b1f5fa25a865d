package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// runnerExpiry is how long an idle goroutine is kept for the next job.
const runnerExpiry = 10 * time.Second

// releaseTimeout bounds the end of the goroutine pool's own goroutines.
const releaseTimeout = time.Second

// job is a request on its way through the workers. It belongs to the loop until it
// is queued, then to the worker that takes it, then, with the push on the
// connection's desk, to the loop again, or to whoever empties the desk after the
// connection's end.
type job struct {
	conn   *Conn
	desk   *desk // conn's; conn.desk is the loop's
	next   *job  // in the queue
	id     taskid.ID
	buf    *bytepool.Buffer // the request, behind it the frame of the reply
	reply  int              // where in buf.B that frame begins
	result result
	held   int64 // what counts for it in Server.jobBytes
}

var jobs = sync.Pool{New: func() any { return new(job) }}

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
	return w, nil
}

// dispatch queues a request for the workers. False means that the connection has
// to wait, and that the frame is still to be handled.
func (c *Conn) dispatch(f framing.Frame) bool {
	s := c.srv
	w := s.workers
	if int(c.inflight) >= s.cfg.MaxInFlight {
		c.block = blockFlight
		return false
	}
	if w.full(1) && (c.inflight > 0 || w.full(2)) {
		c.block = blockShared
		return false
	}
	if c.desk == nil {
		// As large as the jobs in flight, so a push never finds it full.
		c.desk = &desk{back: ring.NewMPSC[*job](s.cfg.MaxInFlight)}
	}
	j := jobs.Get().(*job)
	j.conn, j.desk, j.id = c, c.desk, f.ID
	// Room for a reply as long as the request; append does the rest.
	j.buf = bytepool.Get(2*len(f.Payload) + s.format.HeaderSize())
	j.buf.B = append(j.buf.B, f.Payload...)
	j.reply, j.result = len(j.buf.B), resultDropped
	j.held = int64(cap(j.buf.B))
	s.jobBytes.Add(j.held)
	w.submit(j)
	c.inflight++
	c.loop.frames++
	c.loop.event.Requests++
	return true
}

// full reports whether as much waits, or is held, as may be, so many times over. Those
// that have nothing waiting have something beyond the bound, up to twice of it: others
// that fill the queue do not keep them out.
func (w *workers) full(times int64) bool {
	s := w.srv
	return w.queue.n.Load()/times >= int64(s.cfg.QueueSize) || s.jobBytes.Load()/times > s.cfg.MaxHeld
}

// submit queues a job and sees to it that somebody takes it.
func (w *workers) submit(j *job) {
	w.queue.put(j)
	w.more()
}

// more starts a runner for what is queued, unless one is being started, who will do so
// after its first look at the queue, or there are as many as may be. So handlers that
// return at once are run by one goroutine, and those that block by more and more.
// (The Go scheduler wakes its threads like this.)
func (w *workers) more() {
	for w.queue.n.Load() > 0 && w.starting.CompareAndSwap(false, true) {
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
	w.starting.Store(false) // before the look: who comes after it starts another one
	returned := false
	defer func() {
		if !returned {
			w.start() // a handler has ended this goroutine: another one has its slot
		}
	}()
	for {
		w.drainQueue()
		left := w.running.Add(-1)
		if w.queue.n.Load() > 0 && w.claim() {
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
		j, more := w.queue.take()
		if j == nil {
			return
		}
		if more {
			w.more()
		}
		w.do(j)
	}
}

// do answers one request and hands it back.
func (w *workers) do(j *job) {
	defer w.deliver(j) // whatever the handler does
	if !w.discard.Load() && !j.conn.ended.Load() {
		w.handle(j)
	}
}

func (w *workers) handle(j *job) {
	s, c := w.srv, j.conn
	req := j.buf.B[:j.reply:j.reply]
	w.busy.Add(1)
	defer w.busy.Add(-1)
	j.result = resultUnanswered // until it has another outcome
	responded, returned := false, false
	defer func() {
		v := recover()
		if returned {
			return
		}
		if v == nil {
			v = ErrGoexit
		}
		s.logPanic(c, v)
		if responded { // ErrorReply is not asked twice
			s.failures.panics.Add(1)
			return
		}
		j.buf.B, j.result = s.failure(c, j.buf.B[:j.reply], j.id, req, &PanicError{Value: v})
	}()
	out, err := s.respond(c, j.buf.B, j.id, req)
	responded = true
	if err == nil {
		j.buf.B, j.result = out, resultReplied
	} else {
		j.buf.B, j.result = s.failure(c, out, j.id, req, err)
	}
	returned = true
}

// deliver hands a job back to its connection, which wakes once for all that are
// handed back before it looks.
func (w *workers) deliver(j *job) {
	c, d := j.conn, j.desk
	if grown := int64(cap(j.buf.B)) - j.held; grown > 0 {
		j.held += grown
		w.srv.jobBytes.Add(grown)
	}
	pushed := d.back.TryPush(j) // the job is the loop's now
	invariant.Check(pushed, "server: a job in flight found no place on its desk")
	w.srv.wake(c)
	// The end may have emptied the desk before the push. It sets ended first, so
	// then this is true.
	if c.ended.Load() {
		c.reap(d)
	}
}

// collect takes the jobs that workers have handed back and puts their replies
// behind the others, as far as the peer takes them.
func (c *Conn) collect() {
	l := c.loop
	for c.inflight > 0 && c.roomForReplies() {
		j, ok := c.desk.back.TryPop()
		if !ok {
			return
		}
		c.inflight--
		c.appendPushed() // what its handler pushed comes before its reply
		if j.result == resultReplied {
			l.out = append(l.out, j.buf.B[j.reply:]...)
		}
		l.event.count(j.result)
		c.srv.free(j)
	}
}

// roomForReplies is open for replies: they are written even when the connection is
// to end in order.
func (c *Conn) roomForReplies() bool {
	if c.broken || c.block == blockUnsent {
		return false
	}
	if len(c.loop.out) < c.srv.flushAt {
		return true
	}
	c.flush()
	return !c.broken && !c.full()
}

// reap empties the desk of a connection that has ended.
func (c *Conn) reap(d *desk) {
	if d == nil {
		return
	}
	c.reapMu.Lock()
	defer c.reapMu.Unlock()
	for {
		j, ok := d.back.TryPop()
		if !ok {
			return // who is still pushing comes here afterwards
		}
		c.srv.failures.dropped.Add(1)
		c.srv.free(j)
	}
}

// free ends a job: nobody holds it or its buffer any more.
func (s *Server) free(j *job) {
	s.jobBytes.Add(-j.held)
	bytepool.Put(j.buf)
	*j = job{}
	jobs.Put(j)
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
