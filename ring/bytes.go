package ring

import (
	"sync"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/invariant"
)

const (
	// ChunkBytes is the size of a chunk of a Bytes, and of the longest record: the longest
	// anet frame fits, and the allocator has a size class of nine pages.
	ChunkBytes = 72 << 10
	// Chunks is how many chunks a Bytes has at most.
	Chunks = 4
)

// The state word of a Bytes. One compare-and-swap reserves room, or turns to the next
// chunk and reserves room there.
//
//	 63                    21    20     19            0
//	┌────────────────────────┬────────┬────────────────┐
//	│ number of the chunk    │ sealed │ bytes reserved │
//	└────────────────────────┴────────┴────────────────┘
const (
	chunkShift = 21
	oneChunk   = 1 << chunkShift
	sealedBit  = 1 << 20
	bytesMask  = sealedBit - 1
)

// Position is a place in the stream of bytes that goes through a Bytes. Positions are
// compared by Before.
type Position uint64

// Before reports whether p lies before o in the stream.
func (p Position) Before(o Position) bool { return int64(p-o) < 0 }

// A position in short form has 17 bits for the byte in its chunk and 28 for the number of
// the chunk, which wraps.
const (
	shortBits      = 17
	shortChunkBits = 28
	// ShortBits is the size of a position in short form, in bits.
	ShortBits = shortBits + shortChunkBits
)

// Short returns the position in ShortBits bits. Near turns it back as long as it has not
// been consumed.
func (p Position) Short() uint64 {
	return uint64(p)>>chunkShift&(1<<shortChunkBits-1)<<shortBits | uint64(p)&bytesMask
}

// Bytes is a bounded queue of records, from many producers to one consumer, for bytes
// that leave in one stream. A producer reserves room, writes its record straight into
// it and publishes it; the consumer takes all that was published in one piece and
// writes it to where it goes from the very same memory. So each record is copied once.
//
// The room is a ring of Chunks chunks of ChunkBytes. A chunk comes from a pool when the
// first record enters it and goes back when it has been consumed: an empty Bytes holds
// one chunk, which is warm when the next record comes, and seldom more, which producers
// that came late have left in the cells of later chunks.
//
// Producers are lock-free: a failed compare-and-swap means that another one succeeded.
// They never wait for the consumer: where there is no room, Reserve says so. The
// consumer never waits for a producer: while one is still copying into a chunk, Take
// returns nothing of it and of what came later. So a producer looks, after Publish, for a
// consumer, and the consumer that has let go looks at Ready: one sees the other.
//
// The rejected designs: a ring of numbers beside a buffer for each request costs two
// more operations and a second copy; a ring of bytes with a mark for each record needs
// as many marks as the smallest record allows, and walks through all of its memory
// where this one stays at the start of a warm chunk.
type Bytes struct {
	_     cacheline.Pad
	state word // see above; moved by producers, sealed by the consumer too
	_     cacheline.Pad

	chunks [Chunks]chunkCell // of chunk n in cell n modulo Chunks; nil while it has none

	// consumed is the number of the oldest chunk that the consumer has not given back,
	// shifted to where it is in the state word, so that both wrap at the same chunk. It
	// is stored by the consumer.
	consumed word
	spare    chunkCell // one empty chunk, for the next that needs one
	_        cacheline.Pad
}

// chunk is one piece of a Bytes' room. It is empty when it enters a cell.
type chunk struct {
	buf []byte // never changes

	_ cacheline.Pad
	// filled counts the records that were published and, below, their bytes.
	filled word
	// limit is the number of bytes in a sealed chunk plus one; 0 until it is sealed.
	limit word
	_     cacheline.Pad
}

const recordShift = 32 // in chunk.filled

// chunkPool holds chunks that no Bytes needs.
var chunkPool = sync.Pool{New: func() any { return &chunk{buf: make([]byte, ChunkBytes)} }}

