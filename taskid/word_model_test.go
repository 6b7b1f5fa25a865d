//go:build !race

package taskid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The life of one slot, as a model whose every interleaving is tried: each step below
// is one atomic operation, or one that only its goroutine can observe, of table.go.
// The free list's push and pop count as one. A use of Slot.V has a beginning and an
// end, so that two uses can meet. The reader may be handed any ID at any time, since a
// peer may send what it likes; that includes late and repeated answers.

// wordRole is what one party does.
type wordRole int8

const (
	modelSubmitter wordRole = iota // acquires, writes V, arms, looks whether the table is closed
	modelReader                    // answers; frees what it won, or sends the next with it
	modelCanceller                 // gives up a request whose ID it knows
	modelClock                     // gives up whatever is open
	modelCloser
	modelSealer // seals, looks whether anything is open, and ends the connection if not
)

type modelWord struct{ id, bits uint8 }

func (w modelWord) is(bits uint64) bool { return w.bits&uint8(bits) != 0 }

const (
	modelIDs     = 6 // IDs 1 to 5
	modelParties = 6
)

type wordState struct {
	word    modelWord
	free    int8 // how often the slot is in the free list
	orphans int8
	closed  bool
	gone    bool // the goroutine that sealed the table has seen nothing open

	v                uint8 // the request whose data V holds
	writers, readers int8  // how many are at V

	armed    uint8 // a bit for each ID that was armed
	sent     uint8 // whose frame the peer gets
	answered uint8 // that a reply carried
	outcomes [modelIDs]int8

	parties [modelParties]wordParty
}

type wordParty struct {
	at   int8
	left int8      // how often it may still begin
	id   uint8     // the request it is about; 0 is any
	seen modelWord // what it loaded, or has just written
}

// The places of a party.
const (
	atStart = iota
	atNextID
	atWrite
	atWriting
	atArm
	atLook
	atWithdraw
	atWithdrawSwap
	atAnswer
	atAnswerSwap
	atGiveUp
	atCount
	atGiveUpSwap
	atUncount
	atClose
	atCloseSwap
	atRead
	atReading
	atHeldRead
	atHeldReading
	atRelease
	atReleaseSwap
	atEndQuarantine
	atPush
	atSealed
)

// owns reports whether the party has the slot to itself.
func (p wordParty) owns() bool {
	switch p.at {
	case atNextID, atWrite, atWriting, atArm, atRead, atReading, atPush:
		return true
	}
	return false
}

// wordActor is a party: its role, and how often it may begin.
type wordActor struct {
	role wordRole
	left int8
}

// wordModel has switches that break it.
type wordModel struct {
	parties []wordActor

	armsBeforeWriting  bool // V is written after the slot was published
	noLook             bool // Arm does not look whether the table was closed
	sealsLast          bool // the goroutine that seals looks first whether anything is open
	withdrawsAnyID     bool // Arm takes back whatever request the slot serves
	leavesQuarantine   bool // Arm takes back only what is open
	answersAnyID       bool
	answersByStore     bool // without a look whether the word is still the same
	freesBeforeReading bool // the reader reads V of a slot that it has freed
	freesLateAnswered  bool // although it is held
	keepsLateAnswered  bool // a late answer frees nothing
	cancelsAnyID       bool
	cancelsByStore     bool
	noHeld             bool // a goroutine that gives a request up does not hold its slot
	noQuarantine       bool // a goroutine that gives a request up forgets that it was sent
	countsLate         bool // orphans are counted after they can be answered
	releasesUnread     bool // a goroutine that gave a request up reads V after Release
	releaseFrees       bool // although the slot is in quarantine
	closesLast         bool // Close takes what is open, then says that it did
	closeTriesOnce     bool
	closeLeavesOrphans bool
	closeSaysNothing   bool // Close takes what is open, and Arm goes on
	keepsID            bool // a slot is used again under the ID that it had

	want    string // the problem that is looked for; any if empty
	problem string
}

func (m *wordModel) found(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); m.problem == "" && strings.Contains(text, m.want) {
		m.problem = text
	}
}

