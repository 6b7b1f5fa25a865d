package load

import (
	"errors"
	"time"

	"github.com/ringwire/ringwire/load/wire"
)

// errTombstone ends a connection whose later replies would go to the wrong requests.
var errTombstone = errors.New("the reply to a request that timed out has not come, and without IDs the next one could be its")

// read takes replies until the connection ends, and returns why.
func (s *session) read() error {
	if n := len(s.dec.Rest()); n > 0 { // it came behind the reply that opened the session
		if bad := s.received(n, s.run.now()); bad != nil {
			return bad
		}
	}
	for {
		n, err := s.conn.Read(s.dec.Room())
		now := s.run.now()
		if n > 0 {
			s.dec.Filled(n)
			if bad := s.received(n, now); bad != nil {
				return bad
			}
		}
		if err != nil {
			return err
		}
	}
}

// received takes the whole frames that have come, of which n bytes were read now.
func (s *session) received(n int, now time.Duration) (err error) {
	s.mu.Lock()
	s.shard.mu.Lock()
	s.shard.bytesIn += uint64(n)
	if s.run.state.Load() >= sending { // before, the clock has another zero
		s.shard.last = now
	}
	for {
		var f *wire.Frame
		if f, err = s.dec.Next(); f == nil {
			break
		}
		s.reply(f, now)
	}
	s.shard.mu.Unlock()
	s.refill(now)
	s.mu.Unlock()
	s.flush()
	return err
}

// reply takes one frame of the peer's.
func (s *session) reply(f *wire.Frame, now time.Duration) {
	replies := &s.shard.replies
	if f.Request {
		s.peer(f)
		return
	}
	if !s.run.ordered && (!f.IDValid || !s.asked(f)) {
		replies.UnknownID++
		s.dump("unknown_id", nil, f, now)
		return
	}
	s.replies++
	switch q, v := s.table.Answer(f.ID); v {
	case wire.Answered:
		if q.beat {
			s.beaten(q, f, now)
			return
		}
		s.answered(q, f, now)
	case wire.Late:
		s.shard.count(q, func(c *Counts) { c.Late++ })
		s.dump("late", q, f, now)
		if q.phase != warmup {
			s.shard.measured.late.record(now - q.intended)
			s.shard.interval.cameLate(now - q.intended)
		}
		if !q.written { // a peer that guesses IDs
			s.unwritten--
		}
	case wire.Duplicate:
		replies.Duplicate++
		s.dump("duplicate", nil, f, now)
	default:
		replies.UnknownID++
		s.dump("unknown_id", nil, f, now)
	}
}

// asked reports whether the other fields of a message's key are those of the request with
// its ID.
func (s *session) asked(f *wire.Frame) bool {
	q, _ := s.table.Find(f.ID)
	return q == nil || q.key == f.Key // nil: Answer tells
}

// answered records the reply to a request, and sends the step behind it if there is one.
func (s *session) answered(q *inflight, f *wire.Frame, now time.Duration) {
	response := s.response(q, now)
	fault := s.fault(q, f, response)
	last := int(q.step) == len(s.run.cfg.Mix.Kinds[q.kind].Then)
	if fault == nil && (!last || len(s.kind(q).Extract) > 0) && !s.extract(q, f) {
		fault = truncated
	}
	s.stepped(q, fault, now)
	if fault != nil {
		s.dump(fault.name(), q, f, now)
	}
	if fault == nil && !last {
		s.advance(*q, now)
		return
	}
	sent, _ := s.first(q)
	service := now - sent
	s.waited(q)
	s.stayed(q, now, fault == nil)
	s.flows.release(q)
	s.shard.each(q.phase, q.kind, func(a *series) {
		a.counts.Replied++
		if fault != nil {
			*fault(&a.counts)++
			return
		}
		a.response.record(response)
		a.service.record(service)
	})
	if fault != nil {
		s.run.failed("a reply that is no success")
		return
	}
	s.shard.interval.succeeded(q, response, service)
}

// response is how long a request has taken by now.
func (s *session) response(q *inflight, now time.Duration) time.Duration {
	d := now - q.intended
	if s.run.cfg.LeaveOutLag {
		_, lag := s.first(q)
		d -= lag // which is in it
	}
	return d
}

// stepped records the reply to one of several steps.
func (s *session) stepped(q *inflight, fault fault, now time.Duration) {
	step := s.shard.step(q)
	if step == nil {
		return
	}
	step.counts.Replied++
	if fault != nil {
		*fault(&step.counts)++
		return
	}
	step.service.record(now - q.sent)
}

// waited records what a request waited before it was sent.
func (s *session) waited(q *inflight) {
	sent, lag := s.first(q)
	s.shard.lagMost = max(s.shard.lagMost, lag)
	if q.phase != warmup {
		s.shard.measured.queue.record(sent - q.intended)
		s.shard.measured.lag.record(lag)
		s.shard.interval.waited(q, sent, lag)
	}
}

// A fault is the count that a reply belongs to if it is no success.
type fault func(*Counts) *uint64

