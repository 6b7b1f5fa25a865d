package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The hand-over of the right to read, as a model whose every interleaving is tried:
// each step below is one atomic operation, or one that only its goroutine can
// observe, of lead.go. Requests are sent the moment they are made and the peer may
// answer any time later; the sweeper may time requests out. The sweeper's reclaim
// is left out, since it would hide a reply that stays unread.

// modelCaller is what one caller does: requests, one after another.
type modelCaller struct {
	leads bool // else it is a callback's, and never reads
	sends int8
}

type modelState struct {
	reading  uint32
	wake     int8 // tokens in readWake
	past     bool // a read deadline in the past is set
	sock     int8 // replies in the socket, a bit for each caller
	buf      int8 // replies in the read buffer
	lent     int8 // the caller whose completion the reader delivers after it lent
	reader   int8 // the reader's place
	timeouts int8 // the sweeper may still do
	sweeper  int8 // the sweeper's place
	victim   int8
	callers  [3]modelCallerState
}

type modelCallerState struct {
	at     int8
	left   int8
	open   bool // the request's outcome is open
	used   bool // the slot is in use
	sent   bool // the peer has it and has not answered
	orphan bool // given up, its reply may come
	done   bool // the token in the done channel
}

// model has switches that break it.
type model struct {
	callers []modelCaller

	noLookAfterLend, noLookAfterLead, noInterrupt bool
	noSummon, keepsForeign                        bool
	looksAtDone                                   bool // a leader asks whether it was told, not whether its request is open
	clearsAfterLook                               bool // a leader clears the deadline after it looked at its request

	problem string
}

// The places of the goroutines.
const (
	readerDigest = iota
	readerRead
	readerLend
	readerLook
	readerSummon
	readerWake
	readerStandBy
)

const (
	callerSubmit = iota
	callerLook
	callerTake
	callerSummon
	callerCheck
	callerRead
	callerReset
	callerClear
	callerUse
	callerFree
	callerRecheck
	callerGive
	callerPassOn
	callerWait
	callerRelease
	callerGone
)

func (s *modelState) othersOpen(but int) bool {
	for i, c := range s.callers {
		if i != but && c.used && !c.orphan {
			return true
		}
	}
	return false
}

// giveToReader is the second half of summon.
func (s *modelState) giveToReader() {
	if s.reading == free {
		s.reading = standing
		s.wake++
	}
}

// next returns the states that one step of anybody leads to. must is how many of
// these steps will be taken if nothing else is; a timeout may also never come.
func (m *model) next(s modelState) (out []modelState, must int) {
	step := func(f func(n *modelState)) {
		n := s
		f(&n)
		out = append(out, n)
	}
	m.readerSteps(s, step)
	for i := range m.callers {
		m.callerSteps(s, i, step)
		if c := s.callers[i]; c.sent { // the peer answers
			step(func(n *modelState) { n.callers[i].sent = false; n.sock |= 1 << i })
			if c.orphan { // or never does
				step(func(n *modelState) { n.callers[i].sent = false })
			}
		}
	}
	must = len(out)
	m.sweeperSteps(s, step)
	if s.sweeper != 0 {
		must = len(out)
	}
	return out, must
}

// answered completes caller i with a reply, unless it was given up; it reports
// whether somebody is to be told.
func answered(n *modelState, i int) bool {
	c := &n.callers[i]
	if c.orphan {
		c.orphan, c.used = false, c.at == callerWait || c.at == callerRelease
		return false
	}
	won := c.open
	c.open = false
	return won
}

// deliver tells the caller its outcome.
func (m *model) deliver(n *modelState, i int) {
	if m.callers[i].leads {
		n.callers[i].done = true
		return
	}
	n.callers[i].used = false
	n.callers[i].done = true
}

