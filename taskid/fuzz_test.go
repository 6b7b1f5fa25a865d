package taskid

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// tableModel is a table as it should be, beside the one under test.
type tableModel struct {
	t        *testing.T
	tb       *Table[int]
	slots    map[uint32]*modelSlot // by index
	free     []uint32              // in the order in which they are handed out
	acquired uint64
	sealed   bool // or closed
	writes   int  // what the next owner leaves in V
}

// modelSlot is what the model knows about one slot.
type modelSlot struct {
	mine             bool // the test's own: acquired, or won by Answer
	live, wire, held bool
	armed            ID // the latest that was armed
	id               ID // the latest that was issued
	deadline         Tick
	note             uint8
	v                int
}

// newTableModel has slots that are about to issue the last of their generations.
func newTableModel(t *testing.T, capacity int) *tableModel {
	m := &tableModel{t: t, tb: NewTable[int](capacity), slots: map[uint32]*modelSlot{}}
	m.tb.grow()
	for i := range uint32(capacity) {
		armed := ID(m.tb.Generations()-i%3)<<m.tb.slotBits | ID(i)
		m.tb.slot(i).word.Store(uint64(armed) << idShift)
		m.slots[i] = &modelSlot{armed: armed, id: armed}
		m.free = append(m.free, i)
	}
	return m
}

