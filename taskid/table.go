package taskid

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/invariant"
)

// chunkSlots is how many slots a table adds at a time. A connection with few
// requests in flight never touches more, which keeps its slots in cache.
const chunkSlots = 256

// MaxCapacity is the largest number of requests one table can hold: it leaves
// twelve bits for the generation.
const MaxCapacity = 1 << 20

// Table is the set of requests in flight on one connection. It lives and dies
// with the connection: a new connection gets a new table, so no reply can
// cross from one to the next. All methods are safe for concurrent use unless
// they say otherwise.
type Table[T any] struct {
	limit    int
	slotBits uint
	firstGen uint32

	free    freeList
	orphans atomic.Int64 // slots in quarantine: sent, given up, unanswered
	closed  atomic.Bool

	mu     sync.Mutex // guards growth; nothing else runs under it
	size   atomic.Uint32
	chunks []atomic.Pointer[[chunkSlots]Slot[T]]
}

// Slot is one request's place in a Table. Who acquired it, or won its
// completion, owns Buf and V until Release.
type Slot[T any] struct {
	word  word
	index uint32
	id    ID // of the present use; written in Acquire, by the owner

	Buf Buffer // the request's frame, later its reply
	V   T
}

// ID returns the ID of the slot's present use. Only the owner may call it.
func (s *Slot[T]) ID() ID { return s.id }

// NewTable returns a table for at most capacity requests at once. A capacity
// outside 1 to MaxCapacity is the caller's bug and panics.
func NewTable[T any](capacity int) *Table[T] {
	return newTableAt[T](capacity, 1)
}

// newTableAt starts the generations at firstGen, for tests of the wrap.
func newTableAt[T any](capacity int, firstGen uint32) *Table[T] {
	if capacity < 1 || capacity > MaxCapacity {
		panic(fmt.Sprintf("taskid: capacity %d is outside 1 to %d", capacity, MaxCapacity))
	}
	t := &Table[T]{
		limit:    capacity,
		slotBits: uint(bits.Len(uint(capacity - 1))),
		firstGen: firstGen,
		chunks:   make([]atomic.Pointer[[chunkSlots]Slot[T]], (capacity+chunkSlots-1)/chunkSlots),
	}
	t.free.init(1 << t.slotBits)
	return t
}

// StartGeneration makes the next IDs of slots not yet used begin at generation
// gen. It exists so that tests can force the generation to wrap; call it before
// the first Acquire.
func (t *Table[T]) StartGeneration(gen uint32) { t.firstGen = gen }

// Generations returns how many IDs each slot can issue before one comes back.
func (t *Table[T]) Generations() uint32 { return 1<<(32-t.slotBits) - 1 }

// Cap returns the largest number of requests in flight.
func (t *Table[T]) Cap() int { return t.limit }

// InUse returns the number of slots that are not free: requests in flight,
// replies not yet released, and orphans. It is exact when nothing moves.
func (t *Table[T]) InUse() int { return int(t.size.Load()) - t.free.len() }

// Orphans returns the number of IDs in quarantine: their requests were sent,
// then timed out or were cancelled, and no answer has come.
func (t *Table[T]) Orphans() int { return int(t.orphans.Load()) }

// Acquire takes a free slot and gives it its next ID. It returns nil when all
// slots are in use. The slot is the caller's, and invisible to everybody else,
// until Arm.
func (t *Table[T]) Acquire() *Slot[T] {
	for {
		if i, ok := t.free.pop(); ok {
			return t.use(i)
		}
		if !t.grow() {
			return nil
		}
	}
}

// use gives a slot taken from the free list its next ID.
func (t *Table[T]) use(i uint32) *Slot[T] {
	s := t.slot(i)
	s.id = t.nextID(s)
	return s
}

// nextID counts the slot's generation up and skips generation 0, so that ID 0 is
// never issued.
func (t *Table[T]) nextID(s *Slot[T]) ID {
	step := ID(1) << t.slotBits
	id := s.id + step
	if id < step {
		id += step
	}
	return id
}

