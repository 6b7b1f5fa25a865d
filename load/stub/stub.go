// Package stub is a backend to test load generators against, and whatever else makes
// requests: it answers frames of any framing late, slowly, in other words, or wrongly, as it
// is told, and counts exactly what it did.
package stub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/load/wire"
)

// Defaults of a Config.
const (
	DefaultLateBy   = 5500 * time.Millisecond // longer than load's timeout, shorter than its drain
	DefaultQueue    = 1000
	DefaultInFlight = 16384
	DefaultMaxConns = 10_000
)

// Ranges of a Config.
const (
	longest     = time.Hour // of a delay
	rateMax     = 1e7
	queueMax    = 1 << 20
	inFlightMax = 1 << 20
	connsMax    = 100_000
	stallsMax   = 16
)

// Config describes a stub. Either Listen or Dial says where its connections come from.
type Config struct {
	// Codec is the client's, as for load: its requests and our replies.
	Codec *wire.Codec
	// Listen makes what takes connections. Start calls it, and Close closes what it made.
	Listen func() (net.Listener, error)
	// Dial makes a connection to a client that waits for its backend to connect. Its context
	// ends with Close. Dials holds so many connections up, 0: 1; one that ends is made again.
	Dial  func(context.Context) (net.Conn, error)
	Dials int

	Latency Latency // before each reply; zero: none
	// CPS is a licence's rate: so many requests a second are begun, of all connections
	// together, evenly spaced. 0: no limit.
	CPS float64
	// Queue is how many requests wait for the licence; while there are more, the connections
	// that sent them are not read. 0: 1000.
	Queue  int
	Stalls []Stall // during which nothing is answered
	Reply  Reply   // zero: the request's payload

	Faults Faults
	LateBy time.Duration // how much later a late reply is; 0: 5.5 s
	// Seed is that of everything random. What a connection draws depends on the seed, on its
	// number, and on the requests that it had before.
	Seed uint64

	InFlight int // requests of a connection that have no reply yet; at more it is not read; 0: 16384
	MaxConns int // accepted at once; more are closed; 0: 10000
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Queue, DefaultQueue}, {&c.InFlight, DefaultInFlight}, {&c.MaxConns, DefaultMaxConns}, {&c.Dials, 1}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.LateBy == 0 {
		c.LateBy = DefaultLateBy
	}
	return c
}

// validate returns an error that names the field, its value and its range.
func (c *Config) validate() error {
	switch {
	case c.Codec == nil:
		return errors.New("no framing")
	case len(c.Codec.Spec().Message.Key) > 0:
		return errors.New("keys in fields of ISO 8583 messages: the stub knows no fields; without an ID (--id none) it returns the whole message, its fields too")
	case (c.Listen == nil) == (c.Dial == nil):
		return errors.New("either a way to listen or one to dial is needed, and not both")
	case c.Dials < 1 || c.Dials > connsMax:
		return fmt.Errorf("connections %d: must be 1 to %d", c.Dials, connsMax)
	case !(c.CPS >= 0 && c.CPS <= rateMax):
		return fmt.Errorf("cps %g: must be 0 to %.0f", c.CPS, rateMax)
	case c.CPS > 0 && c.CPS < 1/longest.Seconds():
		return fmt.Errorf("cps %g: must be one an hour or more", c.CPS)
	case c.Queue < 1 || c.Queue > queueMax:
		return fmt.Errorf("cps queue %d: must be 1 to %d", c.Queue, queueMax)
	case c.LateBy < 0 || c.LateBy > longest:
		return fmt.Errorf("late by %v: must be above 0, at most %v", c.LateBy, longest)
	case c.InFlight < 1 || c.InFlight > inFlightMax:
		return fmt.Errorf("in flight %d: must be 1 to %d", c.InFlight, inFlightMax)
	case c.MaxConns < 1 || c.MaxConns > connsMax:
		return fmt.Errorf("connections %d: must be 1 to %d", c.MaxConns, connsMax)
	case len(c.Stalls) > stallsMax:
		return fmt.Errorf("%d stalls: must be at most %d", len(c.Stalls), stallsMax)
	}
	return nil
}

