package load

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// inflight is what is known of a request that a connection has.
type inflight struct {
	intended time.Duration // when it was due
	given    time.Duration // when the connection got it; its timeout counts from here
	sent     time.Duration // the clock before the write that held its first byte
	lag      time.Duration
	number   uint64 // among its kind
	key      uint64 // of an ISO 8583 message, beside its ID
	flow     int32  // of several steps, once the first has its reply; else 0
	kind     uint8
	step     uint8
	phase    uint8
	waited   bool // for a slot or for the socket: lag was taken when that began
	written  bool // its first byte was
	beat     bool // it is a heartbeat, and of the other fields has only sent and number
}

// framed is a request whose frame lies in an output.
type framed struct {
	id uint64
	at int // where the frame begins
}

// output is a row of frames.
type output struct {
	bytes   []byte
	frames  []framed
	answers int // bytes that are answers to requests of the peer's, and in no frame
}

func (o *output) reset() { o.bytes, o.frames, o.answers = o.bytes[:0], o.frames[:0], 0 }

// session is one connection, from when it is up to its end.
//
// A goroutine that has something to send (the pacer, the reader, the clock) takes the
// right to write, if no other has it, and writes what is there. These three make single
// attempts. When the socket takes no more, or cannot be asked for an attempt, the right
// goes to the writer, the session's goroutine that may wait.
type session struct {
	run   *run
	shard *shard
	conn  net.Conn
	raw   syscall.RawConn // nil: only the writer writes
	dec   *wire.Decoder   // the reader's
	began time.Time
	kick  chan struct{} // hands the right to write to the writer
	done  chan struct{} // closed at the end
	ready atomic.Int32  // free slots, as told to the pacer
	dirty bool          // the pacer's: it is to flush

	mu        sync.Mutex // guards what follows
	table     *wire.Table[inflight]
	out       output // nobody has begun to write it
	scratch   []byte
	made      request.From // what from returns
	given     int64        // requests in all, and steps of flows
	sent      []uint64     // requests by phase and kind, until the end: then the shard has them
	replies   int64
	unwritten int  // given up before their first byte was written; they keep their slot
	writing   bool // somebody has the right to write
	stalled   bool // the socket took no more, or a write that cannot be attempted is under way
	retiring  bool // gets no more requests
	over      bool // has ended, or is about to
	ended     bool // what was in flight has its outcome
	why       error
	heart     heart
	flows     flows

	// Of the goroutine that has the right to write.
	batch     output
	wrote     int // bytes of it
	begun     int // frames of it whose first byte was written
	buf       []byte
	n         int
	err       error
	try, wait func(fd uintptr) bool
}

func newSession(l *link, conn net.Conn, dec *wire.Decoder) *session {
	r := l.run
	s := &session{
		run: r, shard: l.shard, sent: make([]uint64, r.phases*len(r.cfg.Mix.Kinds)),
		conn: conn, began: time.Now(), heart: heart{last: r.uptime()},
		dec: dec, table: wire.NewTable[inflight](r.cfg.Codec, r.cfg.window()),
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if c, ok := conn.(syscall.Conn); ok && rawio.Available {
		s.raw, _ = c.SyscallConn()
	}
	s.made.Codec = r.cfg.Codec
	s.try = func(fd uintptr) bool {
		s.n, s.err = rawio.Write(fd, s.buf)
		return true
	}
	s.wait = func(fd uintptr) bool {
		s.mu.Lock()
		s.stamp(s.run.now()) // each attempt is another write
		s.mu.Unlock()
		return s.try(fd) && (s.n > 0 || s.err != nil)
	}
	return s
}

// free is how many requests the session takes now. Without IDs it takes none while the
// reply to one that was given up may still come: it could not be told from theirs.
func (s *session) free() int {
	if s.over || s.retiring || s.run.ordered && s.table.GivenUp() > 0 {
		return 0
	}
	n := s.run.cfg.InFlight - s.openRequests() - s.unwritten
	if most := s.run.cfg.RequestsPerConn; most > 0 {
		n = min(n, int(min(most-s.given, 1<<30)))
	}
	return max(min(n, s.table.Free()), 0)
}

// tell tells the pacer how many slots are free.
func (s *session) tell() {
	if s.run.backlog == nil {
		return
	}
	if n := int32(s.free()); n != s.ready.Load() {
		s.run.free.Add(int64(n - s.ready.Swap(n)))
	}
}

// give takes a request on, for which a slot is free.
func (s *session) give(d due, now time.Duration) {
	r := s.run
	id, q, ok := s.table.Issue()
	if !ok {
		panic("load: a free slot without an ID")
	}
	kind, number := r.cfg.Mix.Of(d.n)
	// Field by field: a value made first would be copied, in wider pieces than it was made of.
	q.intended, q.given, q.sent, q.lag = d.intended, now, now, d.lag
	q.number, q.kind, q.phase, q.waited = number, uint8(kind), d.phase, d.waited || s.stalled
	if !d.waited && r.backlog != nil {
		q.lag = now - d.intended
	}
	s.scratch = r.cfg.Mix.Kinds[kind].Source.Append(s.scratch[:0], number)
	s.frame(id, q)
	s.given++
	s.sent[int(d.phase)*len(r.cfg.Mix.Kinds)+kind]++
}

// frame puts the payload in scratch into the output. Mix.Check has looked at the smallest
// one and the largest, and at the messages of all rows; a template can make other messages
// of them. One that is none ends the run, and is not sent.
func (s *session) frame(id uint64, q *inflight) {
	c := s.run.cfg.Codec
	at := len(s.out.bytes)
	var err error
	if s.out.bytes, err = c.Append(s.out.bytes, id, s.scratch); err != nil {
		name := s.run.cfg.Mix.Kinds[q.kind].Name
		if q.beat {
			name = s.run.cfg.Heartbeat.Kind.Name
		}
		why := fmt.Sprintf("request %q, number %d: %v", name, q.number, err)
		s.run.broke.CompareAndSwap(nil, &why)
		return
	}
	q.key = c.Key(s.out.bytes[at:])
	s.out.frames = append(s.out.frames, framed{id, at})
}

// refill gives the session as many requests as it has free slots.
func (s *session) refill(now time.Duration) {
	if s.run.backlog == nil {
		s.refillClosed(now)
	} else {
		s.refillOpen(now)
	}
	if most := s.run.cfg.RequestsPerConn; most > 0 && s.given >= most {
		s.retiring = true
	}
	if s.retiring && s.table.Open() == 0 && !s.writing {
		_ = s.conn.Close() // the reader sees it
	}
	s.tell()
}

// refillOpen takes what waits in the backlog. It tells the pacer first, so that what it puts
// into the backlog after that is its own to look after.
func (s *session) refillOpen(now time.Duration) {
	s.tell()
	for s.free() > 0 {
		d, ok := s.run.backlog.pop()
		if !ok {
			return
		}
		s.give(d, now)
	}
}

// refillClosed takes the next requests of the closed loop, which are due when there is room.
func (s *session) refillClosed(now time.Duration) {
	n := s.free()
	if n == 0 {
		return
	}
	d, n := s.run.take(n, now)
	for range n {
		s.give(d, now)
		d.n++
	}
}

// offer gives the session a request if it has a free slot.
func (s *session) offer(d due, now time.Duration) bool {
	if s.ready.Load() <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free() <= 0 {
		return false
	}
	s.give(d, now)
	s.tell()
	return true
}

// flush writes what is there, as far as the socket takes it, unless somebody is at it.
func (s *session) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing || s.over || len(s.out.bytes) == 0 {
		return
	}
	s.writing = true
	if s.raw == nil {
		s.kick <- struct{}{}
		return
	}
	s.write(false)
}

