// Package baton holds a right that one goroutine has at a time.
//
// There is work that many goroutines make and one does: writing what was submitted to a
// connection, reading the replies that are due on it. A goroutine that makes work looks
// at the right afterwards; a goroutine that lets the right go looks for work afterwards.
// So either the first one sees that the right is free, takes it and does the work, or the
// second one sees the work: none is left undone, and nobody waits. (franz-go's workLoop
// and the combiner of flat combining are the same idea.)
package baton

import "sync/atomic"

// State says whether a right is free, and how it is held.
type State uint32

// The states, and what leads from one to another.
//
//	Free            ─ Take ────▶ Held
//	Free            ─ Promise ─▶ Promised
//	Promised        ─ Redeem ──▶ Held
//	Promised        ─ Borrow ──▶ Borrowed
//	Held, Borrowed  ─ Renew ───▶ Promised
//	Held, Kept      ─ Release ─▶ Free
//	Held, Borrowed  ─ Keep ────▶ Kept
//	Promised        ─ Revoke ──▶ Kept
//	Free            ─ Assign ──▶ Kept
const (
	Free State = iota
	// Held: a goroutine does the work now, and looks for more when it lets go.
	Held
	// Promised: a goroutine is about other things, and will do the work when it is back.
	// So nobody else needs to; but the promise can be taken from it.
	Promised
	// Borrowed: somebody else does the work of a promise now, and will renew it.
	Borrowed
	// Kept: the keeper has the right, or is being woken for it.
	Kept
)

// Right is a right. Its keeper is the goroutine that takes it when it is handed over by
// Keep, Revoke or Assign, and the only one that may block while it has it. Make a
// Right ready with Init. A Right must not be copied.
type Right struct {
	state atomic.Uint32
	kept  chan struct{} // wakes the keeper; capacity 1
}

// Init makes the right ready, in the state Free.
func (r *Right) Init() { r.kept = make(chan struct{}, 1) }

// State returns the state of the right. It may be old when the caller reads it. Still, a
// goroutine that has made work before asking, and sees anything but Free, may leave that
// work to others.
func (r *Right) State() State { return State(r.state.Load()) }

// Take takes a free right. The goroutine that has taken it must end with Release, Renew
// or Keep.
func (r *Right) Take() bool { return r.move(Free, Held) }

// Promise takes a free right for later.
func (r *Right) Promise() bool { return r.move(Free, Promised) }

// Redeem turns a promise into the right itself. Only the goroutine that made the promise,
// or one that has taken its place, may call it. It reports false when the promise was
// revoked, or is borrowed. What is borrowed comes back: a goroutine that ends its promise
// tries again while State is Borrowed or Promised, or else it leaves a promise that
// nobody keeps.
func (r *Right) Redeem() bool { return r.move(Promised, Held) }

// Borrow takes the right of a promise that somebody else has made, for work that cannot
// wait. The goroutine that has borrowed it must end with Renew or Keep.
func (r *Right) Borrow() bool { return r.move(Promised, Borrowed) }

// Renew turns the right into a promise. Only its holder may call it.
func (r *Right) Renew() { r.state.Store(uint32(Promised)) }

// Release frees the right of its holder, and looks for work: if there is some, and
// nobody else took the right for it, the caller holds it again and Release reports
// true.
func (r *Right) Release(work func() bool) (again bool) {
	r.state.Store(uint32(Free))
	return work() && r.Take()
}

// Keep hands the right to the keeper. Only its holder may call it.
func (r *Right) Keep() {
	r.state.Store(uint32(Kept))
	r.kept <- struct{}{} // never blocks: the right is handed over once at a time
}

// Revoke takes a promise away and hands the right to the keeper. It reports false when
// there is no promise, and when it is borrowed: a goroutine that must be rid of the
// promise tries again as after Redeem.
func (r *Right) Revoke() bool { return r.revoke(Promised) }

// Assign hands a free right to the keeper. It reports false when it is not free.
func (r *Right) Assign() bool { return r.revoke(Free) }

func (r *Right) revoke(from State) bool {
	if !r.move(from, Kept) {
		return false
	}
	r.kept <- struct{}{}
	return true
}

// Wait is where the keeper waits for the right. Having received, it is the holder.
func (r *Right) Wait() <-chan struct{} { return r.kept }

func (r *Right) move(from, to State) bool {
	return State(r.state.Load()) == from && r.state.CompareAndSwap(uint32(from), uint32(to))
}
