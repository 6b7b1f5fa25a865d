package ring

import (
	"bytes"
	"testing"
)

// A program is a capacity, a starting position and then one step a byte: the low
// three bits say what, the rest how much.
func readProgram(data []byte) (capacity int, start uint64, steps []byte, ok bool) {
	if len(data) < 2 {
		return 0, 0, nil, false
	}
	capacity = 1 + int(data[0]%9)
	all := starts(roundUp(capacity))
	return capacity, all[int(data[1])%len(all)] - uint64(data[1]/16), data[2:], true
}

func seed(f *testing.F) {
	for _, capacity := range []byte{0, 1, 2, 7, 8} {
		for start := range byte(5) {
			f.Add(append([]byte{capacity, start}, bytes.Repeat([]byte{0, 1, 5, 0, 2, 6 | 3<<3, 7}, 8)...))
			f.Add(append([]byte{capacity, start}, bytes.Repeat([]byte{3, 0, 3, 6 | 31<<3, 4 | 1<<3, 5, 4, 7, 6 | 9<<3}, 6)...))
		}
	}
}

// popMatches pops up to room values, in one of two ways, and compares them with want.
func popMatches(t *testing.T, q both, single bool, room int, want []uint64) {
	t.Helper()
	if single {
		v, ok := q.TryPop()
		if ok != (len(want) > 0) || ok && v != want[0] || !ok && v != 0 {
			t.Fatalf("TryPop = %d, %t, want the first of %d", v, ok, want)
		}
		return
	}
	dst := make([]uint64, room)
	n := q.PopInto(dst)
	if n != len(want) {
		t.Fatalf("PopInto with room for %d = %d, want %d", room, n, len(want))
	}
	for i, v := range want {
		if dst[i] != v {
			t.Fatalf("PopInto = %d, want %d", dst[:n], want)
		}
	}
}

func FuzzSPSC(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		capacity, start, steps, ok := readProgram(data)
		if !ok {
			return
		}
		r := newSPSC[uint64](capacity, start)
		var model []uint64
		next := uint64(1)
		for _, b := range steps {
			switch b & 7 {
			case 0, 1, 2, 3:
				ok := r.TryPush(next)
				if ok != (len(model) < r.Cap()) {
					t.Fatalf("TryPush = %t with %d of %d queued", ok, len(model), r.Cap())
				}
				if ok {
					model = append(model, next)
				}
				next++
			case 4, 5:
				n := min(1, len(model))
				popMatches(t, r, true, 1, model[:n])
				model = model[n:]
			default:
				n := min(int(b>>3), len(model))
				popMatches(t, r, false, int(b>>3), model[:n])
				model = model[n:]
			}
			if r.Len() != len(model) || held(r.slots) != len(model) {
				t.Fatalf("Len = %d, %d slots hold something, want %d", r.Len(), held(r.slots), len(model))
			}
		}
		popMatches(t, r, false, len(model)+1, model)
		if !exactCapacity(r) {
			t.Fatal("a drained ring takes exactly its capacity")
		}
	})
}

// held counts the slots that are not zero; no value in these tests is.
func held(slots []uint64) (n int) {
	for _, v := range slots {
		if v != 0 {
			n++
		}
	}
	return n
}

// mpscModel is a slice that knows which of its values are published.
type mpscModel struct {
	r       *MPSC[uint64]
	queue   []modelCell
	claimed []uint64 // positions to be published
	pushed  uint64
}

type modelCell struct {
	pos, val  uint64
	published bool
}

func (m *mpscModel) claim(t *testing.T) {
	pos, ok := m.r.claim()
	if ok != (len(m.queue) < m.r.Cap()) {
		t.Fatalf("claim = %t with %d of %d claimed", ok, len(m.queue), m.r.Cap())
	}
	if ok {
		if pos != m.r.first+m.pushed {
			t.Fatalf("claim = %#x after %d pushes from %#x", pos, m.pushed, m.r.first)
		}
		m.queue = append(m.queue, modelCell{pos: pos, val: m.pushed + 1})
		m.claimed = append(m.claimed, pos)
		m.pushed++
	}
}

// publish completes the i-th of the claims that are open.
func (m *mpscModel) publish(i int) {
	if len(m.claimed) == 0 {
		return
	}
	i %= len(m.claimed)
	pos := m.claimed[i]
	m.claimed = append(m.claimed[:i], m.claimed[i+1:]...)
	for j := range m.queue {
		if m.queue[j].pos == pos {
			m.r.publish(pos, m.queue[j].val)
			m.queue[j].published = true
		}
	}
}

func (m *mpscModel) push(t *testing.T) {
	ok := m.r.TryPush(m.pushed + 1)
	if ok != (len(m.queue) < m.r.Cap()) {
		t.Fatalf("TryPush = %t with %d of %d claimed", ok, len(m.queue), m.r.Cap())
	}
	if ok {
		m.queue = append(m.queue, modelCell{pos: m.r.first + m.pushed, val: m.pushed + 1, published: true})
		m.pushed++
	}
}

func (m *mpscModel) pop(t *testing.T, single bool, room int) {
	var want []uint64
	for len(want) < room && len(want) < len(m.queue) && m.queue[len(want)].published {
		want = append(want, m.queue[len(want)].val)
	}
	popMatches(t, m.r, single, room, want)
	m.queue = m.queue[len(want):]
}

func (m *mpscModel) check(t *testing.T) {
	published := 0
	for _, c := range m.queue {
		if c.published {
			published++
		}
	}
	vals := make([]uint64, len(m.r.cells))
	for i := range vals {
		vals[i] = m.r.cells[i].val
	}
	if got := held(vals); got != published {
		t.Fatalf("%d cells hold something, want %d", got, published)
	}
	if empty := len(m.queue) == 0 || !m.queue[0].published; m.r.Empty() != empty {
		t.Fatalf("Empty = %t", m.r.Empty())
	}
	if m.r.Len() != len(m.queue) || m.r.Pushed() != m.pushed {
		t.Fatalf("Len, Pushed = %d, %d, want %d, %d", m.r.Len(), m.r.Pushed(), len(m.queue), m.pushed)
	}
}

func FuzzMPSC(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		capacity, start, steps, ok := readProgram(data)
		if !ok {
			return
		}
		m := &mpscModel{r: newMPSC[uint64](capacity, start)}
		for _, b := range steps {
			switch arg := int(b >> 3); b & 7 {
			case 0, 1, 2:
				m.push(t)
			case 3:
				m.claim(t)
			case 4, 7:
				m.publish(arg)
			case 5:
				m.pop(t, true, 1)
			case 6:
				m.pop(t, false, arg)
			}
			m.check(t)
		}
		for len(m.claimed) > 0 {
			m.publish(0)
		}
		m.pop(t, false, len(m.queue)+1)
		m.check(t)
		if !exactCapacity(m.r) {
			t.Fatal("a drained ring takes exactly its capacity")
		}
	})
}
