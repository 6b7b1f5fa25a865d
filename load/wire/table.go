package wire

import "fmt"

// Verdict is what a reply turned out to be.
type Verdict int

const (
	Answered  Verdict = iota // the reply to a request that was open
	Late                     // the reply to a request that was given up
	Duplicate                // a second reply
	Unknown                  // no request has that ID, or none is open
)

// WindowMax is the largest window of a Table.
const WindowMax = 1 << 16

const (
	entriesMin = 64
	entriesMax = 4 * WindowMax
)

// state of an entry.
type state uint8

const (
	rested   state = iota // never used, or its last ID is forgotten
	open                  // waits for its reply
	givenUp               // its reply is not waited for, and has not come
	answered              // its reply has come
)

const none = int32(-1)

// entry is a request. It is in the list of its state, if that is open or givenUp.
type entry[T any] struct {
	id         uint64
	prev, next int32
	state      state
	value      T
}

// Table matches replies with the requests of one connection. IDs are issued in turn, so
// that the one which has rested longest is next; those whose reply is still due are passed
// over. Without IDs a reply is that of the oldest request whose reply is still due, given
// up or not.
//
// An ID lies at its remainder by the number of entries, a power of two, so that finding it
// takes no division. That number grows while requests are given up and their replies do not
// come, to 4·WindowMax, unless there are entries for all IDs before.
// A Table is not safe for concurrent use.
type Table[T any] struct {
	entries  []entry[T]
	ordered  bool
	min, max uint64 // of the IDs
	next     uint64 // the ID to issue, unless it is in use
	open     list
	given    list
}

// list is a doubly linked list of entries by index, the oldest first.
type list struct {
	first, last int32
	len         int
}

// CheckWindow returns an error if a Table cannot have a window of n.
func (c *Codec) CheckWindow(n int) error {
	if n < 1 || n > WindowMax {
		return fmt.Errorf("in flight %d: must be 1 to %d", n, WindowMax)
	}
	if ids := c.spec.IDs(); uint64(n) > ids {
		return fmt.Errorf("in flight %d: must be 1 to %d, which is how many IDs there are", n, ids)
	}
	return nil
}

// NewTable returns a table of the codec's IDs for a window that CheckWindow accepts: as
// many requests will be open at most. T is what is known of each.
func NewTable[T any](c *Codec, window int) *Table[T] {
	t := &Table[T]{ordered: c.spec.Ordered(), min: c.spec.IDMin, max: c.spec.IDMin + c.spec.IDs() - 1}
	n := 1
	for n < max(entriesMin, 4*window) && uint64(n) < c.spec.IDs() {
		n *= 2
	}
	t.entries = make([]entry[T], n)
	t.Reset()
	return t
}

// Reset forgets all requests, as if the table were new. It is for a new connection.
func (t *Table[T]) Reset() {
	clear(t.entries)
	t.open, t.given = list{none, none, 0}, list{none, none, 0}
	t.next = t.min
}

// Open is how many requests are open.
func (t *Table[T]) Open() int { return t.open.len }

// GivenUp is how many were given up and have no reply yet.
func (t *Table[T]) GivenUp() int { return t.given.len }

// Worn reports whether half of the entries are of requests that were given up, and there
// will be no more entries: the connection should be replaced.
func (t *Table[T]) Worn() bool { return !t.canGrow() && 2*t.given.len >= t.size() }

// Free is how many requests can be issued; the window is the caller's to keep.
func (t *Table[T]) Free() int { return t.size() - t.open.len - t.given.len }

// size is how many requests can have no reply at a time.
func (t *Table[T]) size() int {
	if n := t.max - t.min; n < uint64(len(t.entries)) {
		return int(n) + 1
	}
	return len(t.entries)
}

// Issue opens a request and returns its ID and what will be known of it, which is zero and
// the caller's to set. It is valid until the table is called again. Issue fails if no
// entry is free.
func (t *Table[T]) Issue() (id uint64, value *T, ok bool) {
	if t.Free() == 0 {
		return 0, nil, false
	}
	// Twice: where the IDs begin anew, two of a row may lie at one entry.
	for range 2 * len(t.entries) {
		id = t.next
		if t.next++; id == t.max {
			t.next = t.min
		}
		i := t.index(id)
		e := &t.entries[i]
		if e.state == open || e.state == givenUp {
			continue
		}
		*e = entry[T]{id: id, state: open}
		t.push(&t.open, i)
		return id, &e.value, true
	}
	return 0, nil, false
}

