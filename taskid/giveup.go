package taskid

import "github.com/ringwire/ringwire/internal/invariant"

// Withdraw ends the quarantine of a request that was given up, if that is so, because its
// frame will not be sent. Only the goroutine that would send the frame may call it,
// before it is sent.
func (t *Table[T]) Withdraw(id ID) bool {
	i := t.indexOf(id)
	s := t.slot(i)
	for {
		w := s.word.Load()
		if wordID(w) != id || w&wire == 0 || w&live != 0 {
			return false
		}
		n := w &^ wire
		if !s.word.CompareAndSwap(w, n) {
			continue
		}
		t.endQuarantine(i, n)
		return true
	}
}

// Cancel gives up the request with this ID. won means that the caller completes it and
// owns the slot until Release. It is harmless for an ID that is not in flight.
func (t *Table[T]) Cancel(id ID) (s *Slot[T], won bool) {
	i := t.indexOf(id)
	if i >= t.size.Load() {
		return nil, false
	}
	s = t.slot(i)
	for {
		w := s.word.Load()
		if wordID(w) != id || w&live == 0 {
			return nil, false
		}
		if t.giveUp(s, w) {
			return s, true
		}
	}
}

// Deadline returns the deadline and the note that the slot was armed with. Only its owner
// may ask.
func (s *Slot[T]) Deadline() (Tick, uint8) {
	w := s.word.Load()
	return wordTick(w), wordNote(w)
}

// Expire gives up every request whose deadline is at or before now and calls complete
// for each, on the caller's goroutine; complete owns the slot until it calls Release.
func (t *Table[T]) Expire(now Tick, complete func(s *Slot[T], id ID)) {
	t.ExpireIf(now, nil, complete)
}

// ExpireIf is Expire for those of the requests with a note other than 0 for which due
// returns true, and for all without one.
func (t *Table[T]) ExpireIf(
	now Tick, due func(deadline Tick, note uint8) bool, complete func(s *Slot[T], id ID),
) {
	for i := range t.size.Load() {
		s := t.slot(i)
		w := s.word.Load()
		if w&live == 0 || wordTick(w) == NoTick || !wordTick(w).Due(now) {
			continue
		}
		if note := wordNote(w); note != 0 && due != nil && !due(wordTick(w), note) {
			continue
		}
		// A failed swap means that the request moved on: it is answered or given up.
		if t.giveUp(s, w) {
			complete(s, wordID(w))
		}
	}
}

// giveUp takes the outcome of a live slot and puts its ID into quarantine.
func (t *Table[T]) giveUp(s *Slot[T], w uint64) bool {
	// Counted before it can be answered late: the count is never below zero.
	t.orphans.Add(1)
	if s.word.CompareAndSwap(w, w&^live|held) {
		return true
	}
	t.orphans.Add(-1)
	return false
}

// Seal makes Arm fail from now on. Requests that are in flight stay: when there is none
// left, none comes any more.
func (t *Table[T]) Seal() { t.closed.CompareAndSwap(open, sealed) }

// Close ends the table: Arm fails from now on, every request still open is given to
// complete, on the caller's goroutine, which owns the slot until it calls Release, and
// the quarantine ends, since no reply can come any more. Only the first call has an
// effect; another returns at once.
func (t *Table[T]) Close(complete func(s *Slot[T], id ID)) {
	if t.closed.Swap(closed) == closed {
		return
	}
	for i := range t.size.Load() {
		s := t.slot(i)
		for {
			w := s.word.Load()
			if w&wire == 0 {
				break
			}
			n := w &^ (live | wire)
			if w&live != 0 {
				n |= held
			}
			if !s.word.CompareAndSwap(w, n) {
				continue
			}
			if w&live != 0 {
				complete(s, wordID(w))
			} else {
				t.endQuarantine(i, n)
			}
			break
		}
	}
}

// Release ends the use of a slot by the goroutine that gave its request up. The slot is
// free at once, or when its answer comes.
func (t *Table[T]) Release(id ID) {
	i := t.indexOf(id)
	s := t.slot(i)
	for {
		w := s.word.Load()
		if invariant.Enabled {
			givenUp := wordID(w) == id && w&(held|live) == held
			invariant.Check(givenUp, "taskid: released a slot that was not given up")
		}
		if s.word.CompareAndSwap(w, w&^held) {
			t.freeIfUnused(i, w&^held)
			return
		}
	}
}
