package server

import (
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
)

// What a stream writes, and how it ends that.

// write implements link. What cannot be written without waiting is left to the writer.
func (s *stream) write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p = s.writeNowLocked(p); len(p) == 0 {
		return nil
	}
	switch {
	case s.broken != nil:
		return s.broken
	case s.gone:
		return net.ErrClosed
	}
	if s.out == nil {
		s.out = bytepool.Get(len(p))
	}
	s.out.B = append(s.out.B, p...)
	s.unsent += len(p)
	s.behind = s.behind || s.unsent >= s.front.srv.cfg.MaxUnsent
	s.needWriterLocked()
	return nil
}

// writeNowLocked writes what goes at once, unless something waits to be written before it, and
// returns the rest. It lets mu go meanwhile.
func (s *stream) writeNowLocked(p []byte) (rest []byte) {
	if s.carrier.wire == nil || s.writing || s.gone || s.broken != nil {
		return p
	}
	s.writing = true
	s.mu.Unlock()
	n, err := s.carrier.tryWrite(p)
	s.mu.Lock()
	s.writing, s.broken = false, err
	if s.gone {
		s.changed.Broadcast()
	}
	return p[n:]
}

func (s *stream) needWriterLocked() {
	if !s.writing && !s.gone {
		s.writing = true
		s.front.all.Add(1)
		go s.writeFn()
	}
}

// writeOut is the writer's goroutine.
func (s *stream) writeOut() {
	defer s.front.all.Done()
	for b := s.nextOutput(); b != nil; b = s.nextOutput() {
		for rest := b.B; len(rest) > 0; {
			n := min(len(rest), streamPiece)
			err := s.carrier.write(rest[:n])
			if err != nil {
				s.writeFailed(err)
				break
			}
			rest = rest[n:]
			if s.wrote(n) {
				s.front.srv.wake(s.conn)
			}
		}
		bytepool.Put(b)
	}
}

// nextOutput returns what is to be written next. Nil ends the writer.
func (s *stream) nextOutput() *bytepool.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if b := s.out; b != nil && s.broken == nil {
			s.out = nil
			return b
		}
		if !s.shut || s.broken != nil {
			s.writing = false
			s.changed.Broadcast()
			return nil
		}
		s.shut = false
		s.mu.Unlock()
		s.carrier.closeWrite()
		s.mu.Lock()
	}
}

// wrote notes that n bytes have gone, and reports whether the connection shall go on.
func (s *stream) wrote(n int) (goOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent -= n
	if goOn = s.behind && s.unsent <= s.front.srv.cfg.MaxUnsent/2; goOn {
		s.behind = false
	}
	return goOn
}

func (s *stream) writeFailed(err error) {
	s.mu.Lock()
	s.broken, s.unsent = err, 0
	s.mu.Unlock()
	s.carrier.close() // the reading ends by that
}

// buffered implements link.
func (s *stream) buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsent
}

// closeWrite implements link.
func (s *stream) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	s.needWriterLocked()
}

// closeSoon ends reading, and has what was written before go out if the peer takes it soon.
func (s *stream) closeSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.changed.Broadcast()
	if s.writing {
		_ = s.carrier.nc.SetWriteDeadline(time.Now().Add(lingerTime)) // or it has ended
	}
	s.carrier.interrupt()
}

// awaitWriter waits for the writer and has none begin afterwards, and no turn.
func (s *stream) awaitWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for s.writing {
		s.changed.Wait()
	}
	if s.out != nil {
		bytepool.Put(s.out)
		s.out = nil
	}
}