// writeRounds is for how many writes somebody other than the writer writes what others
// add meanwhile.
const writeRounds = 4

// write writes what is there. Its caller has the right to write; write ends that right,
// or hands it to the writer. The lock is held, and let go of during system calls.
func (s *session) write(isWriter bool) {
	for round := 0; ; round++ {
		if s.wrote == len(s.batch.bytes) {
			s.batch.reset()
			s.batch, s.out = s.out, s.batch
			s.wrote, s.begun = 0, 0
		}
		if s.over || len(s.batch.bytes) == 0 {
			s.writing = false
			return
		}
		if !isWriter && round == writeRounds {
			s.kick <- struct{}{}
			return
		}
		s.stamp(s.run.now())
		s.buf = s.batch.bytes[s.wrote:]
		s.stalled = s.stalled || s.raw == nil
		s.mu.Unlock()
		s.attempt(isWriter)
		s.mu.Lock()
		if s.err != nil {
			s.fail(s.err)
			continue // it is over
		}
		s.wrote += s.n
		s.shard.bytesOut.Add(uint64(s.n))
		s.mark()
		if s.stalled = s.n == 0; s.stalled {
			s.kick <- struct{}{}
			return
		}
	}
}

// attempt writes buf, or some of it; the writer waits until the socket takes some.
func (s *session) attempt(isWriter bool) {
	how := s.try
	if isWriter {
		how = s.wait
	}
	if s.raw == nil {
		s.n, s.err = s.conn.Write(s.buf)
	} else if err := s.raw.Write(how); err != nil {
		s.n, s.err = 0, err
	}
}

// stamp dates the requests whose first byte the next write may hold.
func (s *session) stamp(now time.Duration) {
	for _, f := range s.batch.frames[s.begun:] {
		q, isOpen := s.table.Find(f.id)
		if q == nil || !isOpen {
			continue
		}
		q.sent = now
		switch {
		case q.beat || q.step > 0:
		case s.run.backlog == nil:
			q.intended = now // the closed loop has no other time
		case !q.waited && !s.stalled:
			q.lag = now - q.intended
		}
		q.waited = q.waited || s.stalled
	}
}

// mark notes whose first byte was written. Requests that were given up before that have
// kept their slots, or the output would have no bound.
func (s *session) mark() {
	freed := false
	for ; s.begun < len(s.batch.frames) && s.batch.frames[s.begun].at < s.wrote; s.begun++ {
		q, isOpen := s.table.Find(s.batch.frames[s.begun].id)
		if q == nil || q.written {
			continue
		}
		q.written = true
		if !isOpen {
			s.unwritten--
			freed = true
		}
	}
	if freed {
		s.refill(s.run.now())
	}
}

// writer writes when others cannot, until the session's end.
func (s *session) writer() {
	for {
		select {
		case <-s.kick:
			s.mu.Lock()
			s.write(true)
			s.mu.Unlock()
		case <-s.done:
			return
		}
	}
}

// fail ends the session, under its lock. The reader sees the closed connection, and why.
func (s *session) fail(err error) {
	if s.why == nil {
		s.why = err
	}
	s.over = true
	_ = s.conn.Close()
}
