package health

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Group judges servers that stand in for each other. Make it with New. All methods may be
// called by any number of goroutines.
type Group struct {
	cfg     Config
	waiting atomic.Int32  // servers on trial
	kick    chan struct{} // has Run look again

	mu      sync.Mutex // guards what follows and the machines; nothing is called under it
	servers []*Server
}

// Server is the judge of one server. Its methods may be called by any number of goroutines.
type Server struct {
	g     *Group
	name  string
	probe Probe

	state atomic.Uint32
	share atomic.Int32
	calm  atomic.Bool // an answer changes nothing
	heard atomic.Bool // it has answered since it was last looked at for a probe

	// Guarded by the group's lock.
	m       machine
	conns   int // connections, see AddConnections
	lastErr error
	probing
}

// New returns a Group without servers.
func New(cfg Config) (*Group, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Group{cfg: cfg, kick: make(chan struct{}, 1)}, nil
}

// Add adds a server, which is Up until something else is known. probe, if not nil, is called
// by Run; without one, a server that is Down is on Trial when its pause is over.
func (g *Group) Add(name string, probe Probe) (*Server, error) {
	if name == "" {
		return nil, errors.New("health: name is empty; it has to tell the server from the others")
	}
	now := time.Now()
	s := &Server{g: g, name: name, probe: probe}
	s.m.since = now
	s.due = g.cfg.firstProbe(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.servers, func(o *Server) bool { return o.name == name }) {
		return nil, fmt.Errorf("health: name %q is there already", name)
	}
	g.servers = append(g.servers, s)
	s.publish()
	g.wake()
	return s, nil
}

// Remove takes the server out. What is reported of it afterwards has no effect. A probe under
// way goes on until it ends.
func (g *Group) Remove(s *Server) error {
	g.mu.Lock()
	i := slices.Index(g.servers, s)
	if i < 0 {
		g.mu.Unlock()
		return errors.New("health: server is not in this group, or was removed already")
	}
	g.servers = slices.Delete(g.servers, i, i+1)
	if s.m.state == Trial {
		g.waiting.Add(-1)
	}
	s.gone = true
	changed := g.coverLocked(time.Now())
	g.mu.Unlock()
	g.tell(changed)
	return nil
}

// Advance does what time does: ejections end, shares grow. It returns when it wants to be
// called again, zero if only an outcome can change something. Run calls it; a program that
// does not use Run has to, then and after each OnChange.
func (g *Group) Advance(now time.Time) (next time.Time) {
	changed := false
	g.mu.Lock()
	for _, s := range g.servers {
		changed = g.changeLocked(s, func(m *machine) { m.pass(&g.cfg, now, s.probe != nil) }) || changed
		next = earlier(next, s.m.next(&g.cfg, s.probe != nil))
	}
	changed = g.coverLocked(now) || changed
	g.mu.Unlock()
	g.tell(changed)
	return next
}

// Trials returns how many servers are on Trial; for most of the time none.
func (g *Group) Trials() int { return int(g.waiting.Load()) }

// Name returns the name given to Add.
func (s *Server) Name() string { return s.name }

// State returns what the server may take.
func (s *Server) State() State { return State(s.state.Load()) }

// Share returns which part of its calls the server takes, in percent: 100 when it is Up, less
// when it is Rising, else 0.
func (s *Server) Share() int { return int(s.share.Load()) }

// Report tells the judge what a call, or a probe of the caller's own, has met, and when that
// began, zero if that is not known: then it counts in any case. err is kept for Status; it
// may be nil. Of a server that answers, it costs two atomic loads and reads no clock.
func (s *Server) Report(o Outcome, began time.Time, err error) {
	if o == Answered {
		if !s.heard.Load() {
			s.heard.Store(true)
		}
		if s.calm.Load() {
			return
		}
	}
	g, now := s.g, time.Now()
	g.mu.Lock()
	changed := g.hearLocked(s, o, began, now, err)
	g.mu.Unlock()
	g.tell(changed)
}

