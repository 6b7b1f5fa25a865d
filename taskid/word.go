package taskid

import "sync/atomic"

// word is the atomic cell of every shared field here: the seam at which an
// interleaving explorer can take over scheduling.
type word = atomic.Uint64

// The slot word. Every transition of a slot is one atomic operation on it, so the ID,
// the deadline and the parties that still need the slot are never seen apart.
//
//	 63            32 31           8 7        3      2      1      0
//	┌────────────────┬──────────────┬──────────┬──────┬──────┬──────┐
//	│ task ID        │ deadline     │ note     │ held │ wire │ live │
//	└────────────────┴──────────────┴──────────┴──────┴──────┴──────┘
//
// The states, by what is set. A slot without any of the three belongs to the goroutine
// that took it from the free list or won its answer, or lies in the free list.
//
//	live wire       the outcome is open
//	     wire held  given up; the goroutine that gave it up still uses Slot.V
//	     wire       quarantine: given up, the answer may still come
//	          held  given up and answered late, or lost with the connection
const (
	live uint64 = 1 << iota // the outcome is open; the goroutine that clears this bit delivers it
	wire                    // the frame may be on the wire and is unanswered
	held                    // the one that gave the request up still uses the slot

	parties = live | wire | held

	noteShift = 3
	tickShift = 8
	tickMask  = uint64(tickRange-1) << tickShift
	idShift   = 32
)

// tickRange is the number of distinct ticks; deadlines compare modulo it.
const tickRange = 1 << 24

// MaxNote is the largest note that a deadline can have.
const MaxNote = 1<<(tickShift-noteShift) - 1

// MaxTicks is the longest deadline, in ticks from now, that a slot can hold.
const MaxTicks = tickRange/2 - 1

// Tick is a point in time of the coarse clock its owner runs. NoTick means no
// deadline; a clock skips it.
type Tick uint32

// NoTick is the deadline of a request that has none.
const NoTick Tick = 0

// After returns the tick n ticks after t, never NoTick. n must not exceed MaxTicks.
func (t Tick) After(n uint32) Tick {
	t = (t + Tick(n)) % tickRange
	if t == NoTick {
		t = 1
	}
	return t
}

// Due reports whether t is at or before now. Both lie within half the range of
// each other, so the sign of their difference decides.
func (t Tick) Due(now Tick) bool {
	return int32((now-t)<<8) >= 0
}

// Earlier returns the earlier of two deadlines, either of which may be NoTick.
func (t Tick) Earlier(o Tick) Tick {
	if t == NoTick || o != NoTick && o.Due(t) {
		return o
	}
	return t
}

func wordID(w uint64) ID      { return ID(w >> idShift) }
func wordTick(w uint64) Tick  { return Tick(w & tickMask >> tickShift) }
func wordNote(w uint64) uint8 { return uint8(w>>noteShift) & MaxNote }

func withTick(w uint64, t Tick) uint64 {
	return w&^tickMask | uint64(t)<<tickShift
}

// Since returns how many ticks lie between an earlier tick and t.
func (t Tick) Since(earlier Tick) uint32 { return uint32(t-earlier) % tickRange }
