package load

import (
	"time"

	"github.com/ringwire/ringwire/internal/pace"
)

// pace hands requests to connections when they are due. It never waits for one of them.
func (r *run) pace() {
	for {
		req, ok := r.pacer.Next()
		if !ok {
			return
		}
		now := r.now()
		for n := 0; ok; n++ {
			r.place(req, now)
			if n == batchMax-1 {
				break
			}
			if req, ok = r.pacer.Poll(); ok {
				now = r.now()
			}
		}
		for i, s := range r.dirty {
			s.dirty = false
			s.flush()
			r.dirty[i] = nil
		}
		r.dirty = r.dirty[:0]
	}
}

// place gives a request to a connection, or puts it into the backlog.
func (r *run) place(req pace.Request, now time.Duration) {
	d := due{n: uint64(req.Index), intended: req.Intended, phase: r.phase(req.Intended)}
	if r.backlog.len.Load() == 0 && r.give(d, now) {
		return
	}
	d.waited, d.lag = true, now-d.intended
	if !r.backlog.push(d) {
		r.unsent[d.phase].Add(1)
		r.failed("a request that is unsent: the backlog is full")
	}
	// A slot may have become free since, and the session that freed it have found no
	// backlog.
	for r.free.Load() > 0 {
		d, ok := r.backlog.pop()
		if !ok {
			return
		}
		if !r.give(d, now) {
			r.backlog.putBack(d)
			return
		}
	}
}

// give gives a request to the next connection that has a free slot.
func (r *run) give(d due, now time.Duration) bool {
	if r.free.Load() <= 0 {
		return false
	}
	for range r.links {
		l := r.links[r.turn]
		if r.turn++; r.turn == len(r.links) {
			r.turn = 0
		}
		if s := l.current.Load(); s != nil && s.offer(d, now) {
			if !s.dirty {
				s.dirty = true
				r.dirty = append(r.dirty, s)
			}
			return true
		}
	}
	return false
}

// phase is that of a time of the open loop: 0 is the warm-up, then the stages.
func (r *run) phase(intended time.Duration) uint8 {
	stage := r.stages.Of(intended)
	if intended < r.cfg.Warmup {
		return 0
	}
	return uint8(1 + stage)
}

// take returns the next requests of the closed loop, at most n: the first one, and how many
// of consecutive numbers there are. They are due now. There are none when the run has sent
// all it is to send.
func (r *run) take(n int, now time.Duration) (first due, _ int) {
	if r.state.Load() != sending || r.cfg.Duration > 0 && now >= r.cfg.Duration || r.taken.Load() >= r.limit {
		return due{}, 0
	}
	at := r.taken.Add(int64(n)) - int64(n)
	now = max(now, 0) // below 0 if restart set the clock back while the caller read it
	first = due{n: uint64(at), intended: now, phase: 1}
	if now < r.cfg.Warmup {
		first.phase = warmup
	}
	return first, int(max(min(int64(n), r.limit-at), 0))
}