func (m *model) readerSteps(s modelState, step func(func(*modelState))) {
	if s.reader <= readerLend && s.reading != standing {
		m.problem = "the reader reads without the right"
	}
	switch s.reader {
	case readerDigest:
		for i := range m.callers {
			if s.buf != 1<<i || !m.callers[i].leads || !s.callers[i].open || s.othersOpen(i) {
				continue
			}
			step(func(n *modelState) { // lone, and has been for a while
				answered(n, i)
				n.buf, n.lent, n.reader = 0, int8(i), readerLend
			})
		}
		step(func(n *modelState) {
			for i := range m.callers {
				if n.buf&(1<<i) != 0 && answered(n, i) {
					m.deliver(n, i)
				}
			}
			n.buf, n.reader = 0, readerRead
		})
	case readerRead:
		if s.past {
			step(func(n *modelState) { n.past = false })
		} else if s.sock != 0 {
			step(func(n *modelState) { n.buf, n.sock, n.reader = n.buf|n.sock, 0, readerDigest })
		}
	case readerLend:
		step(func(n *modelState) { n.reading, n.reader = free, readerLook })
	case readerLook:
		step(func(n *modelState) {
			n.reader = readerWake
			if n.othersOpen(int(n.lent)) && !m.noLookAfterLend {
				n.reader = readerSummon
			}
		})
	case readerSummon:
		step(func(n *modelState) { n.giveToReader(); n.reader = readerWake })
	case readerWake:
		step(func(n *modelState) { m.deliver(n, int(n.lent)); n.reader = readerStandBy })
	case readerStandBy:
		if s.wake > 0 {
			step(func(n *modelState) { n.wake--; n.reader = readerDigest })
		}
	}
}

func (m *model) callerSteps(s modelState, i int, step func(func(*modelState))) {
	to := func(at int8, f func(n *modelState, c *modelCallerState)) {
		step(func(n *modelState) {
			n.callers[i].at = at
			if f != nil {
				f(n, &n.callers[i])
			}
		})
	}
	c := s.callers[i]
	if c.at >= callerCheck && c.at <= callerPassOn {
		m.leaderSteps(s, i, to)
		return
	}
	switch c.at {
	case callerSubmit:
		if c.left > 0 && !c.orphan { // the slot of an orphan is not used again; a model has one
			to(callerLook, func(_ *modelState, c *modelCallerState) { c.left--; c.open, c.used, c.sent = true, true, true })
		} else if c.left == 0 {
			to(callerGone, nil)
		}
	case callerLook:
		switch {
		case s.reading == standing || s.reading == led || m.noSummon && !m.callers[i].leads:
			to(callerWait, nil)
		case m.callers[i].leads:
			to(callerTake, nil)
		default:
			to(callerSummon, nil)
		}
	case callerTake:
		if s.reading == free {
			to(callerCheck, func(n *modelState, _ *modelCallerState) { n.reading = led })
		} else {
			to(callerWait, nil)
		}
	case callerSummon:
		to(callerWait, func(n *modelState, _ *modelCallerState) { n.giveToReader() })
	case callerWait:
		if c.done {
			to(callerRelease, func(_ *modelState, c *modelCallerState) { c.done = false })
		}
	case callerRelease:
		to(callerSubmit, func(_ *modelState, c *modelCallerState) { c.used = c.orphan })
	}
}

func (m *model) leaderSteps(s modelState, i int, to func(int8, func(*modelState, *modelCallerState))) {
	c := s.callers[i]
	if c.at <= callerFree && s.reading != led {
		m.problem = "a caller reads without the right"
	}
	switch c.at {
	case callerCheck:
		if m.looksAtDone && !c.done || !m.looksAtDone && c.open {
			to(callerRead, nil)
		} else {
			to(callerPassOn, nil)
		}
	case callerRead:
		m.leaderReads(s, to)
	case callerReset: // the broken order: looks at its request, then clears the deadline
		if c.open {
			to(callerClear, nil)
		} else {
			to(callerPassOn, func(n *modelState, _ *modelCallerState) { n.past = false })
		}
	case callerClear:
		to(callerRead, func(n *modelState, _ *modelCallerState) { n.past = false })
	case callerUse:
		m.leaderUses(s, i, to)
	case callerFree:
		to(callerRecheck, func(n *modelState, _ *modelCallerState) { n.reading = free })
	case callerRecheck:
		if s.othersOpen(i) && !m.noLookAfterLead {
			to(callerGive, nil)
		} else {
			to(callerRelease, nil)
		}
	case callerGive:
		to(callerRelease, func(n *modelState, _ *modelCallerState) { n.giveToReader() })
	case callerPassOn:
		to(callerWait, func(n *modelState, _ *modelCallerState) { n.reading = standing; n.wake++ })
	}
}

