package page

import (
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// pointsMax bounds what Points keeps: half an hour by the second, ten hours by the third of a
// minute. When it is reached two neighbours become one.
const pointsMax = 2048

// Points collects what a run tells by the second. The zero value is ready.
type Points struct {
	all    []point
	every  int // seconds that a point stands for, but the last
	joined int // seconds in the last point
	last   load.Snapshot
}

// A point is what happened since the one before.
type point struct {
	at, took               time.Duration
	sent, replied, failed  uint64
	timeouts, lost, wrong  uint64 // of failed, but that replies too many are wrong as well
	p50, p90, p99, highest int64  // of the response in nanoseconds; of joined seconds the worst
	inFlight, conns        int
}

// Add takes a second. Its snapshots come one after another.
func (p *Points) Add(s load.Snapshot) {
	now := point{at: s.At, took: s.At - p.last.At, inFlight: s.InFlight, conns: s.Conns}
	c, before := &s.Counts, &p.last.Counts
	now.sent, now.replied = since(before.Sent, c.Sent), since(before.Replied, c.Replied)
	now.timeouts, now.lost = since(before.Timeouts, c.Timeouts), since(before.ConnLost, c.ConnLost)
	now.wrong = since(wrong(&p.last), wrong(&s))
	now.failed = now.timeouts + now.lost + now.wrong
	if h := s.Response; h != nil && h.TotalCount() > 0 {
		at := func(q float64) int64 { return quantile.At(h, q) }
		now.p50, now.p90, now.p99, now.highest = at(50), at(90), at(99), h.Max()
	}
	p.last = s
	p.last.Response = nil // it is the run's
	p.put(now)
}

// wrong counts replies that are no success, and those that belong to no request.
func wrong(s *load.Snapshot) uint64 {
	return s.Counts.Replied - s.Counts.OK() + s.Replies.Duplicate + s.Replies.UnknownID
}

// since is the difference of two counts. Counts of what is under way may go back by a few.
func since(before, now uint64) uint64 { return now - min(before, now) }

func (p *Points) put(now point) {
	p.every = max(p.every, 1)
	if n := len(p.all); n > 0 && p.joined < p.every {
		p.all[n-1].join(now)
		p.joined++
		return
	}
	if len(p.all) == pointsMax {
		for i := range pointsMax / 2 {
			p.all[i] = p.all[2*i]
			p.all[i].join(p.all[2*i+1])
		}
		p.all = p.all[:pointsMax/2]
		p.every *= 2
	}
	p.all = append(p.all, now)
	p.joined = 1
}

// join adds what came right after.
func (p *point) join(next point) {
	p.at, p.inFlight, p.conns = next.at, next.inFlight, next.conns
	p.took += next.took
	p.sent, p.replied, p.failed = p.sent+next.sent, p.replied+next.replied, p.failed+next.failed
	p.timeouts, p.lost, p.wrong = p.timeouts+next.timeouts, p.lost+next.lost, p.wrong+next.wrong
	p.p50, p.p90 = max(p.p50, next.p50), max(p.p90, next.p90)
	p.p99, p.highest = max(p.p99, next.p99), max(p.highest, next.highest)
}

// drawn returns at most so many points, of neighbours joined.
func (p *Points) drawn(most int) []point {
	each := (len(p.all) + most - 1) / most
	var out []point
	for i, at := range p.all {
		if i%max(each, 1) == 0 {
			out = append(out, at)
		} else {
			out[len(out)-1].join(at)
		}
	}
	return out
}