// wordStep makes a successor of the state in which the party has gone on to at, after f.
type wordStep func(at int8, f func(n *wordState, p *wordParty))

// next returns the states that one step of anybody leads to. must is how many of
// these steps will be taken if nothing else is; the others may also never come.
func (m *wordModel) next(s wordState) (out []wordState, must int) {
	for i, actor := range m.parties {
		role, p := actor.role, s.parties[i]
		step := func(at int8, f func(n *wordState, p *wordParty)) {
			n := s
			n.parties[i].at = at
			if f != nil {
				f(&n, &n.parties[i])
			}
			if q := &n.parties[i]; q.at == atStart {
				q.id, q.seen = 0, modelWord{}
			}
			out = append(out, n)
			if p.at != atStart || role == modelSubmitter || role == modelCloser {
				must++
			}
		}
		switch {
		case p.at == atStart:
			m.begin(s, role, p, step)
		case p.at <= atWithdrawSwap:
			m.submit(s, p, step)
		case p.at <= atAnswerSwap:
			m.answer(s, p, step)
		case p.at <= atUncount:
			m.giveUp(s, role, p, step)
		case p.at <= atCloseSwap:
			m.closeSlot(s, p, step)
		case p.at == atSealed:
			step(atStart, func(n *wordState, _ *wordParty) { n.seal(!m.sealsLast) })
		default:
			m.finish(s, p, step)
		}
	}
	return out, must
}

func (m *wordModel) begin(s wordState, role wordRole, p wordParty, step wordStep) {
	if p.left == 0 {
		return
	}
	switch role {
	case modelSubmitter:
		if s.free > 0 {
			step(atNextID, func(n *wordState, p *wordParty) { n.free--; p.left-- })
		}
	case modelReader:
		for id := uint8(1); id < modelIDs; id++ {
			is := wordParty{at: atAnswer, id: id}
			m.answer(s, is, func(at int8, f func(*wordState, *wordParty)) {
				if at != atStart { // what finds nothing changes nothing
					step(at, func(n *wordState, p *wordParty) {
						p.id = id
						p.left--
						n.answered |= 1 << id
						f(n, p)
					})
				}
			})
		}
	case modelCanceller, modelClock:
		for id := uint8(1); id < modelIDs; id++ {
			is := wordParty{at: atGiveUp, id: id}
			m.giveUp(s, role, is, func(at int8, f func(*wordState, *wordParty)) {
				if at != atStart {
					step(at, func(n *wordState, p *wordParty) {
						p.id = id
						p.left--
						f(n, p)
					})
				}
			})
		}
	case modelSealer:
		step(atSealed, func(n *wordState, p *wordParty) {
			p.left--
			n.seal(m.sealsLast)
		})
	case modelCloser:
		step(atClose, func(n *wordState, p *wordParty) {
			p.left--
			n.closed = !m.closesLast && !m.closeSaysNothing
		})
	}
}

func (m *wordModel) submit(s wordState, p wordParty, step wordStep) {
	switch p.at {
	case atNextID:
		step(atWrite, func(_ *wordState, q *wordParty) {
			q.id = s.word.id + 1
			if m.keepsID {
				q.id = max(s.word.id, 1)
			}
			if m.armsBeforeWriting {
				q.at = atArm
			}
		})
	case atWrite:
		if s.writers+s.readers > 0 {
			m.found("V is written while another uses it")
		}
		step(atWriting, func(n *wordState, _ *wordParty) { n.writers++ })
		step(atPush, nil) // or it is given back unused
	case atWriting:
		step(atArm, func(n *wordState, q *wordParty) {
			n.v = q.id
			n.writers--
			if m.armsBeforeWriting {
				q.at = atLook
			}
		})
	case atArm:
		step(atLook, func(n *wordState, q *wordParty) {
			n.word = modelWord{q.id, uint8(live | wire)}
			n.armed |= 1 << q.id
			if m.armsBeforeWriting {
				q.at = atWrite
			}
		})
	case atLook:
		if s.closed && !m.noLook {
			step(atWithdraw, nil)
		} else {
			step(atStart, func(n *wordState, q *wordParty) { n.sent |= 1 << q.id })
		}
	case atWithdraw:
		w := s.word
		if w.id != p.id && !m.withdrawsAnyID || !w.is(wire) || m.leavesQuarantine && !w.is(live) {
			step(atStart, nil)
		} else {
			step(atWithdrawSwap, func(_ *wordState, q *wordParty) { q.seen = w })
		}
	case atWithdrawSwap:
		if s.word != p.seen {
			step(atWithdraw, nil)
			return
		}
		m.take(p, live|wire, 0, atPush, step)
	}
}