// hearLocked takes an outcome and reports whether anything has changed.
func (g *Group) hearLocked(s *Server, o Outcome, began, now time.Time, err error) (changed bool) {
	if s.gone {
		return false
	}
	if err != nil {
		s.lastErr = err
	}
	out, counts := g.countLocked()
	mayEject := out+1 <= counts/2 && s.countsLocked()
	changed = g.changeLocked(s, func(m *machine) { m.hear(&g.cfg, o, began, now, mayEject) })
	if s.hasten(&g.cfg, o, now) || changed {
		g.wake()
	}
	return changed && g.coverLocked(now) || changed
}

// Try takes the right to make the one call at a time that a server on Trial gets. The
// goroutine that has it makes the call and reports its outcome, Late if there is none.
func (s *Server) Try() bool {
	if s.State() != Trial {
		return false
	}
	now := time.Now()
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	// A right whose holder never reported ends, or the server would stay out for ever.
	if s.gone || s.m.state != Trial || now.Sub(s.m.tried) < s.g.cfg.Timeout {
		return false
	}
	s.m.tried = now
	return true
}

// Retry returns before when no connection to the server should be tried again, zero if
// at any time.
func (s *Server) Retry() time.Time {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.m.unreached == 0 {
		return time.Time{}
	}
	return s.m.notYet
}

// AddConnections tells that there are n connections to the server more, or fewer if n is
// negative. It matters with Config.OnlyConnected.
func (s *Server) AddConnections(n int) {
	g := s.g
	g.mu.Lock()
	s.conns += n
	changed := g.coverLocked(time.Now())
	g.mu.Unlock()
	g.tell(changed)
}

// countsLocked reports whether the server is among those of which half may be out.
func (s *Server) countsLocked() bool {
	return s.m.state != Down && (s.conns > 0 || !s.g.cfg.OnlyConnected)
}

// outLocked reports whether it counts and is out.
func (s *Server) outLocked() bool {
	return s.countsLocked() && !s.m.state.takes()
}

// countLocked returns how many servers are out, of how many that count.
func (g *Group) countLocked() (out, counts int) {
	for _, s := range g.servers {
		if s.countsLocked() {
			counts++
		}
		if s.outLocked() {
			out++
		}
	}
	return out, counts
}

// coverLocked ends ejections, the longest first, while they are more than half.
func (g *Group) coverLocked(now time.Time) (changed bool) {
	for {
		out, counts := g.countLocked()
		if out <= counts/2 {
			return changed
		}
		var longest *Server
		for _, s := range g.servers {
			if s.outLocked() && (longest == nil || s.m.since.Before(longest.m.since)) {
				longest = s
			}
		}
		g.changeLocked(longest, func(m *machine) { m.rise(&g.cfg, now) })
		g.wake()
		changed = true
	}
}

// changeLocked has f change a machine, and publishes what came of it.
func (g *Group) changeLocked(s *Server, f func(*machine)) (changed bool) {
	state, share := s.m.state, s.m.share()
	f(&s.m)
	if (state == Trial) != (s.m.state == Trial) {
		if state == Trial {
			g.waiting.Add(-1)
		} else {
			g.waiting.Add(1)
		}
	}
	s.publish()
	return state != s.m.state || share != s.m.share()
}

// publish lets others see the machine.
func (s *Server) publish() {
	s.state.Store(uint32(s.m.state))
	s.share.Store(int32(s.m.share()))
	s.calm.Store(s.m.calm())
}

func (g *Group) tell(changed bool) {
	if changed && g.cfg.OnChange != nil {
		g.cfg.OnChange()
	}
}

// wake has Run look again.
func (g *Group) wake() {
	select {
	case g.kick <- struct{}{}:
	default: // it has not seen the last one yet
	}
}

// earlier returns the earlier time; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
