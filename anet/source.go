package anet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/backoff"
)

// dialPauses bounds the pauses after a pool failed to give a connection: a pool is
// asked again soon, since anet asked for each request, and yet not in a loop.
var dialPauses = backoff.Policy{Min: 10 * time.Millisecond, Max: time.Second}

// source is one pool and the lines over its connections.
//
// A request takes the first line that has nothing to do, else a new line, else the
// one with the least to do. After a failure to connect, and until a connection
// comes, there are no new lines beside the one that tries.
type source struct {
	b    *broker
	pool Pool
	addr string // for the errors of the engine
	most int    // lines at the same time

	lines atomic.Pointer[[]*line] // changed under mu; the slice itself never

	mu       sync.Mutex // guards what follows; pools are not called under it
	closed   bool
	failures int       // in a row
	until    time.Time // when the pool may be asked again
	lastErr  error     // of the last failure
}

func newSource(b *broker, index int, pool Pool) *source {
	s := &source{b: b, pool: pool, addr: net.JoinHostPort("pool", strconv.Itoa(index)), most: 1}
	s.lines.Store(new([]*line))
	if pool == nil {
		return s // pick says so
	}
	if own, ok := pool.(interface{ address() string }); ok {
		if _, _, err := net.SplitHostPort(own.address()); err == nil {
			s.addr = own.address()
		}
	}
	s.most = max(pool.Cap(), 1)
	if !b.multiplex {
		s.most = min(s.most, b.workers)
	}
	return s
}

// pick returns a line with a place reserved on it.
func (s *source) pick() (*line, error) {
	if s.pool == nil {
		return nil, fmt.Errorf("%w: a pool given to NewBroker is nil", ErrNoPoolsAvailable)
	}
	// A line found may end before the place is reserved, so this is repeated; the
	// number of lines is more than enough.
	for range s.most + 1 {
		best, load := s.best()
		if best != nil && load < s.stack() && best.reserve() {
			return best, nil
		}
		l, err := s.grow(best)
		if l != nil || err != nil {
			return l, err
		}
	}
	return nil, ErrQueueFull
}

// stack is how many requests a line has before another is opened.
func (s *source) stack() int64 {
	if s.b.multiplex {
		return int64(s.b.config.MaxInflightPerConn)
	}
	return 1
}

// best returns the first line with room, or the one with the least to do.
func (s *source) best() (best *line, load int64) {
	for _, l := range *s.lines.Load() {
		n := l.load.Load()
		if n&gone != 0 || best != nil && n >= load {
			continue
		}
		if best, load = l, n; load < s.stack() {
			break
		}
	}
	return best, load
}

// grow opens a line if that is allowed, else it reserves a place on best. It returns
// nothing when best has ended meanwhile.
func (s *source) grow(best *line) (*line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := *s.lines.Load()
	switch {
	case s.closed:
		return nil, ErrClosingBroker
	case len(lines) == 0 && s.failures > 0 && time.Now().Before(s.until):
		return nil, &engine.OpError{Op: "dial", Addr: s.addr, Err: s.failureLocked()}
	case len(lines) < s.most && (len(lines) == 0 || s.failures == 0):
		l, err := newLine(s)
		if err != nil {
			return nil, err
		}
		l.reserve()
		s.setLocked(append(lines[:len(lines):len(lines)], l))
		return l, nil
	case best == nil || !best.reserve():
		return nil, nil
	}
	return best, nil
}

func (s *source) setLocked(lines []*line) { s.lines.Store(&lines) }

// failureLocked is the error while the pool is not asked.
func (s *source) failureLocked() error {
	if s.lastErr == nil { // it has recovered meanwhile
		return errEnded
	}
	return fmt.Errorf("%w: %w", ErrNoPoolsAvailable, s.lastErr)
}

func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failureLocked()
}

// failed notes that the pool gave no connection. Of several lines that tried at the
// same time, one counts.
func (s *source) failed(err error) {
	s.mu.Lock()
	now := time.Now()
	again := now.Before(s.until)
	if !again {
		s.failures++
		s.until = now.Add(dialPauses.Delay(s.failures))
	}
	s.lastErr = err
	closed := s.closed
	s.mu.Unlock()
	if !again && !closed {
		s.b.logger.Warnf("broker: no connection from the pool of %s: %v", s.addr, err)
	}
}

func (s *source) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures, s.until, s.lastErr = 0, time.Time{}, nil
}

// retire takes a line off the list and has it end. Only the first call for a line
// does something.
func (s *source) retire(l *line, onlyIdle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !l.leaveList(onlyIdle) {
		return false
	}
	kept := make([]*line, 0, len(*s.lines.Load()))
	for _, other := range *s.lines.Load() {
		if other != l {
			kept = append(kept, other)
		}
	}
	s.setLocked(kept)
	s.b.wg.Add(1)
	if onlyIdle {
		go l.end(l.engine.Close)
	} else { // what is on its way may still be answered
		go l.end(func() error { return l.engine.Shutdown(context.Background()) })
	}
	return true
}

// close ends every line at once.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range *s.lines.Load() {
		if l.leaveList(false) {
			s.b.wg.Add(1)
			go l.end(l.engine.Close)
		}
	}
	s.setLocked(nil)
}

// errEnded is what a line's engine gets when it wants a second connection. The
// request has not been sent, so another line takes it.
var errEnded = errors.New("the connection has ended")