// take is a swap that succeeds: it clears bits and sets others. A party that closes an
// open outcome delivers it and goes on at won; one that ends a quarantine counts and
// frees.
func (m *wordModel) take(p wordParty, unset, set uint64, won int8, step wordStep) {
	old := p.seen
	step(won, func(n *wordState, q *wordParty) {
		n.word = modelWord{old.id, old.bits &^ uint8(unset)}
		if old.is(live) {
			n.word.bits |= uint8(set)
			m.deliver(n, q, old.id)
		} else {
			q.at = atEndQuarantine
		}
		q.seen = n.word
	})
}

// deliver ends request id with what the party has for its own.
func (m *wordModel) deliver(n *wordState, q *wordParty, id uint8) {
	if q.id != 0 && q.id != id {
		m.found("what is for request %d ends request %d", q.id, id)
	}
	q.id = id
	if n.outcomes[id]++; n.outcomes[id] > 1 {
		m.found("request %d has two outcomes", id)
	}
}

func (m *wordModel) answer(s wordState, p wordParty, step wordStep) {
	if p.at == atAnswer {
		if s.word.id != p.id && !m.answersAnyID || !s.word.is(wire) {
			step(atStart, nil)
		} else {
			step(atAnswerSwap, func(_ *wordState, q *wordParty) { q.seen = s.word })
		}
		return
	}
	if s.word != p.seen && !m.answersByStore {
		step(atAnswer, nil)
		return
	}
	m.take(p, live|wire, 0, atRead, func(at int8, f func(*wordState, *wordParty)) {
		step(at, func(n *wordState, q *wordParty) {
			f(n, q)
			if m.freesBeforeReading && q.at == atRead {
				n.free++
			}
		})
	})
}

// giveUp is Cancel, and Expire for whatever is open.
func (m *wordModel) giveUp(s wordState, role wordRole, p wordParty, step wordStep) {
	count := func(by int8) func(*wordState, *wordParty) {
		return func(n *wordState, _ *wordParty) { n.orphans += by }
	}
	switch p.at {
	case atGiveUp:
		if s.word.id != p.id && !m.cancelsAnyID || !s.word.is(live) {
			step(atStart, nil)
			return
		}
		step(atCount, func(_ *wordState, q *wordParty) {
			q.seen = s.word
			if m.noQuarantine || m.countsLate {
				q.at = atGiveUpSwap
			}
		})
	case atCount:
		if m.countsLate {
			step(atHeldRead, count(1))
		} else {
			step(atGiveUpSwap, count(1))
		}
	case atGiveUpSwap:
		switch {
		case s.word == p.seen || m.cancelsByStore:
			unset, set, at := live, held, int8(atHeldRead)
			if m.noQuarantine {
				unset |= wire
			}
			if m.noHeld {
				set = 0
			}
			if m.countsLate {
				at = atCount
			}
			m.take(p, unset, set, at, step)
		case m.countsLate || m.noQuarantine:
			step(atGiveUp, nil)
		default:
			step(atUncount, nil)
		}
	case atUncount:
		if role == modelCanceller {
			step(atGiveUp, count(-1))
		} else {
			step(atStart, count(-1)) // Expire tries once
		}
	}
}

