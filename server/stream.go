package server

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/role"
)

const (
	// streamIdleBytes is how much a stream that has to lend memory to a read that waits
	// lends it, until such a read has filled it.
	streamIdleBytes = 4 << 10
	// streamPiece is how much is written at once: what a peer takes of less is not seen.
	streamPiece = progressBytes
	// closeLate is after how long a connection is closed whose goroutines do not end.
	closeLate = 2 * lingerTime
)

// past is a deadline that has everything return that waits.
var past = time.Unix(1, 0)

// stream is the link of a connection that has goroutines of its own. One reads and takes the
// turns that input asks for. Another one takes a turn that somebody else has asked for. A third one
// writes what does not go at once. Each of the latter two exists only while it has something to do.
//
// The goroutine that has the turn is the connection's loop, in the sense of Conn: one at a time
// reads, parses and answers. Nothing waits in a turn but handlers in place, and those hold up their
// own connection only: a peer that does not read holds up no turn, as on an event loop.
type stream struct {
	front   *streams
	conn    *Conn
	carrier carrier

	over bool // the connection has ended; of the goroutine that has the turn

	lent     atomic.Pointer[loop] // with which the turn goes on; nil: with none
	cameBack atomic.Int64         // loop.cameBack of the last turn that was long

	writeFn, turnFn func() // bound once: method values allocate

	mu      sync.Mutex       // guards what follows, held for a copy
	changed sync.Cond        // of mu: turning, deaf, closed or writing has changed
	turning bool             // somebody has the turn
	asked   bool             // somebody has asked for another one since it began
	waiting bool             // the goroutine that reads waits for it
	out     *bytepool.Buffer // to be written; nil: nothing
	unsent  int              // bytes of out, and of what is being written
	behind  bool             // there were so many that the connection may wait for the writer
	writing bool             // somebody writes: the writer, or the goroutine that has the turn
	shut    bool             // our direction is to be shut down behind what is to be written
	deaf    bool             // nothing is to be read
	closed  bool             // nothing is read or written any more
	gone    bool             // no goroutine may begin any more
	broken  error            // what a write has met
}

func newStream(f *streams, nc net.Conn, c *Conn) *stream {
	s := &stream{front: f, conn: c}
	s.carrier.init(f.srv, nc)
	s.changed.L = &s.mu
	s.writeFn, s.turnFn = s.writeOut, s.takeTurn
	return s
}

// run is the goroutine that reads.
func (s *stream) run() {
	role.Set("stream")
	var cause error
	defer func() { s.end(cause) }() // also when a handler ends this goroutine
	for s.mayRead() {
		in, err := s.carrier.next()
		if len(in) > 0 && !s.serve(in) {
			return
		}
		if err != nil {
			cause = err
			return
		}
	}
}

// mayRead waits while nothing is to be read, and reports whether something is afterwards.
func (s *stream) mayRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.deaf && !s.closed {
		s.changed.Wait()
	}
	return !s.closed
}

// end ends the connection for what the reading has met.
func (s *stream) end(cause error) {
	defer s.front.all.Done()
	s.closeSoon()
	timer := time.AfterFunc(closeLate, s.carrier.close) // whatever becomes of deadlines
	// A socket tells an error once: the goroutine that has met that the peer is gone knows more
	// than the other.
	if s.awaitWriter(); s.broken != nil && !errors.Is(cause, syscall.ETIMEDOUT) {
		cause = s.broken
	}
	timer.Stop()
	s.carrier.dispose()
	defer s.carrier.close() // a peer that sees it closed finds it counted
	if errors.Is(cause, io.ErrUnexpectedEOF) {
		s.conn.blame(reasonTruncated)
	}
	s.awaitTurn()
	s.turn(func(l *loop) bool {
		s.over = true
		s.conn.end(cause)
		l.publish()
		return false
	})
}

// read implements link: only the goroutine that reads may, and it waits.
func (s *stream) read([]byte) (int, error) { return 0, nil }

// hear implements link.
func (s *stream) hear(reads, _ bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf != !reads {
		s.deaf = !reads
		s.changed.Broadcast()
	}
	return true
}

// back implements link.
func (s *stream) back(now int64) int64 {
	var at int64
	if l := s.lent.Load(); l != nil {
		at = l.back(now, s.front.srv.interval)
	}
	return max(at, s.cameBack.Load()) // last: the turn may have ended meanwhile
}

// othersWait implements link: the system's scheduler sees to them.
func (s *stream) othersWait() bool { return false }

// close implements link. The goroutine that reads closes the connection, when it has counted that,
// unless it does not come to it: a handler in place may block.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
	s.carrier.interrupt()
	_ = s.carrier.nc.SetWriteDeadline(past) // or it has ended
	if !s.gone {
		time.AfterFunc(closeLate, s.carrier.close)
	}
}

// drop implements link, for event loops that end; this is none.
func (s *stream) drop() { s.close() }
