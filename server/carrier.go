package server

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/tlswire"
)

// carrier is what a stream reads from and writes to. One goroutine may read and another one
// write.
type carrier struct {
	nc   net.Conn
	tls  *tls.Conn     // nc, if it is secured
	wire *tlswire.Wire // below tls; nil: a read has to wait, with memory

	// The reader's.
	buf    *bytepool.Buffer // what next has returned
	size   int              // how much a read that waits may take
	pause  busypoll.Pause
	alone  int  // turns of streams in a row that were this one's, aloneMin at most
	polled bool // what next has returned was polled for

	busyPoll time.Duration // 0: never
	recent   *lastTurn
	pollers  int32 // how many goroutines of the process may poll at once

	closing sync.Once
}

// lastTurn is the carrier of the stream that had a server's last turn. Streams that alternate write
// it each time, so it has cache lines of its own.
type lastTurn struct {
	_ cacheline.Pad
	atomic.Pointer[carrier]
	_ cacheline.Pad
}

func (s *carrier) init(srv *Server, nc net.Conn) {
	s.busyPoll, s.pollers, s.recent = srv.busyPoll, srv.pollers, &srv.recent
	s.nc, s.size = nc, streamIdleBytes
	s.tls, s.wire = tlswire.Below(nc)
}

// release gives the memory of what was read back.
func (s *carrier) release() {
	if s.buf != nil {
		bytepool.Put(s.buf)
		s.buf = nil
	}
}

// dispose gives all memory back. Nobody reads or writes any more.
func (s *carrier) dispose() {
	s.release()
	if s.wire != nil {
		s.wire.Release()
	}
	s.recent.CompareAndSwap(s, nil)
}

// next waits until something has come and returns it. It is valid until next is called again.
func (s *carrier) next() ([]byte, error) {
	if s.polled = false; s.wire == nil {
		return s.nextOfAny()
	}
	if in, err := s.poll(); len(in) > 0 || err != nil {
		return in, err
	}
	for {
		s.release()
		if err := s.wire.WaitRead(); err != nil {
			return nil, err
		}
		in, err := s.attempt()
		if len(in) > 0 || err != nil {
			return in, err
		}
	}
}

// attempt returns what has come, if anything has.
func (s *carrier) attempt() ([]byte, error) {
	if s.buf == nil {
		s.buf = bytepool.Get(readBufferBytes)
	}
	n, err := s.wire.TryRead(s.tls, s.buf.B[:readBufferBytes])
	return s.buf.B[:n], err
}

// poll asks for what comes within busyPoll, without sleeping: see poll.go. The peer's next request
// is often on its way, and to sleep and to be woken costs as much as a round trip. Streams that
// have turns meanwhile are held up, since Go looks for what they wait for when nothing else is to be
// done. So only a stream polls that has been the only one to have turns for a while.
func (s *carrier) poll() ([]byte, error) {
	if s.busyPoll == 0 || !s.isAlone() || s.pause.Skip() || !busypoll.Enter(s.pollers) {
		return nil, nil
	}
	defer busypoll.Leave()
	for since := time.Now(); s.recent.Load() == s && time.Since(since) < s.busyPoll; {
		if in, err := s.attempt(); len(in) > 0 || err != nil {
			s.pause.Hit()
			s.polled = true
			return in, err
		}
		runtime.Gosched() // above all to the writer
	}
	if s.recent.Load() == s {
		s.pause.Vain()
	}
	return nil, nil
}

// isAlone notes a turn of the stream and reports whether those before it were its own, too.
func (s *carrier) isAlone() bool {
	if s.recent.Load() != s {
		s.recent.Store(s)
		s.alone = 0
	}
	s.alone = min(s.alone+1, aloneMin)
	return s.alone == aloneMin
}

// nextOfAny is next for connections that have to be lent memory while they wait.
func (s *carrier) nextOfAny() ([]byte, error) {
	if s.buf == nil || cap(s.buf.B) < s.size || cap(s.buf.B) > 2*s.size {
		s.release()
		s.buf = bytepool.Get(s.size)
	}
	n, err := s.nc.Read(s.buf.B[:s.size])
	switch {
	case n == s.size:
		s.size = readBufferBytes
	case n < streamIdleBytes:
		s.size = streamIdleBytes
	}
	return s.buf.B[:n], err
}

// write writes all of p, and waits until it has.
func (s *carrier) write(p []byte) error {
	if s.wire != nil {
		_, err := s.wire.WriteAll(s.tls, p)
		return err
	}
	_, err := s.nc.Write(p)
	return err
}

// tryWrite writes what the socket takes of p at once. The rest has to be given to write, beginning
// with the same bytes.
func (s *carrier) tryWrite(p []byte) (int, error) {
	return s.wire.TryWritePieces(s.tls, p, streamPiece)
}

// closeWrite shuts down our direction. Where that cannot be told it closes the connection: the
// peer has everything.
func (s *carrier) closeWrite() {
	type closer interface{ CloseWrite() error }
	if c, ok := s.nc.(closer); ok {
		_ = c.CloseWrite() // or it has ended
		return
	}
	s.close()
}

// interrupt has a read that waits return.
func (s *carrier) interrupt() { _ = s.nc.SetReadDeadline(past) }

// close closes the connection, without a word: what was to be said was said by closeWrite.
func (s *carrier) close() {
	s.closing.Do(func() {
		nc := s.nc
		if s.tls != nil {
			nc = s.tls.NetConn() // Close of crypto/tls may wait for a peer that does not read
		}
		_ = nc.Close()
	})
}