func (m *model) leaderReads(s modelState, to func(int8, func(*modelState, *modelCallerState))) {
	switch {
	case s.past && m.clearsAfterLook:
		to(callerReset, nil)
	case s.past:
		to(callerCheck, func(n *modelState, _ *modelCallerState) { n.past = false })
	case s.sock != 0:
		to(callerUse, func(n *modelState, _ *modelCallerState) { n.buf, n.sock = n.buf|n.sock, 0 })
	}
}

func (m *model) leaderUses(s modelState, i int, to func(int8, func(*modelState, *modelCallerState))) {
	if s.buf != 1<<i {
		if m.keepsForeign {
			to(callerRead, nil)
			return
		}
		to(callerPassOn, nil)
		return
	}
	if s.callers[i].open {
		to(callerFree, func(n *modelState, _ *modelCallerState) { answered(n, i); n.buf = 0 })
		return
	}
	to(callerPassOn, func(n *modelState, _ *modelCallerState) { answered(n, i); n.buf = 0 })
}

func (m *model) sweeperSteps(s modelState, step func(func(*modelState))) {
	switch s.sweeper {
	case 0:
		for i := range m.callers {
			if s.timeouts == 0 || !s.callers[i].open {
				continue
			}
			step(func(n *modelState) {
				c := &n.callers[i]
				c.open, c.orphan = false, true
				n.timeouts--
				n.victim, n.sweeper = int8(i), 1
			})
		}
	case 1:
		step(func(n *modelState) { n.callers[n.victim].done = true; n.sweeper = 2 })
	case 2:
		step(func(n *modelState) {
			n.sweeper = 0
			if n.reading == led && !m.noInterrupt {
				n.sweeper = 3
			}
		})
	case 3:
		step(func(n *modelState) { n.past = true; n.sweeper = 0 })
	}
}

// explore tries every interleaving. It returns how many states there are, and what
// went wrong.
func (m *model) explore(timeouts int8) (states int, problem string) {
	first := modelState{timeouts: timeouts, reader: readerRead}
	for i, c := range m.callers {
		first.callers[i].left = c.sends
	}
	seen := map[modelState]bool{first: true}
	for todo := []modelState{first}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		steps, must := m.next(s)
		if m.problem != "" {
			return len(seen), m.problem
		}
		if s.wake > 1 {
			return len(seen), "the right was given to the reader twice"
		}
		if must == 0 {
			for i := range m.callers {
				if c := s.callers[i]; c.at != callerGone && !(c.at == callerSubmit && c.orphan) {
					return len(seen), fmt.Sprintf("caller %d waits for ever: %+v", i, s)
				}
			}
		}
		for _, n := range steps {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return len(seen), ""
}

func TestEveryInterleavingOfTheRightToRead(t *testing.T) {
	lone, callback := modelCaller{leads: true, sends: 2}, modelCaller{sends: 2}
	once, onceBack := modelCaller{leads: true, sends: 1}, modelCaller{sends: 1}
	for name, callers := range map[string][]modelCaller{
		"one caller":                 {{leads: true, sends: 3}},
		"two callers":                {lone, lone},
		"a caller and a callback":    {lone, callback},
		"two callers and a callback": {once, once, onceBack},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model{callers: callers}
			states, problem := m.explore(1)
			require.Empty(t, problem)
			t.Log(states, "states")
		})
	}
	// The model is worth something only if it finds what it is there to find.
	for name, broken := range map[string]*model{
		"no look after lending":             {noLookAfterLend: true},
		"no look after leading":             {noLookAfterLead: true},
		"no interruption":                   {noInterrupt: true},
		"a callback does not summon":        {noSummon: true},
		"a leader looks at the channel":     {looksAtDone: true},
		"a leader clears the deadline late": {clearsAfterLook: true},
		"a leader keeps foreign bytes":      {keepsForeign: true},
	} {
		t.Run("broken: "+name, func(t *testing.T) {
			broken.callers = []modelCaller{lone, onceBack}
			_, problem := broken.explore(2)
			require.NotEmpty(t, problem)
		})
	}
}