func (m *wordModel) closeSlot(s wordState, p wordParty, step wordStep) {
	switch {
	case p.at == atClose && (!s.word.is(wire) || m.closeLeavesOrphans && !s.word.is(live)):
		step(atStart, func(n *wordState, _ *wordParty) { n.closed = !m.closeSaysNothing })
	case p.at == atClose:
		step(atCloseSwap, func(_ *wordState, q *wordParty) { q.seen = s.word })
	case s.word != p.seen && m.closeTriesOnce:
		step(atStart, nil)
	case s.word != p.seen:
		step(atClose, nil)
	default:
		m.take(p, live|wire, held, atHeldRead, step)
	}
}

// finish is what the one that has won an outcome, or ended a quarantine, still does.
func (m *wordModel) finish(s wordState, p wordParty, step wordStep) {
	switch p.at {
	case atRead, atHeldRead:
		if s.writers > 0 || s.v != p.id {
			m.found("V is not that of request %d when it is read", p.id)
		}
		step(p.at+1, func(n *wordState, q *wordParty) {
			n.readers++
			if m.releasesUnread && p.at == atHeldRead {
				n.word.bits &^= uint8(held)
			}
		})
	case atReading:
		read := func(n *wordState, _ *wordParty) { n.readers-- }
		if m.freesBeforeReading {
			step(atStart, read)
			return
		}
		step(atPush, read)
		if p.left > 0 { // the slot gets its next ID
			step(atNextID, func(n *wordState, q *wordParty) {
				n.readers--
				q.left--
			})
		}
	case atHeldReading:
		step(atRelease, func(n *wordState, _ *wordParty) { n.readers-- })
	case atRelease:
		step(atReleaseSwap, func(_ *wordState, q *wordParty) { q.seen = s.word })
	case atReleaseSwap:
		if s.word != p.seen {
			step(atRelease, nil)
			return
		}
		step(atPush, func(n *wordState, q *wordParty) {
			n.word.bits &^= uint8(held)
			if n.word.bits != 0 && !m.releaseFrees {
				q.at = atStart
			}
		})
	case atEndQuarantine:
		step(atPush, func(n *wordState, q *wordParty) {
			n.orphans--
			if q.seen.bits != 0 && !m.freesLateAnswered || m.keepsLateAnswered {
				q.at = atStart
			}
		})
	case atPush:
		if id := s.word.id; !s.closed && s.sent&^s.answered&(1<<id) != 0 {
			m.found("the slot is freed while an answer to request %d may come", id)
		}
		step(atStart, func(n *wordState, _ *wordParty) { n.free++ })
	}
}

// check is what holds in every state.
func (m *wordModel) check(s wordState) {
	owners := s.free
	for _, p := range s.parties {
		if p.owns() {
			owners++
		}
	}
	switch {
	case s.free > 1:
		m.found("the slot is free twice")
	case owners > 1:
		m.found("the slot has %d owners", owners)
	case owners > 0 && s.word.bits != 0:
		m.found("the slot is free or owned, and %03b", s.word.bits)
	case s.gone && s.closed && s.word.is(live) && s.sent&(1<<s.word.id) != 0:
		m.found("request %d is open on a connection that has ended as idle", s.word.id)
	case s.orphans < 0:
		m.found("%d orphans", s.orphans)
	}
}

// checkEnd is what holds when nobody has to do anything more.
func (m *wordModel) checkEnd(s wordState) {
	for i, actor := range m.parties {
		if actor.role == modelSubmitter && s.parties[i].left > 0 {
			m.found("a submitter waits for ever for a slot")
		}
	}
	for id := range uint8(modelIDs) {
		if s.armed&(1<<id) != 0 && s.outcomes[id] == 0 {
			m.found("request %d has no outcome", id)
		}
	}
	if s.free != 1 {
		m.found("the slot is not free in the end, but %03b", s.word.bits)
	}
	if s.orphans != 0 {
		m.found("%d orphans in the end", s.orphans)
	}
}

// explore tries every interleaving. It returns how many states there are, and what
// went wrong first.
func (m *wordModel) explore() (states int, problem string) {
	first := wordState{free: 1}
	for i, actor := range m.parties {
		first.parties[i].left = actor.left
	}
	seen := map[wordState]struct{}{first: {}}
	for todo := []wordState{first}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		m.check(s)
		steps, must := m.next(s)
		if must == 0 {
			m.checkEnd(s)
		}
		if m.problem != "" {
			return len(seen), fmt.Sprintf("%s: %+v", m.problem, s)
		}
		for _, n := range steps {
			if _, known := seen[n]; !known {
				seen[n] = struct{}{}
				todo = append(todo, n)
			}
		}
	}
	return len(seen), ""
}

