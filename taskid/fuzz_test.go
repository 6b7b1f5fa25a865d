package taskid

import "testing"

// modelSlot is what the model knows about one request.
type modelSlot struct {
	s                        *Slot[int]
	live, held, queued, wire bool
	deadline                 Tick
}

func (m *modelSlot) free() bool { return !m.live && !m.held && !m.queued && !m.wire }

// FuzzTable runs a program of bytes on a table and on a plain model: each byte
// names a request in flight and what happens to it.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{0, 0, 0, 0, 1, 9, 17, 25, 2, 10, 3, 11, 4, 12, 0, 0})
	f.Add([]byte{0, 1, 3, 4, 2, 0, 1, 2, 5, 6})
	f.Fuzz(func(t *testing.T, program []byte) {
		const capacity = 5
		tb := NewTable[int](capacity)
		var open []*modelSlot // every request with a party that needs it
		expect := func(what string, got, want any) {
			if got != want {
				t.Fatalf("%s: got %v, want %v", what, got, want)
			}
		}
		for _, b := range program {
			if op := b % 8; op == 0 {
				st := tb.NewStash()
				s := st.Acquire()
				expect("room", s != nil, len(open) < capacity)
				if s == nil {
					continue
				}
				st.Return()
				for _, m := range open {
					if m.s == s {
						t.Fatal("a slot in use was acquired again")
					}
				}
				deadline := Tick(b / 8)
				direct := b >= 128
				if direct {
					expect("arm sent", tb.ArmSent(s, deadline), true)
				} else {
					expect("arm", tb.Arm(s, deadline), true)
				}
				open = append(open, &modelSlot{s: s, live: true, held: true, queued: !direct, wire: direct, deadline: deadline})
			} else if len(open) > 0 {
				stepModel(tb, open, open[int(b/8)%len(open)], op, expect)
			}
			kept := open[:0]
			for _, m := range open {
				if !m.free() {
					kept = append(kept, m)
				}
			}
			open = kept
			expect("slots in use", tb.InUse(), len(open))
			orphans := 0
			for _, m := range open {
				if m.wire && !m.live {
					orphans++
				}
			}
			expect("orphans", tb.Orphans(), orphans)
		}
	})
}

// stepModel does one operation on the table and on the model; m is the request
// that the operation is about.
func stepModel(tb *Table[int], open []*modelSlot, m *modelSlot, op byte, expect func(string, any, any)) {
	id := wordID(m.s.word.Load())
	switch op {
	case 1:
		if m.queued {
			expect("mark sent", tb.MarkSent(m.s, NoTick), m.live)
			m.queued, m.wire = false, m.live
		}
	case 2:
		want := Unknown
		if m.wire {
			want = Late
			if m.live {
				want = Won
			}
		}
		_, match := tb.Answer(id)
		expect("answer", match, want)
		if m.wire {
			m.wire, m.live = false, false
		}
	case 3:
		_, won, sent := tb.Cancel(id)
		expect("cancel", won, m.live)
		expect("cancelled after it was sent", sent, m.live && m.wire)
		m.live = false
	case 4:
		if !m.live && m.held {
			tb.Release(m.s)
			m.held = false
		}
	case 5:
		if m.queued {
			tb.Unqueue(m.s)
			m.queued = false
		}
	case 6:
		expired := map[*Slot[int]]bool{}
		tb.Expire(16, func(s *Slot[int], _ bool) { expired[s] = true })
		for _, m := range open {
			due := m.live && m.deadline != NoTick && m.deadline <= 16
			expect("expired", expired[m.s], due)
			m.live = m.live && !due
		}
	case 7:
		if !m.live && m.held {
			st := tb.NewStash()
			st.Release(m.s)
			st.Return()
			m.held = false
		}
	}
}
