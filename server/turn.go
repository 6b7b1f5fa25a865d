package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/epoll"
	"github.com/ringwire/ringwire/internal/stopwatch"
)

const (
	// flushBytes is how much output gathers before it is written in the middle of
	// a turn: the client can begin on it while the rest is worked on.
	flushBytes = 32 << 10
	// outBytes is the size an output buffer begins with. It grows by need, to at
	// most outBytesMax at the end of a turn.
	outBytes    = 64 << 10
	outBytesMax = 1 << 20
)

// loop is what the connections of one event loop share: one of them has its turn
// at a time. Everything but asked, total and what host says belongs to the loop's
// goroutine.
type loop struct {
	out      []byte           // replies of this turn, framed, not yet written
	in       []byte           // input that is being parsed
	at       time.Duration    // when it came, since the server's epoch
	limit    time.Duration    // how long its caller waits for the request in hand; 0: not known
	source   *bytepool.Buffer // the chunk that it lies in; nil if it was just read
	spent    *bytepool.Buffer // a frame that is done with soon, if it was in pieces
	now      int64            // clock at the beginning of this turn
	request  Request          // whose handler runs
	turns    stopwatch.Turns  // which of those are timed
	handling bool             // a handler runs
	panicked any              // what it panicked with
	owing    bool             // the request in hand has no outcome yet
	frames   int              // requests of this turn
	began    time.Time        // when this turn began, or somebody was last let by
	lookAt   int              // after how many requests of this turn it is looked at the time
	stride   int              // how many requests take a good part of turnMax
	cut      []*Conn          // those whose turn was cut short, in the order of their next ones
	calling  bool             // the first of them is being called
	caller   *time.Timer      // calls it
	next     atomic.Pointer[Conn]
	epoll    epoll.Instance // what the event loop asks,
	sought   bool           // once it was looked for,
	pauses   bool           // if it is known: then reading can be paused
	event    tally          // counted since publish
	waking   bool           // the turn that a wake has asked for was had
	poller
	host

	asked atomic.Int32 // what others have asked of the event loop and it has not begun
	mu    sync.Mutex   // held for an addition
	total tally
}

func newLoop() *loop {
	return &loop{stride: 1, poller: poller{need: aloneMin}}
}

// begin starts a turn. Whatever a turn that panicked has left is forgotten.
func (l *loop) begin(in []byte, s *Server) {
	l.out, l.in, l.now = l.out[:0], in, s.clock.Load()
	l.handling, l.owing, l.frames = false, false, 0
	l.mark(time.Now())
	l.at, l.lookAt = l.began.Sub(s.epoch), l.stride
}

// end ends a turn.
func (l *loop) end(s *Server) {
	if l.event != (tally{}) {
		l.publish()
	}
	l.noteLong(s)
	l.since.Store(0)
	l.in, l.request = nil, Request{}
	if cap(l.out) > outBytesMax {
		l.out = make([]byte, 0, outBytes)
	}
}

// noteLong notes that the loop is back from a turn that was long, or goes on after long handlers.
func (l *loop) noteLong(s *Server) {
	if now := s.clock.Load(); now-l.now > s.interval.Milliseconds() {
		l.cameBack.Store(now)
	}
}

// publish makes what was counted visible, all of it together. It runs before each
// write, so a client that has a reply finds it counted.
func (l *loop) publish() {
	l.mu.Lock()
	l.total.add(&l.event)
	l.mu.Unlock()
	l.event = tally{}
}

// counted returns what was published.
func (l *loop) counted() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// tally holds what is counted on a loop. Every request is counted once more
// under what became of it, as soon as that is known.
type tally struct {
	Reads, Polled                           uint64
	Writes, BytesIn, BytesOut               uint64
	Requests                                uint64
	Replies, NoReplies, Unanswered, Dropped uint64
	Pauses                                  uint64
}

func (t *tally) add(o *tally) {
	t.Reads += o.Reads
	t.Polled += o.Polled
	t.Writes += o.Writes
	t.BytesIn += o.BytesIn
	t.BytesOut += o.BytesOut
	t.Requests += o.Requests
	t.Replies += o.Replies
	t.NoReplies += o.NoReplies
	t.Unanswered += o.Unanswered
	t.Dropped += o.Dropped
	t.Pauses += o.Pauses
}

func (t *tally) count(r result) {
	switch r {
	case resultReplied:
		t.Replies++
	case resultNoReply:
		t.NoReplies++
	case resultUnanswered:
		t.Unanswered++
	case resultDropped:
		t.Dropped++
	}
}
