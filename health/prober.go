package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// probing is what a group knows of a server's probes. Guarded by the group's lock.
type probing struct {
	gone    bool      // removed
	due     time.Time // the next probe; zero: none
	began   time.Time // the one under way; zero: none
	overdue int       // how often that one has lasted for Timeout, and was counted
	doubted bool      // probe even if it has answered

	last           time.Time
	took           time.Duration
	passed, missed uint64
}

// errOverdue is what a probe has met that did not return in time.
var errOverdue = fmt.Errorf("health: no answer to the probe within Timeout: %w", context.DeadlineExceeded)

// Run does what time does and probes, one probe at a time for each server, until ctx ends. Then
// it waits for the probes under way, for as long as Timeout.
func (g *Group) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer func() {
		cancel()
		done := make(chan struct{})
		go func() { probes.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(g.cfg.Timeout):
		}
	}()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.kick:
		case <-alarm.C:
		}
		now := time.Now()
		next := g.Advance(now)
		due, again := g.dueProbes(now)
		for _, s := range due {
			probes.Go(func() { g.examine(ctx, s, now) })
		}
		if next = earlier(next, again); next.IsZero() {
			alarm.Stop()
		} else {
			alarm.Reset(time.Until(next))
		}
	}
}

// dueProbes returns the servers to be probed now, marked so, and when to look again. Probes
// that have lasted too long are counted.
func (g *Group) dueProbes(now time.Time) (due []*Server, again time.Time) {
	changed := false
	g.mu.Lock()
	for _, s := range g.servers {
		if !s.began.IsZero() {
			// One that does not return counts again and again; there is no other meanwhile.
			end := s.began.Add(g.cfg.Timeout * time.Duration(s.overdue+1))
			if now.Before(end) {
				again = earlier(again, end)
				continue
			}
			again = earlier(again, end.Add(g.cfg.Timeout))
			s.overdue++
			changed = g.concludeLocked(s, now, errOverdue) || changed
			continue
		}
		if s.probe == nil || s.due.IsZero() {
			continue
		}
		if !now.Before(s.due) {
			if heard := s.heard.Swap(false); !heard || s.doubted || !s.m.state.takes() {
				s.began, s.overdue, s.doubted, s.due = now, 0, false, time.Time{}
				again = earlier(again, now.Add(g.cfg.Timeout))
				due = append(due, s)
				continue
			}
			s.due = g.cfg.nextProbe(now)
		}
		again = earlier(again, s.due)
	}
	g.mu.Unlock()
	g.tell(changed)
	return due, again
}

// examine runs a probe. One that panics or ends its goroutine has failed.
func (g *Group) examine(ctx context.Context, s *Server, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	err := errors.New("health: the probe ended its goroutine")
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("health: the probe panicked: %v", p)
		}
		now := time.Now()
		g.mu.Lock()
		changed := false
		if s.overdue == 0 && (err == nil || ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
			changed = g.concludeLocked(s, now, err)
		}
		s.began, s.overdue = time.Time{}, 0
		s.schedule(&g.cfg, now)
		g.wake()
		g.mu.Unlock()
		g.tell(changed)
	}()
	err = s.probe(ctx)
}

// concludeLocked takes the outcome of the probe that is under way.
func (g *Group) concludeLocked(s *Server, now time.Time, err error) (changed bool) {
	s.last = now
	switch {
	case errors.Is(err, ErrNoVerdict):
		return false
	case err == nil:
		s.passed++
		s.took = now.Sub(s.began)
		return g.hearLocked(s, Probed, s.began, now, nil)
	}
	s.missed++
	// Each probe is news of its own: its beginning does not matter.
	return g.hearLocked(s, Unreachable, time.Time{}, now, err)
}

// schedule sets when the next probe is due, after one has ended.
func (s *Server) schedule(c *Config, now time.Time) {
	switch {
	case s.probe == nil:
	case s.m.state == Down || s.m.unreached > 0:
		s.due, s.doubted = s.m.notYet, true
		if !s.due.After(now) { // the pause was for the last verdict: there was none now
			s.due = now.Add(c.BackoffBase)
		}
	default:
		s.due = c.nextProbe(now)
	}
}

// hasten brings the next probe forward after an outcome that asks for one, and reports
// whether it has.
func (s *Server) hasten(c *Config, o Outcome, now time.Time) bool {
	at := time.Time{}
	switch {
	case s.probe == nil || !s.began.IsZero():
	case o == Unreachable || s.m.state == Down:
		at = s.m.notYet
	case o == Late && c.Interval >= 0:
		at = now
		if next := s.last.Add(c.BackoffMax); at.Before(next) {
			at = next // many give up at a time
		}
	}
	if at.IsZero() || !s.due.IsZero() && !at.Before(s.due) {
		return false
	}
	s.due, s.doubted = at, true
	return true
}

// nextProbe returns when a server that is well is probed again, zero for never.
func (c *Config) nextProbe(now time.Time) time.Time {
	if c.Interval < 0 {
		return time.Time{}
	}
	return now.Add(c.Interval - c.Interval/10 + rand.N(c.Interval/5+1))
}

// firstProbe returns when a server that was just added is probed: soon, but not for all at
// once.
func (c *Config) firstProbe(now time.Time) time.Time {
	if c.Interval < 0 {
		return time.Time{}
	}
	return now.Add(rand.N(c.Interval/10 + 1))
}