// name is that of the count.
func (f fault) name() string {
	var c Counts
	*f(&c) = 1
	switch {
	case c.Refused > 0:
		return "refused"
	case c.Mismatch > 0:
		return "mismatch"
	}
	return "truncated"
}

func refused(c *Counts) *uint64    { return &c.Refused }
func mismatched(c *Counts) *uint64 { return &c.Mismatch }
func truncated(c *Counts) *uint64  { return &c.Truncated }

// fault judges a reply, nil if it is a success.
func (s *session) fault(q *inflight, f *wire.Frame, response time.Duration) fault {
	k := s.kind(q)
	if k.Status.Len > 0 {
		status, ok := k.Status.Of(f.Bytes)
		if status == nil {
			return truncated
		}
		if q.phase != warmup {
			c := s.shard.measured.code(status, ok)
			c.count++
			c.response.record(response)
		}
		if !ok {
			return refused
		}
	}
	var holds bool
	if holds, s.scratch = k.Expect.Holds(s.run.cfg.Codec, f.Bytes, k.Source, q.number, s.from(q), s.scratch); !holds {
		return mismatched
	}
	return nil
}

// expire gives up what has waited for its reply for too long, and ends or retires a
// connection that this has made useless. It returns how many requests were in flight.
func (s *session) expire(now time.Duration) (open int) {
	s.mu.Lock()
	if s.ended { // since the clock has looked which connections there are
		s.mu.Unlock()
		return 0
	}
	open = s.openRequests()
	gaveUp := s.giveUp(now)
	beat := s.beat()
	if !gaveUp && !s.retiring && !beat {
		s.mu.Unlock()
		return open // as nearly always, and there may be many connections
	}
	s.refill(now)
	s.mu.Unlock()
	s.flush()
	return open
}

// giveUp is expire under the lock. It reports whether slots may have become free.
func (s *session) giveUp(now time.Duration) (gaveUp bool) {
	cfg := &s.run.cfg
	// What is younger than a heartbeat has its time after that, and the connection has not.
	if q := s.table.Oldest(); q != nil && !q.beat && now-q.given >= cfg.Timeout {
		gaveUp = true
		s.shard.mu.Lock()
		for ; q != nil && !q.beat && now-q.given >= cfg.Timeout; q = s.table.Oldest() {
			s.timedOut(q, now)
		}
		s.shard.mu.Unlock()
	}
	switch q := s.table.OldestGivenUp(); {
	case s.run.ordered && q != nil && now-q.given >= 2*cfg.Timeout && !s.run.draining():
		s.fail(errTombstone)
	case s.table.Worn(), cfg.ConnLifetime > 0 && time.Since(s.began) >= cfg.ConnLifetime:
		s.retiring = true
	}
	return gaveUp
}

func (s *session) timedOut(q *inflight, now time.Duration) {
	s.waited(q)
	s.stayed(q, now, false)
	s.dump("timeout", q, nil, now)
	s.shard.count(q, func(c *Counts) { c.Timeouts++ })
	age := s.response(q, now)
	s.shard.each(q.phase, q.kind, func(a *series) { a.response.record(age) })
	s.shard.interval.timedOut(q, age)
	s.flows.release(q)
	if !q.written {
		s.unwritten++
	}
	s.table.GiveUpOldest()
	s.run.failed("a request that timed out")
}

// end records what the connection leaves without a reply, and says whether we ended it.
func (s *session) end(why error) (ours bool, _ error) {
	_ = s.conn.Close()
	close(s.done)
	stopped := s.run.stopped()
	s.mu.Lock()
	defer s.mu.Unlock()
	ours = stopped || s.retiring && s.openRequests() == 0 && s.why != errNoAnswer && s.why != errWrongAnswer
	if s.why != nil {
		why = s.why
	}
	s.over = true
	s.tell()
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.addSent(s.shard.each)
	s.sent, s.ended = nil, true
	now := s.run.now()
	s.table.Each(func(q *inflight, isOpen bool) {
		if q.beat {
			return
		}
		if isOpen {
			s.stayed(q, now, false)
		}
		if isOpen && !stopped {
			s.dump("conn_lost", q, nil, now)
		}
		s.shard.count(q, func(c *Counts) {
			switch {
			case isOpen && stopped:
				c.Abandoned++
			case isOpen:
				c.ConnLost++
			case !ours: // else it is lost: its reply has had its time
				c.Cut++
			}
		})
	})
	return ours, why
}

// addSent adds what was sent to the series that each calls f for.
func (s *session) addSent(each func(phase, kind uint8, f func(*series))) {
	kinds := len(s.run.cfg.Mix.Kinds)
	for i, n := range s.sent {
		if n > 0 {
			each(uint8(i/kinds), uint8(i%kinds), func(a *series) { a.counts.Sent += n })
		}
	}
}

// waiting is how many requests have no reply, and how many of those are not given up.
func (s *session) waiting() (all, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open = s.openRequests()
	return open + s.table.GivenUp(), open
}
