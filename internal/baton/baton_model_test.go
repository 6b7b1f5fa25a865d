package baton

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The right as a model whose every interleaving is tried. Each step is one atomic
// operation of baton.go, or of goroutines that use it as its comments say. Work is a
// number: a goroutine that makes some adds to it, the one that holds the right does all
// of it at once.

// part is what a goroutine does.
type part struct {
	works    int8 // how many pieces of work it makes, each with a look afterwards
	promises bool // it promises first, and keeps its promise at the end
	renews   bool // it also redeems its promise before, and renews it
	stops    bool // it never comes back to its promise
	borrows  bool // it does not leave its work to a promise
	keeps    bool // it may hand the right that it holds to the keeper
	revokes  bool // it takes a promise away, that of the goroutine that stops
	assigns  bool
	keeper   bool
}

// world is the right, its keeper's channel, the work and what each goroutine does.
type world struct {
	right  State
	tokens int8
	work   int8
	who    [4]somebody
}

type somebody struct {
	at    place
	back  place // where it goes when it has handed the right over
	left  int8  // pieces of work that it has not made
	ended bool  // its promise
	saw   bool  // with a fault: what it saw before it acts
}

type place int8

const (
	promising place = iota
	making
	looking
	taking
	borrowing
	between // one piece of work and the next
	redeeming
	takingAnew
	promiseHeld
	renewing
	ending
	asking
	revoking
	askingAgain
	assigning
	sending
	storingLate // with a fault
	waiting
	working
	freeing
	freeingLate // with a fault
	lookingAgain
	takingAgain
	borrowed
	givingBack
	stopped
	gone
)

// fault is what a model does wrong.
type fault int

const (
	noFault fault = iota
	looksBeforeFreeing
	looksBeforeWork
	neverLooksAgain
	takesByStore
	redeemsByStore
	borrowsByStore
	revokesByStore
	sendsBeforeKept
	endsUnlooked
	leavesBorrowed
	leavesRenewed
	revokesOnce
	renewsWhatItTook
)

type model struct {
	parts []part
	fault fault

	seen    map[world]bool // true when all that follows was tried
	problem string
	s       world // the state whose next steps are wanted
	next    []world
}

// step adds what a step of goroutine i leads to: f has happened, it is elsewhere.
func (m *model) step(i int, to place, f func(n *world, w *somebody)) {
	n := m.s
	n.who[i].at, n.who[i].saw = to, false
	if f != nil {
		f(&n, &n.who[i])
	}
	m.next = append(m.next, n)
}

func (m *model) put(i int, right State, then place) {
	m.step(i, then, func(n *world, _ *somebody) { n.right = right })
}

// move is a CompareAndSwap. With the fault f it is a load, and a store in another step.
func (m *model) move(i int, from, right State, done, refused place, f fault) {
	w := m.s.who[i]
	switch {
	case w.saw:
		m.put(i, right, done)
	case m.s.right != from:
		m.step(i, refused, nil)
	case f != noFault && m.fault == f:
		m.step(i, w.at, func(_ *world, w *somebody) { w.saw = true })
	default:
		m.put(i, right, done)
	}
}

// steps adds every step that goroutine i can do.
func (m *model) steps(i int) {
	switch w, p := m.s.who[i], m.parts[i]; {
	case w.at <= between:
		m.worker(i, w, p)
	case w.at <= asking:
		m.promiser(i, w, p)
	case w.at <= waiting:
		m.giver(i, w)
	default:
		m.holder(i, w, p)
	}
}

func (m *model) worker(i int, w somebody, p part) {
	lookFirst := m.fault == looksBeforeWork
	switch w.at {
	case promising:
		m.move(i, Free, Promised, between, between, noFault)
	case making:
		to := looking
		if lookFirst {
			to = between
			if w.saw {
				to = taking
			}
		}
		m.step(i, to, func(n *world, w *somebody) { n.work++; w.left-- })
	case looking:
		switch {
		case lookFirst:
			m.step(i, making, func(n *world, w *somebody) { w.saw = n.right == Free })
		case m.s.right == Free:
			m.step(i, taking, nil)
		case m.s.right == Promised && p.borrows:
			m.step(i, borrowing, nil)
		default:
			m.step(i, between, nil)
		}
	case taking:
		m.move(i, Free, Held, working, between, takesByStore)
	case borrowing:
		m.move(i, Promised, Borrowed, borrowed, between, borrowsByStore)
	case between:
		switch {
		case w.left > 0 && lookFirst:
			m.step(i, looking, nil)
		case w.left > 0:
			m.step(i, making, nil)
		case p.stops:
			m.step(i, stopped, nil)
		case p.renews:
			m.step(i, redeeming, nil)
		case p.promises:
			m.step(i, ending, nil)
		default:
			m.step(i, gone, nil)
		}
	}
}