func TestNoInterleavingBreaksTheSlotWordModel(t *testing.T) {
	const S, R, C, K, X = modelSubmitter, modelReader, modelCanceller, modelClock, modelCloser
	for name, parties := range map[string][]wordActor{
		"one request, and all who may end it":     {{S, 1}, {R, 1}, {C, 1}, {K, 1}, {X, 1}},
		"two requests one after the other":        {{S, 2}, {R, 2}, {C, 1}, {X, 1}},
		"three requests, answered in turn":        {{S, 2}, {R, 3}, {C, 1}, {X, 1}},
		"two requests, cancelled and expired":     {{S, 2}, {R, 1}, {C, 1}, {K, 1}, {X, 1}},
		"two submitters":                          {{S, 1}, {S, 1}, {R, 1}, {C, 1}, {X, 1}},
		"two submitters and a reader that renews": {{S, 1}, {S, 1}, {R, 2}, {C, 1}, {X, 1}},
		"two submitters, and all who may end it":  {{S, 1}, {S, 1}, {R, 1}, {C, 1}, {K, 1}, {X, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && len(parties) == modelParties {
				t.Skip("takes seconds")
			}
			m := &wordModel{parties: parties}
			states, problem := m.explore()
			require.Empty(t, problem)
			t.Log(states, "states")
		})
	}
}

// The model is worth something only if it finds what it is there to find.
func TestEachSeededFaultBreaksTheSlotWordModel(t *testing.T) {
	const S, R, C, X = modelSubmitter, modelReader, modelCanceller, modelCloser
	for name, m := range map[string]*wordModel{
		"V is written after Arm":               {armsBeforeWriting: true, want: "V is written while"},
		"V is read before it is written":       {armsBeforeWriting: true, want: "V is not that of"},
		"Arm does not look":                    {noLook: true, want: "has no outcome"},
		"Arm withdraws another's request":      {withdrawsAnyID: true, want: "ends request"},
		"Arm leaves what Close did not see":    {leavesQuarantine: true, want: "orphans in the end"},
		"Answer compares no ID":                {answersAnyID: true, want: "ends request"},
		"Answer stores":                        {answersByStore: true, want: "two outcomes"},
		"the reader frees, then reads":         {freesBeforeReading: true, want: "V is written while"},
		"a late answer frees a held slot":      {freesLateAnswered: true, want: "free twice"},
		"a late answer frees nothing":          {keepsLateAnswered: true, want: "waits for ever"},
		"Cancel compares no ID":                {cancelsAnyID: true, want: "ends request"},
		"Cancel stores":                        {cancelsByStore: true, want: "two outcomes"},
		"who gives up holds nothing":           {noHeld: true, want: "V is written while"},
		"who gives up leaves no quarantine":    {noQuarantine: true, want: "while an answer to"},
		"who gives up counts late":             {countsLate: true, want: "-1 orphans"},
		"who gives up releases, then reads":    {releasesUnread: true, want: "V is written while"},
		"Release frees a slot in quarantine":   {releaseFrees: true, want: "free twice"},
		"Close takes all, then says so":        {closesLast: true, want: "has no outcome"},
		"Close does not say that it was there": {closeSaysNothing: true, want: "has no outcome"},
		"Close tries once":                     {closeTriesOnce: true, want: "orphans in the end"},
		"Close leaves the quarantine":          {closeLeavesOrphans: true, want: "not free in the end"},
		"an ID is issued twice":                {keepsID: true, want: "two outcomes"},
	} {
		t.Run(name, func(t *testing.T) {
			m.parties = []wordActor{{S, 1}, {S, 1}, {R, 2}, {C, 1}, {X, 1}}
			states, problem := m.explore()
			require.Contains(t, problem, m.want)
			t.Log(states, "states:", problem)
		})
	}
}
