package taskid

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/invariant"
)

// chunkSlots is how many slots a table adds at a time. A connection with few requests
// in flight never touches more, which keeps its slots in cache.
const chunkSlots = 256

// MaxCapacity is the largest number of requests one table can hold: it leaves twelve
// bits for the generation.
const MaxCapacity = 1 << 20

// Table is the set of requests in flight on one connection. It lives and dies with the
// connection: a new connection gets a new table, so no reply can cross from one to the
// next. All methods are safe for concurrent use; those that are for a slot's owner (see
// Slot.V) leave it to the caller that there is one at a time.
type Table[T any] struct {
	limit    int
	slotBits uint

	free    freeList
	orphans atomic.Int64  // slots in quarantine: sent, given up, unanswered
	closed  atomic.Uint32 // open, sealed or closed

	mu     sync.Mutex // guards growth; nothing else runs under it
	size   atomic.Uint32
	grown  atomic.Bool // size is limit, and every slot has been in the free list
	chunks []atomic.Pointer[[chunkSlots]Slot[T]]
}

// How far a table is in its life. It only grows.
const (
	open   uint32 = iota
	sealed        // it takes no more requests
	closed        // it has none
)

// Slot is one request's place in a Table: small, so that thousands stay in cache.
type Slot[T any] struct {
	word word

	// V is what the table's user keeps with the request. It belongs to the goroutine that
	// acquired the slot until Arm, and to the one that won its outcome until Free or
	// Release.
	V T
}

// NewTable returns a table for at most capacity requests at once. A capacity outside 1
// to MaxCapacity is the caller's bug and panics.
func NewTable[T any](capacity int) *Table[T] {
	if capacity < 1 || capacity > MaxCapacity {
		panic(fmt.Sprintf("taskid: capacity %d is outside 1 to %d", capacity, MaxCapacity))
	}
	t := &Table[T]{
		limit:    capacity,
		slotBits: max(1, uint(bits.Len(uint(capacity-1)))),
		chunks:   make([]atomic.Pointer[[chunkSlots]Slot[T]], (capacity+chunkSlots-1)/chunkSlots),
	}
	t.free.init(1 << t.slotBits)
	return t
}

// Nobody is an ID that no table issues: of the second slot, in a generation that none has.
// A request whose reply nobody waits for can have it.
const Nobody ID = 1

// Generations returns how many IDs each slot can issue before one comes back.
func (t *Table[T]) Generations() uint32 { return 1<<(32-t.slotBits) - 1 }

// Cap returns the largest number of requests in flight.
func (t *Table[T]) Cap() int { return t.limit }

// InUse returns the number of slots that are not free: requests in flight, and orphans.
// While others acquire and free slots it may be too large, up to Cap, never too small by
// slots that were in use before the call.
func (t *Table[T]) InUse() int {
	free := t.free.len() // before the size, which only grows
	return min(int(t.size.Load())-free, t.limit)
}

// Orphans returns the number of IDs in quarantine: their requests were sent, then given
// up, and no answer has come.
func (t *Table[T]) Orphans() int { return int(t.orphans.Load()) }

// Acquire takes a free slot and returns it with its next ID, or nil when all slots are
// in use. The slot is the caller's, and invisible to everybody else, until Arm; the
// caller may return it by Free instead.
func (t *Table[T]) Acquire() (*Slot[T], ID) {
	for {
		grown := t.grown.Load() // before the look: growth frees its slots, then says so
		if i, ok := t.free.pop(); ok {
			return t.Renew(ID(i))
		}
		if grown || !t.grow() {
			return nil, None
		}
	}
}

// AcquireInto takes up to len(ids) free slots, 64 at most, in one operation where it
// can, puts their next IDs into ids and returns how many. They are as after Acquire. It
// may take fewer than are free, and none only when Acquire would find none.
func (t *Table[T]) AcquireInto(ids []ID) int {
	var indices [64]uint32
	n := t.free.popInto(indices[:min(len(ids), len(indices))])
	for i, index := range indices[:n] {
		_, ids[i] = t.Renew(ID(index))
	}
	if n == 0 && len(ids) > 0 {
		if s, id := t.Acquire(); s != nil {
			ids[0], n = id, 1
		}
	}
	return n
}

// Renew gives a slot that is the caller's, by Acquire or a won Answer, its next ID, as
// if it had been freed and acquired. id is one that the slot has had; V stays.
func (t *Table[T]) Renew(id ID) (*Slot[T], ID) {
	s := t.slot(t.indexOf(id))
	return s, t.nextID(s)
}

// nextID counts the slot's generation up and skips generation 0, so that ID 0 is never
// issued.
func (t *Table[T]) nextID(s *Slot[T]) ID {
	step := ID(1) << t.slotBits
	last := wordID(s.word.Load())
	id := last + step
	if id < step {
		id += step
	}
	return id
}

// Slot returns the slot that an ID names. Only the owner of the slot may ask.
func (t *Table[T]) Slot(id ID) *Slot[T] { return t.slot(t.indexOf(id)) }

// Arm publishes the slot: from now on its request can be answered, expire, be
// cancelled or fail with the connection. It must come before the frame can reach the
// wire. It reports false, and the slot is the caller's as before, when the table was
// closed or sealed first. s and id are what Acquire, AcquireInto or Renew gave; deadline is NoTick
// or what After returned.
func (t *Table[T]) Arm(s *Slot[T], id ID, deadline Tick) bool {
	return t.ArmNoted(s, id, deadline, 0)
}