// Arm publishes the slot: its request can from now on be answered, expire, be
// cancelled or fail with the connection, and its ID belongs to the submission
// ring. It reports false, and the request is back in the caller's hands as before
// Arm, when the table was closed first.
func (t *Table[T]) Arm(s *Slot[T], deadline Tick) bool {
	return t.publish(s, live|held|queued, deadline)
}

// ArmSent is Arm and MarkSent in one, for who copied the frame to where it is
// written from without a ring between.
func (t *Table[T]) ArmSent(s *Slot[T], deadline Tick) bool {
	return t.publish(s, live|held|wire, deadline)
}

func (t *Table[T]) publish(s *Slot[T], state uint64, deadline Tick) bool {
	s.word.Store(withTick(uint64(s.id)<<idShift|state, deadline))
	// Close sets closed, then takes every live slot; we publish, then look. One
	// of the two sees the other.
	return !t.closed.Load() || !withdraw(s)
}

// withdraw takes an armed slot back, unless its outcome is already decided.
func withdraw[T any](s *Slot[T]) bool {
	for {
		w := s.word.Load()
		if w&live == 0 {
			return false
		}
		if s.word.CompareAndSwap(w, w&^(live|queued|wire)) {
			return true
		}
	}
}

// Queued returns the slot that an ID taken from the submission ring names, and
// whether its request is still wanted. Only who popped the ID may call it, and
// must follow it by MarkSent or Unqueue; until then the slot cannot be freed and
// its frame does not change.
func (t *Table[T]) Queued(id ID) (s *Slot[T], wanted bool) {
	s = t.slot(t.indexOf(id))
	w := s.word.Load()
	if invariant.Enabled {
		invariant.Check(w&queued != 0 && wordID(w) == id, "taskid: the ring holds an ID that is not queued")
	}
	return s, w&live != 0
}

// MarkSent records that the frame is about to go on the wire, with the deadline
// brought forward to at most deadline. It reports false when the request was
// given up meanwhile: the frame must then not be sent. Either way the slot no
// longer belongs to the queue, and its frame must not be touched.
func (t *Table[T]) MarkSent(s *Slot[T], deadline Tick) bool {
	for {
		w := s.word.Load()
		if w&live == 0 {
			t.Unqueue(s)
			return false
		}
		n := withTick(w&^queued|wire, wordTick(w).Earlier(deadline))
		if s.word.CompareAndSwap(w, n) {
			return true
		}
	}
}

// Unqueue records that the queue has let go of a slot without sending its frame.
// Only who popped its ID may call it.
func (t *Table[T]) Unqueue(s *Slot[T]) {
	for {
		w := s.word.Load()
		if s.word.CompareAndSwap(w, w&^queued) {
			t.freeIfUnused(s, w&^queued)
			return
		}
	}
}

// Open reports whether the outcome of the slot's request is open. Only who acquired
// the slot may call it, before it releases it.
func (t *Table[T]) Open(s *Slot[T]) bool { return s.word.Load()&live != 0 }

// Match is what Answer found.
type Match uint8

// The outcomes of Answer.
const (
	Unknown Match = iota // no request waits for this ID: duplicate, early or invented
	Late                 // its request was given up before; the ID leaves quarantine
	Won                  // the caller completes the request with this reply
)

// Answer takes note of a reply. After Won the slot is the caller's until Release;
// in every other case the reply must be dropped.
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
		t.orphans.Add(-1)
		t.freeIfUnused(s, n)
		return nil, Late
	}
}

// Cancel gives up the request with this ID. won means that the caller now
// completes it and owns the slot until Release; sent tells whether its frame may
// have reached the wire. It is harmless for an ID that is no longer in flight.
func (t *Table[T]) Cancel(id ID) (s *Slot[T], won, sent bool) {
	i := t.indexOf(id)
	if i >= t.size.Load() {
		return nil, false, false
	}
	s = t.slot(i)
	for {
		w := s.word.Load()
		if wordID(w) != id || w&live == 0 {
			return nil, false, false
		}
		if s.word.CompareAndSwap(w, w&^live) {
			t.quarantine(w)
			return s, true, w&wire != 0
		}
	}
}