// NewBytes returns an empty queue.
func NewBytes() *Bytes {
	r := &Bytes{}
	r.state.Store(sealedBit) // chunk 0 is sealed and consumed: the next one is 1
	r.consumed.Store(oneChunk)
	return r
}

// Room is a place for one record that a producer has reserved.
type Room struct {
	// At is where the record begins in the stream.
	At Position

	chunk *chunk
	n     uint32
}

// Bytes is to be filled by the producer, all of it. It must not be touched after Publish.
func (s Room) Bytes() []byte {
	at := uint64(s.At) & bytesMask
	return s.chunk.buf[at : at+uint64(s.n) : at+uint64(s.n)]
}

// Reserve reserves n bytes, 1 to ChunkBytes, for one record. It reports false when the
// queue is full. A producer that has reserved room must publish it soon, since what comes
// later waits for it.
func (r *Bytes) Reserve(n int) (Room, bool) {
	if invariant.Enabled {
		invariant.Check(n > 0 && n <= ChunkBytes, "ring: a record does not fit a chunk")
	}
	for {
		v := r.state.Load()
		used := int(v & bytesMask)
		if v&sealedBit != 0 || used+n > ChunkBytes {
			room, ok, full := r.extend(v, n)
			if ok || full {
				return room, ok
			}
			continue
		}
		c := r.cell(v).Load()
		// While the state has not moved, the chunk has not either.
		if r.state.CompareAndSwap(v, v+uint64(n)) {
			return Room{At: Position(v), chunk: c, n: uint32(n)}, true
		}
	}
}

// extend turns from state v to the next chunk and reserves n bytes in it. It reports
// full when there is none, and neither when others were faster.
func (r *Bytes) extend(v uint64, n int) (room Room, ok, full bool) {
	next := v>>chunkShift<<chunkShift + oneChunk
	if next-r.consumed.Load() >= Chunks*oneChunk {
		return Room{}, false, r.state.Load() == v
	}
	cell := r.cell(next)
	c := cell.Load()
	if c == nil {
		// Several producers may come here; one's chunk gets in, for all. One that comes
		// late, when this chunk has been consumed already, leaves an empty chunk for the
		// next lap, which does no harm.
		c = r.empty()
		if !cell.CompareAndSwap(nil, c) {
			r.keep(c)
			return Room{}, false, false
		}
	}
	if !r.state.CompareAndSwap(v, next|uint64(n)) {
		return Room{}, false, false
	}
	if v&sealedBit == 0 {
		// The consumer has not sealed the chunk behind us, so we do. Until then it stays.
		r.cell(v).Load().limit.Store(v&bytesMask + 1)
	}
	return Room{At: Position(next), chunk: c, n: uint32(n)}, true, false
}

// Publish hands the record to the consumer. Afterwards the producer looks whether
// anybody consumes.
func (s Room) Publish() {
	s.chunk.filled.Add(1<<recordShift | uint64(s.n))
}

// PublishAll is Publish for room that holds several records.
func (s Room) PublishAll(records int) {
	s.chunk.filled.Add(uint64(records)<<recordShift | uint64(s.n))
}

// Take returns the bytes of the oldest chunk, how many records they are and where they
// begin, or nothing if there are none or one of them is still being written. The bytes
// are the consumer's until Done, which must be called before the next Take. Only the
// consumer may call it.
func (r *Bytes) Take() (b []byte, records int, at Position) {
	first := r.consumed.Load()
	for {
		v := r.state.Load()
		if Position(v).Before(Position(first)) {
			return nil, 0, 0 // the last chunk has been consumed
		}
		c := r.cell(first).Load()
		if v>>chunkShift == first>>chunkShift && v&sealedBit == 0 {
			if !r.state.CompareAndSwap(v, v|sealedBit) {
				continue
			}
			c.limit.Store(v&bytesMask + 1)
		}
		size, filled := c.limit.Load(), c.filled.Load()
		if size == 0 || filled&(1<<recordShift-1) != size-1 {
			return nil, 0, 0 // to be sealed this moment, or not yet filled
		}
		return c.buf[:size-1], int(filled >> recordShift), Position(first)
	}
}