// redial bounds the pauses between dials that fail.
var redial = backoff.Policy{Min: 20 * time.Millisecond, Max: time.Second}

// Server is a stub. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	codec   *wire.Codec // with which requests are read and replies written
	shape   shape       // of replies
	broken  [][]byte    // what Oversize and Garbage begin with, by Fault
	licence *licence    // nil: there is none
	counts  counts
	shards  [shardCount]shard

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  sync.WaitGroup
	number atomic.Uint64 // of the next connection
	begun  time.Time     // set by Start
	// Set by Start, nil if it dials.
	listener net.Listener

	mu      sync.Mutex // guards what follows
	started bool
	closed  bool
	open    map[*conn]bool
}

// New returns a stub that Start starts. Its errors name a field, its value and the range.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("stub: %w", err)
	}
	s := &Server{cfg: cfg, open: make(map[*conn]bool)}
	var err error
	if s.codec, err = reversed(cfg.Codec); err == nil {
		s.shape, err = newShape(cfg.Codec, s.codec)
	}
	if err == nil {
		err = cfg.Reply.check(s.shape)
	}
	if err == nil {
		s.broken, err = cfg.Faults.prepare(cfg.Codec, s.shape)
	}
	if err != nil {
		return nil, fmt.Errorf("stub: %w", err)
	}
	if cfg.CPS > 0 {
		s.licence = newLicence(cfg.CPS, cfg.Queue)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// reversed returns the codec with which a backend reads the requests of a client's, and
// writes its replies. The mark of replies stays: what has it is no request.
func reversed(c *wire.Codec) (*wire.Codec, error) {
	spec := c.Spec()
	spec.ReplyID, spec.ID.Offset = spec.ID.Offset, spec.ReplyID
	spec.MaxFrame = c.MaxFrame()
	return wire.New(spec)
}

// Start begins to take connections, or to make them. It is called once; after an error, which
// is that of Listen, the stub is closed.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return errors.New("stub: was started or closed before")
	}
	s.started = true
	s.begun = time.Now()
	if s.cfg.Listen != nil {
		l, err := s.cfg.Listen()
		if err != nil {
			s.closed = true
			s.cancel()
			return err
		}
		s.listener = l
		s.ended.Go(s.accept)
		return nil
	}
	for range s.cfg.Dials {
		s.ended.Go(s.dial)
	}
	return nil
}

// Addr is where the stub listens, nil before Start and if it dials.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Close ends all connections, and returns when nothing of the stub runs any more. Requests
// that had no reply by then are unanswered.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for c := range s.open {
		c.stop()
	}
	listener := s.listener
	s.mu.Unlock()
	var err error
	if listener != nil {
		if err = listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	s.ended.Wait()
	return err
}

// accept takes connections until the end.
func (s *Server) accept() {
	for failures := 0; s.pause(redial.Delay(failures)); {
		raw, err := s.listener.Accept()
		if err != nil {
			failures++
			continue
		}
		failures = 0
		if c := s.admit(raw); c != nil {
			s.counts.accepted.Add(1)
			s.ended.Go(c.run)
		} else {
			s.counts.refused.Add(1)
			_ = raw.Close()
		}
	}
}

// dial keeps one connection up until the end.
func (s *Server) dial() {
	for failures := 0; s.pause(redial.Delay(failures)); {
		raw, err := s.cfg.Dial(s.ctx)
		if err != nil {
			failures++
			if s.ctx.Err() == nil {
				s.counts.dialFailures.Add(1)
			}
			continue
		}
		c := s.admit(raw)
		if c == nil {
			_ = raw.Close()
			return // it is over: there are never more than Dials
		}
		s.counts.dialled.Add(1)
		c.run()
		if failures++; c.requests > 0 {
			failures = 0
		}
	}
}

// admit makes a connection known, nil if there is no room for it or the stub is closed.
func (s *Server) admit(raw net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.listener != nil && len(s.open) >= s.cfg.MaxConns {
		return nil
	}
	c := newConn(s, raw, s.number.Add(1)-1)
	s.open[c] = true
	return c
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// pause waits, and reports false if the stub has ended.
func (s *Server) pause(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