// Expire gives up every request whose deadline is at or before now and calls
// complete for each, which owns the slot until it calls Release.
func (t *Table[T]) Expire(now Tick, complete func(s *Slot[T], sent bool)) {
	for i := range t.size.Load() {
		s := t.slot(i)
		w := s.word.Load()
		if w&live == 0 || wordTick(w) == NoTick || !wordTick(w).due(now) {
			continue
		}
		// A failed swap means that the request moved on, or was sent and has a
		// new deadline: the next sweep sees it again.
		if s.word.CompareAndSwap(w, w&^live) {
			t.quarantine(w)
			complete(s, w&wire != 0)
		}
	}
}

// Close ends the table: Arm fails from now on, every request still open is
// given to complete, which owns the slot until it calls Release, and the
// quarantine ends, since no reply can come any more. IDs still in the queue
// remain the queue's, which must pop and Unqueue them. Only the first call has
// an effect.
func (t *Table[T]) Close(complete func(s *Slot[T], sent bool)) {
	if t.closed.Swap(true) {
		return
	}
	for i := range t.size.Load() {
		s := t.slot(i)
		for {
			w := s.word.Load()
			if w&(live|wire) == 0 {
				break
			}
			n := w &^ (live | wire)
			if !s.word.CompareAndSwap(w, n) {
				continue
			}
			if w&live != 0 {
				complete(s, w&wire != 0)
			} else {
				t.orphans.Add(-1)
				t.freeIfUnused(s, n)
			}
			break
		}
	}
}

// Release ends the owner's use of a slot whose request is complete. The slot is
// free at once, or when the queue and the wire have let go of it too.
func (t *Table[T]) Release(s *Slot[T]) {
	if t.letGo(s) {
		t.put(s)
	}
}

// letGo ends the owner's use of the slot and reports whether nobody else has any:
// then the caller frees it.
func (t *Table[T]) letGo(s *Slot[T]) bool {
	for {
		w := s.word.Load()
		if invariant.Enabled {
			invariant.Check(w&live == 0, "taskid: released a slot whose request is open")
		}
		if w&(queued|wire) == 0 { // nobody else can know the slot
			return true
		}
		if s.word.CompareAndSwap(w, w&^held) {
			return false
		}
	}
}

// Discard returns a slot that was never armed, or that Arm gave back.
func (t *Table[T]) Discard(s *Slot[T]) {
	t.put(s)
}

// freeIfUnused frees the slot if the word just written names no party.
func (t *Table[T]) freeIfUnused(s *Slot[T], w uint64) {
	if w&parties == 0 {
		t.put(s)
	}
}

func (t *Table[T]) put(s *Slot[T]) {
	s.Buf.drop()
	t.free.push(s.index)
}

// quarantine counts a request that was given up after it was sent.
func (t *Table[T]) quarantine(w uint64) {
	if w&wire != 0 {
		t.orphans.Add(1)
	}
}

// scarce reports whether few slots are free and no more can be made.
func (t *Table[T]) scarce() bool {
	return t.free.len() < stashRest && int(t.size.Load()) == t.limit
}

func (t *Table[T]) indexOf(id ID) uint32 { return uint32(id) & (1<<t.slotBits - 1) }

func (t *Table[T]) slot(i uint32) *Slot[T] {
	return &t.chunks[i/chunkSlots].Load()[i%chunkSlots]
}

// grow adds a chunk of slots. It reports false when the table has its full size
// and no slot is free.
func (t *Table[T]) grow() bool {
	if int(t.size.Load()) == t.limit {
		return false // the usual case, without the lock
	}
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
	memory := make([]byte, n*firstBytes)
	for i := range n {
		chunk[i].Buf.B = memory[i*firstBytes : i*firstBytes : (i+1)*firstBytes]
		chunk[i].index = uint32(size + i)
		chunk[i].id = ID(t.firstGen-1)<<t.slotBits | ID(size+i)
	}
	t.chunks[size/chunkSlots].Store(chunk)
	t.size.Store(uint32(size + n)) // before the indices are free: Answer checks it
	for i := range n {
		t.free.push(uint32(size + i))
	}
	return true
}