// From returns the bytes of the stream that begin at p, up to the end of its chunk, nil if
// they have been given back. What was not published there may be anything. Only the
// consumer may call it, or a goroutine that knows that nothing is consumed any more.
func (r *Bytes) From(p Position) []byte {
	first := r.consumed.Load()
	c := r.cell(uint64(p)).Load()
	if c == nil || p.Before(Position(first)) || (uint64(p)-first)>>chunkShift >= Chunks {
		return nil
	}
	return c.buf[uint64(p)&bytesMask:]
}

// Near returns the position in the stream of which short is the Short form, if it has not
// been given back.
func (r *Bytes) Near(short uint64) (Position, bool) {
	first := r.consumed.Load() >> chunkShift
	ahead := (short>>shortBits - first) & (1<<shortChunkBits - 1)
	if ahead >= Chunks {
		return 0, false
	}
	return Position((first+ahead)<<chunkShift | short&(1<<shortBits-1)), true
}

// Done gives the chunk that Take returned back. Only the consumer may call it.
func (r *Bytes) Done() {
	first := r.consumed.Load()
	cell := r.cell(first)
	c := cell.Load()
	if invariant.Enabled {
		for i := range c.buf[:c.limit.Load()-1] {
			c.buf[i] = 0xDB // code that reads on finds bytes that no test expects
		}
	}
	cell.Store(nil) // before consumed allows the cell's next chunk
	r.consumed.Store(first + oneChunk)
	c.filled.Store(0)
	c.limit.Store(0)
	r.keep(c)
}

// Ready reports whether Take would return something. Anybody may ask; while a consumer is
// at work, which will look itself, either answer is possible.
func (r *Bytes) Ready() bool {
	for {
		first := r.consumed.Load()
		c := r.cell(first).Load()
		if c == nil {
			if r.consumed.Load() != first {
				continue // consumed this moment: look at the next
			}
			return false
		}
		// The bytes published are read before the bytes reserved: if they are equal, they
		// were equal when the first were read, and nobody was copying.
		filled := c.filled.Load() & (1<<recordShift - 1)
		size := c.limit.Load()
		v := r.state.Load()
		if r.consumed.Load() != first {
			continue
		}
		switch {
		case size != 0:
			return filled == size-1
		case v>>chunkShift == first>>chunkShift:
			return filled != 0 && filled == v&bytesMask
		}
		return false
	}
}

// Filled returns how many bytes are reserved in the newest chunk, 0 when it is sealed.
// Anybody may ask.
func (r *Bytes) Filled() int {
	v := r.state.Load()
	if v&sealedBit != 0 {
		return 0
	}
	return int(v & bytesMask)
}

// Records returns about how many records were published and are not consumed.
func (r *Bytes) Records() (n int) {
	for i := range r.chunks {
		if c := r.chunks[i].Load(); c != nil {
			n += int(c.filled.Load() >> recordShift)
		}
	}
	return n
}

// Trim gives the memory back that an empty queue holds for the next record.
func (r *Bytes) Trim() {
	if c := r.spare.Swap(nil); c != nil {
		chunkPool.Put(c)
	}
}

// cell returns the cell of the chunk with the number in v.
func (r *Bytes) cell(v uint64) *chunkCell { return &r.chunks[v>>chunkShift%Chunks] }

// empty returns an empty chunk.
func (r *Bytes) empty() *chunk {
	if c := r.spare.Swap(nil); c != nil {
		return c
	}
	return chunkPool.Get().(*chunk)
}

// keep stores an empty chunk for the next that needs one.
func (r *Bytes) keep(c *chunk) {
	if !r.spare.CompareAndSwap(nil, c) {
		chunkPool.Put(c)
	}
}
