package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// Heartbeat is a request that every connection makes from time to time, from when it is up
// until the drain. It takes no slot of the window and is in none of the figures but its
// own. A connection without the reply that Kind expects within the timeout is ended.
type Heartbeat struct {
	Every time.Duration // 10 ms to 1 h, to within 75 ms; 0: there is none
	// IdleOnly says that requests of the mix put it off.
	IdleOnly bool
	Kind     request.Kind // its weight is not used
}

const heartbeatMin = 10 * time.Millisecond

// Heartbeats are what became of them.
type Heartbeats struct {
	Sent     uint64
	Answered uint64
	Missed   uint64                  // no answer in time, or not the one expected
	Service  *hdrhistogram.Histogram // nanoseconds, of those answered
}

// Errors that end a connection.
var (
	errNoAnswer    = errors.New("no answer to a heartbeat")
	errWrongAnswer = errors.New("the answer to a heartbeat is not what was expected")
)

// beats is what a shard records of heartbeats.
type beats struct {
	sent, answered, missed uint64
	service                latency
}

func (b *beats) addCounts(from *beats) {
	b.sent += from.sent
	b.answered += from.answered
	b.missed += from.missed
}

func (b *beats) merge(from *beats) {
	b.addCounts(from)
	b.service.merge(from.service)
}

func (c *Config) validateHeartbeat() error {
	h := &c.Heartbeat
	if h.Every == 0 {
		return nil
	}
	if h.Every < heartbeatMin || h.Every > timeMax {
		return fmt.Errorf("heartbeat every %v: must be %v to %v", h.Every, heartbeatMin, timeMax)
	}
	if err := c.Codec.CheckWindow(c.InFlight + 1); err != nil {
		return fmt.Errorf("%w, less one for the heartbeat", err)
	}
	return h.Kind.Check(c.Codec)
}

// window is how many requests of a connection may be open.
func (c *Config) window() int {
	if c.Heartbeat.Every > 0 {
		return c.InFlight + 1
	}
	return c.InFlight
}

// heart is a connection's side of the heartbeats, guarded by its mutex. Its times are of
// uptime, which goes on when the first request is due.
type heart struct {
	last  time.Duration // when the last one was sent, or put off
	seen  int64         // requests given until then
	since time.Duration // when the one under way was sent
	open  bool          // there is one under way
}

// uptime is how long there has been the run.
func (r *run) uptime() time.Duration { return time.Since(r.base) }

// beat sends a heartbeat if it is due, and ends a connection that has not answered one. It
// reports whether there is something to write.
func (s *session) beat() bool {
	r := s.run
	if r.cfg.Heartbeat.Every == 0 || s.over {
		return false
	}
	now := r.uptime()
	h := &s.heart
	switch {
	case h.open:
		if now-h.since >= r.cfg.Timeout {
			s.missed(errNoAnswer)
		}
		return false
	case r.cfg.Heartbeat.IdleOnly && s.given != h.seen:
		h.last, h.seen = now, s.given
	}
	if now-h.last < r.cfg.Heartbeat.Every || s.retiring || r.draining() || r.ordered && s.table.GivenUp() > 0 {
		return false
	}
	id, q, ok := s.table.Issue()
	if !ok {
		return false // all IDs are in use
	}
	*q = inflight{beat: true, number: r.beats.Add(1) - 1, sent: r.now()}
	s.scratch = r.cfg.Heartbeat.Kind.Source.Append(s.scratch[:0], q.number)
	s.frame(id, q)
	h.last, h.since, h.open = now, now, true
	s.shard.mu.Lock()
	s.shard.beats.sent++
	s.shard.mu.Unlock()
	return true
}

// missed ends a connection whose heartbeat was not answered as it should be.
func (s *session) missed(why error) {
	s.shard.mu.Lock()
	s.shard.beats.missed++
	s.shard.mu.Unlock()
	s.fail(why)
}

// beaten takes the reply to a heartbeat. The shard's lock is held.
func (s *session) beaten(q *inflight, f *wire.Frame, now time.Duration) {
	s.heart.open = false
	if s.run.reject(&s.run.cfg.Heartbeat.Kind, f.Bytes, q.number) != nil {
		s.shard.beats.missed++
		s.fail(errWrongAnswer)
		return
	}
	s.shard.beats.answered++
	s.shard.beats.service.record(now - q.sent)
}

// openRequests is how many requests of the mix are open.
func (s *session) openRequests() int {
	if s.heart.open {
		return s.table.Open() - 1
	}
	return s.table.Open()
}

// answersMax bounds the bytes of answers that wait for somebody to begin to write them, but
// for the last one.
const answersMax = 1 << 20

// answer makes the answer to a request of the peer's and appends it to dst; false if no
// rule is for it, or what the rule wants of it is not in it.
func (c *Config) answer(dst []byte, f *wire.Frame, n uint64, scratch []byte) (_ []byte, ok bool, _ []byte) {
	for i := range c.Answers {
		if a := &c.Answers[i]; a.Matches(f.Bytes) {
			return a.Append(dst, c.Codec, f.Bytes, n, scratch)
		}
	}
	return dst, false, scratch
}

// Answer makes the answer to request n of a peer's, nil if there is none.
func (c *Config) Answer(f *wire.Frame, n uint64) []byte {
	b, _, _ := c.answer(nil, f, n, nil)
	return b
}

// peer takes a request of the peer's. The shard's lock is held.
func (s *session) peer(f *wire.Frame) {
	replies := &s.shard.replies
	n := replies.PeerRequests
	replies.PeerRequests++
	if s.out.answers >= answersMax || s.over {
		return
	}
	before := len(s.out.bytes)
	var ok bool
	if s.out.bytes, ok, s.scratch = s.run.cfg.answer(s.out.bytes, f, n, s.scratch); ok {
		s.out.answers += len(s.out.bytes) - before
		replies.PeerAnswered++
	}
}