// Find returns what is known of a request that is open or given up, nil if none has that ID.
func (t *Table[T]) Find(id uint64) (value *T, isOpen bool) {
	e := &t.entries[t.index(id)]
	if e.id != id || e.state != open && e.state != givenUp {
		return nil, false
	}
	return &e.value, e.state == open
}

// Answer takes a reply. Of an answered or late one it returns what is known of the request,
// valid until the table is called again. Without IDs the ID is not looked at.
func (t *Table[T]) Answer(id uint64) (value *T, v Verdict) {
	if t.ordered {
		return t.answerOldest()
	}
	i := t.index(id)
	e := &t.entries[i]
	if e.id != id {
		return nil, Unknown
	}
	switch e.state {
	case open:
		t.remove(&t.open, i)
		v = Answered
	case givenUp:
		t.remove(&t.given, i)
		v = Late
	case answered:
		return nil, Duplicate
	default:
		return nil, Unknown
	}
	e.state = answered
	return &e.value, v
}

// answerOldest is Answer without IDs. Requests are given up in their order, so those that
// were are the oldest.
func (t *Table[T]) answerOldest() (value *T, v Verdict) {
	of, v := &t.given, Late
	if of.len == 0 {
		of, v = &t.open, Answered
	}
	if of.len == 0 {
		return nil, Unknown
	}
	i := of.first
	t.remove(of, i)
	t.entries[i].state = answered
	return &t.entries[i].value, v
}

// Oldest returns what is known of the open request that was issued first, nil if none is
// open.
func (t *Table[T]) Oldest() *T { return t.at(t.open.first) }

// OldestGivenUp returns what is known of the request without a reply that was given up
// first, nil if there is none.
func (t *Table[T]) OldestGivenUp() *T { return t.at(t.given.first) }

func (t *Table[T]) at(i int32) *T {
	if i == none {
		return nil
	}
	return &t.entries[i].value
}

// GiveUpOldest gives up the request that Oldest returns: its ID rests until its reply comes.
func (t *Table[T]) GiveUpOldest() {
	i := t.open.first
	t.remove(&t.open, i)
	t.entries[i].state = givenUp
	t.push(&t.given, i)
	if 4*t.given.len > t.size() && t.canGrow() {
		t.grow()
	}
}

// Each calls f for every request without a reply, the open ones first, in their order.
func (t *Table[T]) Each(f func(value *T, isOpen bool)) {
	for i := t.open.first; i != none; i = t.entries[i].next {
		f(&t.entries[i].value, true)
	}
	for i := t.given.first; i != none; i = t.entries[i].next {
		f(&t.entries[i].value, false)
	}
}

func (t *Table[T]) index(id uint64) int32 { return int32(id & uint64(len(t.entries)-1)) }

func (t *Table[T]) canGrow() bool {
	return 2*len(t.entries) <= entriesMax && uint64(len(t.entries)) <= t.max-t.min
}

// grow doubles the entries. What lay apart lies apart then, too.
func (t *Table[T]) grow() {
	old := t.entries
	opened, given := t.open.first, t.given.first
	t.entries = make([]entry[T], 2*len(old))
	t.open, t.given = list{none, none, 0}, list{none, none, 0}
	for i := range old {
		if old[i].state == answered {
			t.entries[t.index(old[i].id)] = old[i]
		}
	}
	for _, of := range []struct {
		first int32
		to    *list
	}{{opened, &t.open}, {given, &t.given}} {
		for i := of.first; i != none; i = old[i].next {
			at := t.index(old[i].id)
			t.entries[at] = old[i]
			t.push(of.to, at)
		}
	}
}

// push puts entry i at the end of a list.
func (t *Table[T]) push(l *list, i int32) {
	e := &t.entries[i]
	e.prev, e.next = l.last, none
	if l.last == none {
		l.first = i
	} else {
		t.entries[l.last].next = i
	}
	l.last = i
	l.len++
}

func (t *Table[T]) remove(l *list, i int32) {
	e := &t.entries[i]
	if e.prev == none {
		l.first = e.next
	} else {
		t.entries[e.prev].next = e.next
	}
	if e.next == none {
		l.last = e.prev
	} else {
		t.entries[e.next].prev = e.prev
	}
	l.len--
}