// promiser is what a goroutine does that has promised, in vain or not.
func (m *model) promiser(i int, w somebody, p part) {
	switch w.at {
	case redeeming:
		m.move(i, Promised, Held, promiseHeld, takingAnew, redeemsByStore)
	case takingAnew: // it was revoked, and may be free by now
		m.move(i, Free, Held, promiseHeld, ending, takesByStore)
	case promiseHeld:
		m.step(i, renewing, func(n *world, _ *somebody) { n.work = 0 })
		m.keep(i, p, ending)
	case renewing:
		m.put(i, Promised, ending)
	case ending:
		refused := asking
		if m.fault == leavesBorrowed {
			refused = gone
		}
		m.move(i, Promised, Held, working, refused, redeemsByStore)
		for j := range m.next {
			n := &m.next[j].who[i]
			n.ended = n.at == working
		}
	case asking:
		switch {
		case m.s.right == Borrowed: // it asks again, which leads here
		case m.s.right == Promised && m.fault != leavesRenewed:
			m.step(i, ending, nil)
		default:
			m.step(i, gone, nil)
		}
	}
}

// keep is Keep, if the goroutine does so, and what comes then.
func (m *model) keep(i int, p part, then place) {
	switch {
	case !p.keeps:
	case m.fault == sendsBeforeKept:
		m.step(i, storingLate, func(n *world, w *somebody) { n.tokens++; w.back = then })
	default:
		m.step(i, sending, func(n *world, w *somebody) { n.right, w.back = Kept, then })
	}
}

// giver is what a goroutine does that hands the right to the keeper, and what the keeper
// does that waits for it.
func (m *model) giver(i int, w somebody) {
	switch w.at {
	case revoking:
		refused := askingAgain
		if m.fault == revokesOnce {
			refused = gone
		}
		for j, other := range m.parts {
			if other.stops && m.s.who[j].at != stopped {
				return
			}
		}
		m.move(i, Promised, Kept, sending, refused, revokesByStore)
	case askingAgain:
		switch m.s.right {
		case Borrowed: // it asks again, which leads here
		case Promised:
			m.step(i, revoking, nil)
		default:
			m.step(i, gone, nil)
		}
	case assigning:
		m.move(i, Free, Kept, sending, gone, noFault)
	case sending:
		if m.s.tokens > 0 {
			m.problem = "the keeper is handed the right twice, and Keep blocks"
		}
		m.step(i, w.back, func(n *world, w *somebody) { n.tokens++; w.back = 0 })
	case storingLate:
		m.step(i, w.back, func(n *world, w *somebody) { n.right, w.back = Kept, 0 })
	case waiting:
		if m.s.tokens > 0 {
			m.step(i, working, func(n *world, _ *somebody) { n.tokens-- })
		}
	}
}

// holder is what the goroutine does that has the right.
func (m *model) holder(i int, w somebody, p part) {
	then := between
	switch {
	case p.keeper:
		then = waiting
	case w.ended:
		then = gone
	}
	switch w.at {
	case working:
		m.step(i, freeing, func(n *world, _ *somebody) { n.work = 0 })
		m.keep(i, p, then)
	case freeing:
		switch {
		case m.fault == looksBeforeFreeing:
			m.step(i, freeingLate, func(n *world, w *somebody) { w.saw = n.work > 0 })
		case m.fault == neverLooksAgain, m.fault == endsUnlooked && w.ended:
			m.put(i, Free, then)
		case m.fault == renewsWhatItTook && !p.keeper && !w.ended:
			m.put(i, Promised, then)
		default:
			m.put(i, Free, lookingAgain)
		}
	case freeingLate:
		if w.saw {
			then = takingAgain
		}
		m.put(i, Free, then)
	case lookingAgain:
		if m.s.work > 0 {
			then = takingAgain
		}
		m.step(i, then, nil)
	case takingAgain:
		m.move(i, Free, Held, working, then, takesByStore)
	case borrowed:
		m.step(i, givingBack, func(n *world, _ *somebody) { n.work = 0 })
		m.keep(i, p, between)
	case givingBack:
		m.put(i, Promised, between)
	}
}

// check looks at what must always hold.
func (m *model) check() string {
	s := &m.s
	holders := s.tokens
	for i := range m.parts {
		switch s.who[i].at {
		case working, freeing, freeingLate, borrowed, givingBack, promiseHeld, renewing, sending:
			holders++
		}
	}
	if holders > 1 {
		return fmt.Sprintf("two hold the right: %+v", *s)
	}
	if len(m.next) > 0 {
		return ""
	}
	for i := range m.parts {
		if at := s.who[i].at; at != gone && at != stopped && at != waiting {
			return fmt.Sprintf("%d waits for ever: %+v", i, *s)
		}
	}
	if s.work > 0 || s.right != Free {
		return fmt.Sprintf("work, or a promise, is left behind: %+v", *s)
	}
	return ""
}

