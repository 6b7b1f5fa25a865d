package health

import "time"

// Status is a server as its judge sees it.
type Status struct {
	Name  string
	State State
	Since time.Time // when the state began
	Share int       // percent
	// Failures is how many failures in a row there were, of calls or of reaching it, whichever
	// is more.
	Failures int
	// Ejections is how many there were since it last stood long enough.
	Ejections int
	// LastError is the last one reported with an outcome, also if it has answered since.
	LastError error
	// LastProbe is when the last probe ended, zero if none has; ProbeTime is how long the last
	// one took that was passed.
	LastProbe time.Time
	ProbeTime time.Duration
	// ProbesPassed and ProbesFailed count probes.
	ProbesPassed, ProbesFailed uint64
}

// Status returns what is known of the server.
func (s *Server) Status() Status {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	return Status{
		Name: s.name, State: s.m.state, Since: s.m.since, Share: s.m.share(),
		Failures: max(s.m.failed, s.m.unreached), Ejections: s.m.ejections, LastError: s.lastErr,
		LastProbe: s.last, ProbeTime: s.took, ProbesPassed: s.passed, ProbesFailed: s.missed,
	}
}
