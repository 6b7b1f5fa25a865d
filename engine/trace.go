package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// Stage is what a call has come to.
type Stage string

// The stages of a call, in the order in which they come. A call may go through some of them again,
// and not all of them: one that is placed at once is not queued.
const (
	StageQueued   Stage = "queued"   // it waits: no connection takes it
	StagePlaced   Stage = "placed"   // a connection to Addr, the server that was chosen, has taken it
	StageWritten  Stage = "written"  // the socket has taken all of it
	StageReplied  Stage = "replied"  // its reply was read
	StageMoved    Stage = "moved"    // the connection to Addr ended before the write; queued again
	StageRepeated Stage = "repeated" // it failed with Err, and is made again
	StageDone     Stage = "done"     // it has its outcome, Err if it failed
)

// Event is a stage of a call and when it was reached.
type Event struct {
	Stage Stage
	At    time.Time
	Addr  string // the server's, as configured; empty if it is not about one
	Index int    // of the request, with SendBatch
	Err   error
}

// traceMost is how many events a Trace keeps.
const traceMost = 4096

// Trace notes what becomes of the calls it is given to, as [Call].Trace: one, or one after another,
// or a batch. The zero value is ready. Its methods may be called by anybody at any time, also while
// a call is under way, so it tells where one hangs.
//
// It is a record and not a set of functions to be called, as httptrace has them, because stages are
// reached under locks and on goroutines that everybody needs, where no function of a user's may
// run. A program that wants to act on them does so when the call is over: with Send and SendBatch
// when they return, with Go in its function, which runs after the last event was noted. Nothing is
// noted of a call after its StageDone.
//
// Calls without a Trace pay nothing for it. One with a Trace pays some 0.1 µs for each event, and
// memory. What is refused before it has begun, because its context has ended or it would block in a
// callback, leaves no event.
type Trace struct {
	mu     sync.Mutex // guards what follows; nothing is called under it
	events []Event
	lost   int
	resets int
}

// Events returns what was noted so far, in order. The slice is the caller's.
func (t *Trace) Events() []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// Lost returns how many events were left out because there were 4,096.
func (t *Trace) Lost() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// Reset forgets all events, and the calls under way. Their memory is kept for the next ones.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.events)
	t.events, t.lost = t.events[:0], 0
	t.resets++
}

// follow returns what notes the stages of a request.
func (t *Trace) follow(index int) *tracer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &tracer{trace: t, index: index, resets: t.resets}
}

// tracer notes the stages of one request.
type tracer struct {
	trace  *Trace
	index  int
	resets int

	// Guarded by the trace's mu.
	addr    string // where it was last placed
	written bool   // there
	done    bool
}

// note notes a stage, unless the request has its outcome.
func (r *tracer) note(s Stage, addr string, err error) {
	t := r.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	e := Event{s, time.Now(), addr, r.index, err} // under the lock: times rise
	if r.done || r.resets != t.resets {
		return
	}
	switch s {
	case StagePlaced:
		r.addr, r.written = addr, false
	case StageMoved:
		e.Addr = r.addr
	case StageWritten, StageReplied:
		e.Addr = r.addr
		if r.written && s == StageWritten {
			return
		}
		// A reply may be read before the write of its request has returned, and proves it.
		if !r.written && s == StageReplied {
			written := e
			written.Stage = StageWritten
			t.add(written)
		}
		r.written = true
	case StageDone:
		r.done = true
	}
	t.add(e)
}

// add adds an event. The caller holds mu.
func (t *Trace) add(e Event) {
	if len(t.events) >= traceMost {
		t.lost++
		return
	}
	t.events = append(t.events, e)
}

// over notes that the request has its outcome.
func (r *tracer) over(err error) {
	if err == nil {
		r.note(StageDone, "", nil)
		return
	}
	addr := ""
	if op, ok := err.(*OpError); ok {
		addr = op.Addr
	}
	r.note(StageDone, addr, err)
}

// overTraced ends the trace of a blocking call.
func (w *waiter) overTraced(err error) {
	w.request.tracer.over(err)
	w.request.tracer, w.traced = nil, false
}

// tracedCallback is the outcome of a Go whose context cannot end and that is traced.
type tracedCallback struct {
	to     outcome
	tracer *tracer
}

func (c *tracedCallback) callback(reply []byte, err error) {
	c.tracer.replied(err)
	c.tracer.over(err) // first: the user's function may look at it
	c.to.callback(reply, err)
}

// replied notes that a reply was read, if there is one.
func (r *tracer) replied(err error) {
	if err == nil {
		r.note(StageReplied, "", nil)
	}
}

// traced are the frames of traced requests that are not known to be written: as many as the outbox
// holds at most, since what is written is taken out. Without one it costs each write a look.
type tracedFrames struct {
	n  atomic.Int32
	mu sync.Mutex
	q  []tracedFrame
}

type tracedFrame struct {
	tracer *tracer
	end    ring.Position // of its frame in the ring,
	id     taskid.ID     // or of which request it is, if it is a large one; else None
}

// placed notes that the connection has taken a traced request, whose frame is not published yet.
func (c *conn) placed(r *request, id taskid.ID, at spot) {
	r.tracer.note(StagePlaced, c.link.addr.name, nil)
	f := tracedFrame{tracer: r.tracer}
	if at.large() {
		f.id = id
	} else {
		p, ok := c.out.ring.Near(at.short())
		if !ok {
			return // cannot be: it was not consumed
		}
		f.end = p + ring.Position(at.length())
	}
	q := &c.out.traced
	q.mu.Lock()
	defer q.mu.Unlock()
	q.q = append(q.q, f)
	q.n.Store(int32(len(q.q)))
}

// noteWritten notes which traced requests were written, when a part of the outbox was. The caller
// holds the right to write.
func (c *conn) noteWritten() {
	p := &c.out.part
	upTo := p.at // in the ring
	switch {
	case p.control || !p.ofRing() && len(p.b) > 0 || p.kept != nil && len(p.b) > 0:
		return // nothing is known to be written whole
	case p.kept != nil:
		upTo += ring.Position(p.size)
	}
	q := &c.out.traced
	q.mu.Lock()
	defer q.mu.Unlock()
	q.q = slices.DeleteFunc(q.q, func(f tracedFrame) bool {
		if written := f.id == p.id && !p.ofRing() || f.id == taskid.None && p.ofRing() && !upTo.Before(f.end); !written {
			return false
		}
		f.tracer.note(StageWritten, "", nil)
		return true
	})
	q.n.Store(int32(len(q.q)))
}