// ArmNoted is Arm with a note about the deadline, at most MaxNote, that Expire and
// Slot.Deadline give back.
func (t *Table[T]) ArmNoted(s *Slot[T], id ID, deadline Tick, note uint8) bool {
	if invariant.Enabled {
		unused := s.word.Load()&parties == 0
		invariant.Check(unused && id == t.nextID(s), "taskid: armed a slot that is in use, or an old ID")
	}
	w := uint64(id)<<idShift | uint64(note)<<noteShift | live | wire
	s.word.Store(withTick(w, deadline))
	// Close and Seal set closed, then look for live slots; we publish, then look. One of the
	// two sees the other.
	return t.closed.Load() == open || !t.withdraw(s, id)
}

// withdraw takes an armed slot back. It reports false when the outcome is decided: the
// slot may then serve another request. What was given up after Close had passed its
// slot leaves quarantine here.
func (t *Table[T]) withdraw(s *Slot[T], id ID) bool {
	for {
		w := s.word.Load()
		if wordID(w) != id || w&wire == 0 {
			return false
		}
		n := w &^ (live | wire)
		if !s.word.CompareAndSwap(w, n) {
			continue
		}
		if w&live == 0 {
			t.endQuarantine(t.indexOf(id), n)
		}
		return w&live != 0
	}
}

// Open reports whether the outcome of the request with this ID is open. The ID must be
// one that the table has issued.
func (t *Table[T]) Open(id ID) bool {
	w := t.slot(t.indexOf(id)).word.Load()
	return wordID(w) == id && w&live != 0
}

// Unused reports whether a slot is nobody's, or belongs to a goroutine that has not armed
// it since the request with this ID. The ID may be any.
func (t *Table[T]) Unused(id ID) bool {
	i := t.indexOf(id)
	if i >= t.size.Load() {
		return false
	}
	w := t.slot(i).word.Load()
	return wordID(w) == id && w&parties == 0
}

// Match is what Answer found.
type Match uint8

// The outcomes of Answer.
const (
	Unknown Match = iota // no request waits for this ID: duplicate, early or invented
	Late                 // its request was given up before; the ID leaves quarantine
	Won                  // the caller completes the request with this reply
)

// Answer takes note of a reply; its ID may be any. After Won the slot is the caller's
// until Free, FreeAll or the Arm that follows Renew; in every other case the reply must
// be dropped.
func (t *Table[T]) Answer(id ID) (*Slot[T], Match) {
	i := t.indexOf(id)
	if i >= t.size.Load() {
		return nil, Unknown
	}
	s := t.slot(i)
	for {
		w := s.word.Load()
		if wordID(w) != id || w&wire == 0 {
			return nil, Unknown
		}
		n := w &^ (wire | live)
		if !s.word.CompareAndSwap(w, n) {
			continue
		}
		if w&live != 0 {
			return s, Won
		}
		t.endQuarantine(i, n)
		return nil, Late
	}
}

// Free returns a slot that is the caller's: acquired and not armed, or won by Answer.
func (t *Table[T]) Free(id ID) {
	i := t.indexOf(id)
	t.checkUnused(i)
	t.free.push(i)
}

// FreeAll is Free for several slots, with one operation on what others share.
func (t *Table[T]) FreeAll(ids []ID) {
	for i := 0; invariant.Enabled && i < len(ids); i++ {
		t.checkUnused(t.indexOf(ids[i]))
	}
	t.free.pushAll(ids, 1<<t.slotBits-1)
}

func (t *Table[T]) checkUnused(i uint32) {
	if invariant.Enabled {
		w := t.slot(i).word.Load()
		invariant.Check(w&parties == 0, "taskid: freed a slot that is in use")
	}
}

// endQuarantine is for the goroutine that cleared wire, but not live, by writing w.
func (t *Table[T]) endQuarantine(i uint32, w uint64) {
	t.orphans.Add(-1)
	t.freeIfUnused(i, w)
}

// freeIfUnused frees the slot if the word just written names no party.
func (t *Table[T]) freeIfUnused(i uint32, w uint64) {
	if w&parties == 0 {
		t.free.push(i)
	}
}

func (t *Table[T]) indexOf(id ID) uint32 { return uint32(id) & (1<<t.slotBits - 1) }

func (t *Table[T]) slot(i uint32) *Slot[T] {
	return &t.chunks[i/chunkSlots].Load()[i%chunkSlots]
}

// grow adds a chunk of slots. It reports false when the table has its full size and no
// slot is free.
func (t *Table[T]) grow() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := int(t.size.Load())
	if t.free.len() > 0 {
		return true // another acquirer grew the table while we waited
	}
	if size == t.limit {
		return false
	}
	n := min(chunkSlots, t.limit-size)
	chunk := new([chunkSlots]Slot[T])
	for i := range n {
		chunk[i].word.Store(uint64(size+i) << idShift) // generation 0: the first is 1
	}
	t.chunks[size/chunkSlots].Store(chunk)
	t.size.Store(uint32(size + n)) // before the indices are free: Answer checks it
	for i := range n {
		t.free.push(uint32(size + i))
	}
	t.grown.Store(size+n == t.limit)
	return true
}