func (m *tableModel) expect(what string, got, want any) {
	if got != want {
		m.t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// next returns the slot's next ID: one generation on, and 1 after the last.
func (m *tableModel) next(i uint32) ID {
	generation := uint64(m.slots[i].armed) >> m.tb.slotBits
	if generation == uint64(m.tb.Generations()) {
		generation = 0
	}
	return ID((generation+1)<<m.tb.slotBits) | ID(i)
}

// take is what follows when the table has given out a slot under an ID.
func (m *tableModel) take(s *Slot[int], id ID) {
	i := m.free[0]
	m.free = m.free[1:]
	m.acquired++
	m.expect("slot", s, m.tb.slot(i))
	m.expect("ID", id, m.next(i))
	sl := m.slots[i]
	sl.mine, sl.id = true, id
	m.write(s, sl)
}

func (m *tableModel) write(s *Slot[int], sl *modelSlot) {
	m.writes++
	s.V, sl.v = m.writes, m.writes
}

// settle frees the slot in the model when nobody needs it any more.
func (m *tableModel) settle(i uint32) {
	if sl := m.slots[i]; !sl.mine && !sl.live && !sl.wire && !sl.held {
		m.free = append(m.free, i)
	}
}

// The operations, by the first byte; the second names the slot, and what else there is
// to choose.
var tableOps = []func(m *tableModel, i uint32, arg byte){
	(*tableModel).acquire,
	(*tableModel).acquireInto,
	(*tableModel).arm,
	(*tableModel).freeOne,
	(*tableModel).freeAll,
	(*tableModel).renew,
	func(m *tableModel, i uint32, _ byte) { m.answer(m.slots[i].armed) },
	func(m *tableModel, i uint32, arg byte) { m.answer(m.foreign(i, arg)) },
	func(m *tableModel, i uint32, _ byte) { m.cancel(m.slots[i].armed) },
	func(m *tableModel, i uint32, arg byte) { m.cancel(m.foreign(i, arg)) },
	(*tableModel).release,
	(*tableModel).expire,
	func(m *tableModel, _ uint32, arg byte) {
		if arg >= 200 { // or few programs would get far
			m.close()
		}
	},
	(*tableModel).expireSome,
	(*tableModel).withdraw,
	func(m *tableModel, _ uint32, arg byte) {
		if arg >= 240 {
			m.tb.Seal()
			m.sealed = true
		}
	},
}

func (m *tableModel) acquire(uint32, byte) {
	s, id := m.tb.Acquire()
	m.expect("a slot is left", s != nil, len(m.free) > 0)
	if s != nil {
		m.take(s, id)
	}
}

func (m *tableModel) acquireInto(_ uint32, arg byte) {
	ids := make([]ID, arg%8)
	n := m.tb.AcquireInto(ids)
	m.expect("acquired", n, min(len(ids), len(m.free)))
	for _, id := range ids[:n] {
		m.take(m.tb.Slot(id), id)
	}
}

func (m *tableModel) freeOne(i uint32, _ byte) {
	if sl := m.slots[i]; sl.mine {
		m.tb.Free(sl.id)
		sl.mine = false
		m.settle(i)
	}
}

// freeAll frees what is the test's, from slot first on.
func (m *tableModel) freeAll(first uint32, _ byte) {
	var ids []ID
	for i := range uint32(len(m.slots)) {
		if sl := m.slots[(first+i)%uint32(len(m.slots))]; sl.mine {
			ids = append(ids, sl.id)
		}
	}
	m.tb.FreeAll(ids)
	for _, id := range ids {
		m.slots[m.tb.indexOf(id)].mine = false
		m.settle(m.tb.indexOf(id))
	}
}

func (m *tableModel) renew(i uint32, _ byte) {
	if sl := m.slots[i]; sl.mine {
		s, id := m.tb.Renew(sl.id)
		m.expect("renewed ID", id, m.next(i))
		m.expect("V of a renewed slot", s.V, sl.v)
		sl.id = id
		m.write(s, sl)
	}
}

func (m *tableModel) release(i uint32, _ byte) {
	if sl := m.slots[i]; sl.held {
		m.tb.Release(sl.armed)
		sl.held = false
		m.settle(i)
	}
}

// foreign returns an ID near the slot's.
func (m *tableModel) foreign(i uint32, arg byte) ID {
	step := ID(1) << m.tb.slotBits
	armed := m.slots[i].armed
	return []ID{None, ID(i), m.next(i), armed - step, armed + 5*step, ID(arg), ^ID(arg)}[arg/32%7]
}

func (m *tableModel) arm(i uint32, arg byte) {
	sl := m.slots[i]
	if !sl.mine || sl.id == sl.armed { // a won slot must first be renewed
		return
	}
	s := m.tb.Slot(sl.id)
	m.expect("V before Arm", s.V, sl.v)
	sl.deadline = Tick(arg / 8) // 0 is none
	sl.note = arg * 5 % (MaxNote + 1)
	m.expect("armed", m.tb.ArmNoted(s, sl.id, sl.deadline, sl.note), !m.sealed)
	sl.armed = sl.id
	if m.sealed {
		m.expectDeadline("refused", s, sl)
	} else {
		sl.mine, sl.live, sl.wire = false, true, true
	}
}

func (m *tableModel) answer(id ID) {
	i := uint32(id) & (1<<m.tb.slotBits - 1)
	sl, want := m.slots[i], Unknown
	if sl != nil && sl.wire && sl.armed == id {
		want = Late
		if sl.live {
			want = Won
		}
	}
	s, match := m.tb.Answer(id)
	m.expect("match", match, want)
	m.expect("a slot comes with it", s != nil, want == Won)
	if want == Won {
		m.expect("V of the request answered", s.V, sl.v)
		m.expectDeadline("answered", s, sl)
		sl.mine, sl.live = true, false
	}
	if want != Unknown {
		sl.wire = false
		m.settle(i)
	}
}

func (m *tableModel) cancel(id ID) {
	sl := m.slots[uint32(id)&(1<<m.tb.slotBits-1)]
	want := sl != nil && sl.live && sl.armed == id
	if sl != nil {
		m.expect("open", m.tb.Open(id), want)
	}
	s, won := m.tb.Cancel(id)
	m.expect("cancelled", won, want)
	m.expect("a slot comes with it", s != nil, want)
	if want {
		m.expect("V of the request cancelled", s.V, sl.v)
		m.expectDeadline("cancelled", s, sl)
		sl.live, sl.held = false, true
	}
}

// given returns a function that takes note of requests that the table gives up and
// releases every other of them at once, and one that checks that it got those wanted.
func (m *tableModel) given(what string, wanted func(sl *modelSlot) bool, wire bool) (
	each func(*Slot[int], ID), check func(),
) {
	var want, got []uint32
	for i := range uint32(len(m.slots)) {
		if wanted(m.slots[i]) {
			want = append(want, i)
		}
	}
	each = func(s *Slot[int], id ID) {
		i := m.tb.indexOf(id)
		sl := m.slots[i]
		m.expect(what+" slot", s, m.tb.slot(i))
		m.expect(what+" ID", id, sl.armed)
		m.expect("V of the request "+what, s.V, sl.v)
		m.expectDeadline(what, s, sl)
		got = append(got, i)
		sl.live, sl.wire, sl.held = false, wire, len(got)%2 == 0
		if !sl.held {
			m.tb.Release(id)
		}
		m.settle(i)
	}
	return each, func() { m.expect(what, slices.Equal(got, want), true) }
}

func (m *tableModel) expire(_ uint32, arg byte) {
	now := Tick(1 + arg%32)
	each, check := m.given("expired", func(sl *modelSlot) bool {
		return sl.live && sl.deadline != NoTick && sl.deadline <= now
	}, true)
	m.tb.Expire(now, each)
	check()
}

// expireSome expires what has no note, and what has the notes that arg asks for.
func (m *tableModel) expireSome(_ uint32, arg byte) {
	now, odd := Tick(1+arg%32), arg/64%2
	asked := map[uint8]bool{}
	each, check := m.given("expired", func(sl *modelSlot) bool {
		if !sl.live || sl.deadline == NoTick || sl.deadline > now {
			return false
		}
		if sl.note != 0 {
			asked[sl.note] = true
		}
		return sl.note == 0 || sl.note%2 == odd
	}, true)
	m.tb.ExpireIf(now, func(deadline Tick, note uint8) bool {
		m.expect("asked about a request that is due, with a note", asked[note] && deadline <= now, true)
		return note%2 == odd
	}, each)
	check()
}

func (m *tableModel) withdraw(i uint32, _ byte) {
	sl := m.slots[i]
	want := sl.wire && !sl.live
	m.expect("withdrawn", m.tb.Withdraw(sl.armed), want)
	if want {
		m.endQuarantine(i)
	}
}

// expectDeadline checks what the slot of a request that has just ended was armed with.
func (m *tableModel) expectDeadline(what string, s *Slot[int], sl *modelSlot) {
	deadline, note := s.Deadline()
	m.expect("deadline of the request "+what, deadline, sl.deadline)
	m.expect("note of the request "+what, note, sl.note)
}

func (m *tableModel) close() {
	each, check := m.given("lost", func(sl *modelSlot) bool { return sl.live }, false)
	var ended []uint32
	for i := range uint32(len(m.slots)) {
		if sl := m.slots[i]; sl.wire && !sl.live {
			ended = append(ended, i)
		}
	}
	// Close goes from slot to slot, so a slot that leaves quarantine and one that is
	// released are freed in the order of their indices.
	m.tb.Close(func(s *Slot[int], id ID) {
		for len(ended) > 0 && ended[0] < m.tb.indexOf(id) {
			m.endQuarantine(ended[0])
			ended = ended[1:]
		}
		each(s, id)
	})
	for _, i := range ended {
		m.endQuarantine(i)
	}
	m.sealed = true
	check()
}

func (m *tableModel) endQuarantine(i uint32) {
	m.slots[i].wire = false
	m.settle(i)
}

func (m *tableModel) check() {
	orphans := 0
	for _, sl := range m.slots {
		if sl.wire && !sl.live {
			orphans++
		}
	}
	m.expect("orphans", m.tb.Orphans(), orphans)
	m.expect("slots in use", m.tb.InUse(), len(m.slots)-len(m.free))
	m.expect("slots acquired", m.tb.free.head.Load(), m.acquired)
}

// FuzzTable runs a program of bytes on a table and on a plain model: two bytes for each
// operation, after one for the capacity.
func FuzzTable(f *testing.F) {
	const (
		acquire = iota
		acquireInto
		arm
		free
		freeAll
		renew
		answer
		answerOther
		cancel
		cancelOther
		release
		expire
		closeTable
		expireSome
		withdraw
		seal
	)
	f.Add([]byte{0, acquire, 0, arm, 0, answer, 0, free, 0, acquire, 0, arm, 0, answer, 0,
		renew, 0, arm, 0, cancel, 0, release, 0, acquire, 0, answer, 0, acquire, 0, arm, 0,
		closeTable, 255, acquire, 0, arm, 0, freeAll, 0})
	f.Add([]byte{4, acquireInto, 5, arm, 0, arm, 9, arm, 18, arm, 27, expire, 2, answer, 1,
		release, 1, answer, 2, release, 2, answerOther, 99, cancelOther, 99, freeAll, 3,
		acquireInto, 7})
	f.Add([]byte{3, acquireInto, 4, arm, 0, arm, 1, arm, 2, cancel, 1, cancel, 2, release, 2,
		closeTable, 200, release, 1, free, 3})
	f.Add([]byte{4, acquireInto, 5, arm, 40, arm, 51, arm, 62, arm, 73, expireSome, 90, release, 1,
		withdraw, 1, expireSome, 30, withdraw, 2, seal, 240, arm, 4, freeAll, 0, answer, 3})
	f.Fuzz(runTableModel)
}

// runTableModel runs a program, and then frees what is left.
func runTableModel(t *testing.T, program []byte) {
	if len(program) == 0 {
		return
	}
	capacity := 1 + int(program[0]%5)
	m := newTableModel(t, capacity)
	for program = program[1:]; len(program) > 1; program = program[2:] {
		op, arg := program[0], program[1]
		tableOps[int(op)%len(tableOps)](m, uint32(arg)%uint32(capacity), arg)
		m.check()
	}
	m.close()
	for i, sl := range m.slots {
		if sl.held {
			m.release(i, 0)
		}
	}
	m.freeAll(0, 0)
	m.check()
	m.expect("slots free in the end", len(m.free), capacity)
}

func TestRandomOperationsAgreeWithTheTableModel(t *testing.T) {
	programs := 10_000
	if testing.Short() || raceEnabled {
		programs = 1_000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	program := make([]byte, 201) // 100 operations
	for range programs {
		for i := range program {
			program[i] = byte(rng.Uint32())
		}
		runTableModel(t, program)
	}
}