// explore tries every interleaving. It returns how many states there are.
func (m *model) explore() (states int, problem string) {
	first := world{}
	for i := range first.who {
		w := &first.who[i]
		if i >= len(m.parts) {
			w.at = gone
			continue
		}
		switch p := m.parts[i]; {
		case p.promises:
			w.at = promising
		case p.keeper:
			w.at = waiting
		case p.revokes:
			w.at, w.back = revoking, gone
		case p.assigns:
			w.at, w.back = assigning, gone
		default:
			w.at = between
		}
		w.left = m.parts[i].works
	}
	m.seen = map[world]bool{}
	problem = m.visit(first)
	return len(m.seen), problem
}

// visit tries all that can follow s.
func (m *model) visit(s world) string {
	m.seen[s] = false
	m.s, m.next = s, nil
	for i := range m.parts {
		m.steps(i)
	}
	if m.problem != "" {
		return fmt.Sprintf("%s: %+v", m.problem, s)
	}
	if problem := m.check(); problem != "" {
		return problem
	}
	for _, n := range m.next {
		done, known := m.seen[n]
		if known && !done {
			return fmt.Sprintf("goes round and round: %+v", n)
		}
		if known {
			continue
		}
		if problem := m.visit(n); problem != "" {
			return problem
		}
	}
	m.seen[s] = true
	return ""
}

func TestEveryInterleavingOfARightModel(t *testing.T) {
	promiser := part{works: 1, promises: true}
	renewer := part{works: 1, promises: true, renews: true}
	stopper := part{works: 1, promises: true, stops: true}
	worker, borrower := part{works: 2}, part{works: 2, borrows: true}
	blocked := part{works: 2, borrows: true, keeps: true}
	blockedRenewer := part{works: 1, promises: true, renews: true, keeps: true}
	revoker, keeper := part{revokes: true}, part{keeper: true}
	keeping, assigner := part{works: 2, keeps: true}, part{assigns: true}
	for name, parts := range map[string][]part{
		"workers":                        {worker, worker, worker},
		"a promiser":                     {promiser, worker, worker},
		"two promisers":                  {renewer, renewer, worker},
		"promisers and a borrower":       {renewer, promiser, borrower},
		"two borrowers":                  {renewer, borrower, borrower},
		"a keeper":                       {keeping, blocked, assigner, keeper},
		"a keeper and a promise":         {renewer, blocked, assigner, keeper},
		"a keeper of promises":           {blockedRenewer, blocked, worker, keeper},
		"a promise taken away":           {renewer, borrower, revoker, keeper},
		"a promise taken from a sleeper": {stopper, borrower, revoker, keeper},
		"a sleeper and a blocked one":    {stopper, blocked, revoker, keeper},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model{parts: parts}
			states, problem := m.explore()
			require.Empty(t, problem)
			t.Log(states, "states")
		})
	}
}

// The model is worth something only if it finds what it is there to find.
func TestFaultsOfARightModel(t *testing.T) {
	renewer := part{works: 1, promises: true, renews: true}
	borrower := part{works: 1, borrows: true}
	revoker, keeper := part{revokes: true}, part{keeper: true}
	stopper := part{works: 1, promises: true, stops: true}
	for f, c := range map[fault]struct {
		name  string
		parts []part
	}{
		looksBeforeFreeing: {"Release looks before it frees", []part{borrower, borrower}},
		neverLooksAgain:    {"Release does not look", []part{borrower, borrower}},
		looksBeforeWork:    {"a worker looks and then makes work", []part{borrower, borrower}},
		takesByStore:       {"Take stores", []part{borrower, borrower}},
		redeemsByStore:     {"Redeem stores", []part{renewer, borrower}},
		borrowsByStore:     {"Borrow stores", []part{renewer, borrower}},
		revokesByStore:     {"Revoke stores", []part{renewer, revoker, keeper}},
		sendsBeforeKept:    {"Keep sends first", []part{{works: 2, keeps: true}, keeper}},
		endsUnlooked:       {"a promiser ends without a look", []part{renewer, borrower}},
		leavesBorrowed:     {"a promiser leaves what is borrowed", []part{renewer, borrower}},
		leavesRenewed:      {"a promiser leaves what was renewed", []part{renewer, borrower}},
		revokesOnce: {"a revoker overlooks what is borrowed",
			[]part{stopper, borrower, revoker, keeper}},
		renewsWhatItTook: {"a promise of somebody who made none", []part{borrower, borrower}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problem := (&model{parts: c.parts}).explore()
			require.Empty(t, problem)
			_, problem = (&model{parts: c.parts, fault: f}).explore()
			require.NotEmpty(t, problem)
			t.Log(problem)
		})
	}
}
