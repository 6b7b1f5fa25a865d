package health

import (
	"math/rand/v2"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
)

// State is what a server may take.
type State uint8

const (
	// Up: its share of the calls.
	Up State = iota
	// Rising: it has come back; a share that grows.
	Rising
	// Trial: one call at a time, to prove itself.
	Trial
	// Down: none; it cannot be reached, or fails its probes.
	Down
	// Ejected: none for a time; its calls fail.
	Ejected
)

func (s State) String() string {
	return [...]string{"up", "rising", "trial", "down", "ejected"}[s]
}

// takes reports whether servers in that state take calls in turn.
func (s State) takes() bool { return s == Up || s == Rising }

// Outcome is what a call or a probe has met at a server.
type Outcome uint8

const (
	// Answered: a call was answered.
	Answered Outcome = iota
	// Probed: a probe was passed. It shows that the server is there, not that it works for
	// calls.
	Probed
	// Failed: a call was answered by a failure that is the server's, or not answered in the time
	// that any server would need.
	Failed
	// Unreachable: no connection could be made, one was lost, or a probe failed.
	Unreachable
	// Late: a caller gave up. That says how patient it was; it counts as nothing.
	Late
)

func (o Outcome) String() string {
	return [...]string{"answered", "probed", "failed", "unreachable", "late"}[o]
}

// steps is in how many steps the share of a Rising server grows.
const steps = 10

// machine is the state of one server and what leads to the next one. It is pure: time comes
// in, nothing goes out.
type machine struct {
	state State
	since time.Time // the state's beginning
	step  int       // of a Rising server, 0 to steps-1

	failed    int       // calls in a row that failed
	unreached int       // times in a row that it was not reached
	reached   int       // times in a row that it was, since the state began
	counted   time.Time // when it was last found not to be reached

	// notYet is the end of the pause after it was not reached.
	notYet time.Time

	ejections int
	ejected   time.Duration // how long the last ejection lasts
	tried     time.Time     // when the call on trial began; zero: there is none
}

func (m *machine) enter(s State, now time.Time) {
	m.state, m.since, m.step, m.reached, m.tried = s, now, 0, 0, time.Time{}
	switch s {
	case Rising:
		m.failed, m.unreached = 0, 0
	case Trial:
		m.failed = 0
	}
}

// hear takes an outcome. began is when the call or probe did, zero if that is not known.
// mayEject allows an ejection.
func (m *machine) hear(c *Config, o Outcome, began, now time.Time, mayEject bool) {
	if m.state == Trial {
		m.tried = time.Time{}
	}
	// A connection is news when it ends, if the state is one that it may have brought about.
	any := m.state == Up || m.state == Rising && o == Unreachable
	if o == Late || !any && !began.IsZero() && began.Before(m.since) {
		return
	}
	switch o {
	case Answered:
		m.failed, m.unreached = 0, 0
		m.reached++
	case Probed:
		m.unreached = 0
		if m.state == Down {
			m.reached++
		}
	case Failed:
		m.failed++
		m.reached = 0
	case Unreachable:
		if !began.IsZero() && began.Before(m.counted) {
			return
		}
		m.unreached++
		m.reached = 0
		m.counted = now
		m.notYet = now.Add(c.pause().Delay(m.unreached))
	}
	m.judge(c, o, now, mayEject)
}

// judge draws the conclusion.
func (m *machine) judge(c *Config, o Outcome, now time.Time, mayEject bool) {
	switch m.state {
	case Up, Rising:
		switch {
		case m.unreached >= c.UnhealthyThreshold:
			m.enter(Down, now)
		case m.failed >= c.EjectionThreshold && mayEject && c.EjectionTime > 0:
			m.eject(c, now)
		}
	case Trial:
		switch {
		case o == Unreachable:
			m.enter(Down, now)
		case o == Failed && c.EjectionTime > 0:
			m.eject(c, now)
		case m.reached >= c.HealthyThreshold:
			m.rise(c, now)
		}
	case Down:
		if m.reached >= c.HealthyThreshold {
			m.rise(c, now)
		} else if m.reached > 0 {
			m.notYet = now.Add(c.pause().Delay(1))
		}
	case Ejected:
		if m.unreached >= c.UnhealthyThreshold {
			m.enter(Down, now)
		}
	}
}

// eject begins an ejection, twice as long as the last one unless the server has stood since
// then for as long as that was.
func (m *machine) eject(c *Config, now time.Time) {
	if m.state == Up && now.Sub(m.since) >= m.ejected {
		m.ejections = 0
	}
	m.ejected = backoff.Policy{Min: c.EjectionTime, Max: c.MaxEjectionTime}.Bound(m.ejections + 1)
	m.ejected -= rand.N(m.ejected/10 + 1)
	m.ejections++
	m.enter(Ejected, now)
}

// rise brings the server back.
func (m *machine) rise(c *Config, now time.Time) {
	m.enter(Rising, now)
	if c.SlowStart < 0 {
		m.enter(Up, now)
	}
}

// pass does what time does. probed says that the server is probed.
func (m *machine) pass(c *Config, now time.Time, probed bool) {
	at := m.next(c, probed)
	if at.IsZero() || now.Before(at) {
		return
	}
	if m.state != Rising {
		m.enter(Trial, now)
		return
	}
	if m.step = int(now.Sub(m.since) * steps / c.SlowStart); m.step >= steps {
		m.enter(Up, now)
	}
}

// next returns when pass has something to do, zero for never.
func (m *machine) next(c *Config, probed bool) time.Time {
	switch m.state {
	case Rising:
		return m.since.Add(c.SlowStart * time.Duration(m.step+1) / steps)
	case Down:
		if !probed {
			return m.notYet
		}
	case Ejected:
		return m.since.Add(m.ejected)
	}
	return time.Time{}
}

// share is what part of its calls the server takes, in percent.
func (m *machine) share() int {
	switch m.state {
	case Up:
		return 100
	case Rising:
		return 100 * (m.step + 1) / steps
	}
	return 0
}

// calm reports that an answer changes nothing.
func (m *machine) calm() bool {
	return m.state == Ejected || m.state.takes() && m.failed == 0 && m.unreached == 0
}
