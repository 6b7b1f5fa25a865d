package engine

import (
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/taskid"
)

// turn is one dispatch of what was read: the frames of the buffer, one after another, by
// the goroutine that has the right to read.
//
// A reply callback may block. Then the clock takes the rest of the turn away and gives the
// reading to another goroutine. So, from the first callback of a turn on, the goroutine
// is on guard: before it touches a frame it moves the word on behind it, by a
// compare-and-swap that fails if the clock was faster. A frame is thus always one
// goroutine's, and so is everything here but the word, the caller and one of the two
// tallies told, even when the rest of the turn is another one's. What belongs to the inbox
// is touched off guard only.
//
//	 63                      24 23                     3      2      1        0
//	┌──────────────────────────┬────────────────────────┬──────┬──────┬──────────┐
//	│ bytes of the turn so far │ times on guard, mod 2²¹│ push │ told │ on guard │
//	└──────────────────────────┴────────────────────────┴──────┴──────┴──────────┘
type turn struct {
	caller atomic.Uintptr // the goroutine, from its first callback to the end of the turn
	_      cacheline.Pad  // who submits elsewhere reads the caller
	word   atomic.Uint64  // 0: off guard
	guard  uint64         // the word, as the goroutine has set it
	guards uint64         // how often it went on guard

	b    []byte // what was read; borrowed by callbacks
	used int    // b[:used] is dispatched

	// spare is the slot of the request just answered, while its callback runs, for the first
	// Go of that. So this one finds room even when others take every slot that becomes free.
	spare taskid.ID

	ids   [freedMax]taskid.ID
	freed int // ids[:freed] are slots to be given back
	woken int // callers woken

	tally tally // of what was dispatched, and not yet published
	// told[w] is the tally when the word was set, w being its bit told: what the clock
	// publishes when it takes the rest. The other one is the goroutine's.
	told [2]tally

	// detained says that the slot of the request whose callback blocks is counted in
	// inbox.detained. The clock writes it, the goroutine reads it when it has lost the rest.
	detained bool
}

// tally counts what was dispatched.
type tally struct {
	frames, replies, pushes, bytes uint64

	at int // where in the turn the frame begins before which it was told
}

func (a tally) minus(b tally) tally {
	return tally{
		frames: a.frames - b.frames, replies: a.replies - b.replies, pushes: a.pushes - b.pushes,
		bytes: a.bytes - b.bytes,
	}
}

const (
	// freedMax is how many slots a turn collects at most before it gives them back. It has
	// none when a callback runs.
	freedMax = 64

	turnTold   = 1
	turnPush   = 1 << 2
	turnGuards = 3
	turnUsed   = 24
	guardsMask = 1<<(turnUsed-turnGuards) - 1

	onGuard = 1
	// turnTaken is the word of a turn whose rest was taken away.
	turnTaken = 2
)

// advance makes the frame of n bytes that comes next the caller's. It reports false when
// the clock has taken the rest of the turn.
func (t *turn) advance(n int) (mine bool) {
	t.tally.at = t.used
	t.used += n
	if t.guard != 0 && !t.moveTo(t.tell()) {
		return false
	}
	t.tally.frames++
	return true
}

// tell prepares the next word on guard, and what the clock needs if it takes the rest.
func (t *turn) tell() (word uint64) {
	told := t.guard>>turnTold&1 ^ 1
	t.told[told] = t.tally
	return uint64(t.used)<<turnUsed | t.guards&guardsMask<<turnGuards | told<<turnTold | onGuard
}

func (t *turn) moveTo(word uint64) (mine bool) {
	if !t.word.CompareAndSwap(t.guard, word) {
		return false
	}
	t.guard = word
	return true
}

// standDown goes off guard. It reports false when the clock has taken the rest of the turn:
// then nothing of the inbox may be touched any more.
func (t *turn) standDown() (mine bool) { return t.guard == 0 || t.moveTo(0) }

// enterCallback goes on guard, before a callback runs. kind is turnPush for OnPush, else 0.
func (c *conn) enterCallback(t *turn, kind uint64) {
	c.freeAll(t)
	if t.guard != 0 {
		return
	}
	if t.caller.Load() == 0 {
		if self := goroutine.Self(); self != 0 { // else goroutines cannot be told apart
			t.caller.Store(uintptr(self))
			c.b.callbacks.running.Add(1)
		}
	}
	t.guards++
	t.guard = t.tell() | kind
	t.word.Store(t.guard)
}

// beginTurn begins to dispatch what is in the buffer.
func (c *conn) beginTurn() *turn {
	t := c.in.turn.Load()
	t.b, t.used, t.woken = c.in.buf.rest(), 0, 0
	return t
}

// endTurn gives up what the turn has in hand, when nothing of it is to be dispatched. The
// caller is off guard.
func (c *conn) endTurn(t *turn) {
	if t.caller.Load() != 0 {
		t.caller.Store(0)
		c.b.callbacks.running.Add(-1)
	}
	c.in.buf.used += t.used
	t.b = nil
	c.freeAll(t)
	c.publish(t.tally)
	t.tally = tally{}
}

// leaveTurn ends a turn whose rest was taken away, maybe long after its connection.
func (c *conn) leaveTurn(t *turn) {
	c.freeAll(t)
	rest := t.tally.minus(t.told[t.guard>>turnTold&1])
	c.out.credit.answered.Add(rest.bytes)
	c.release()
	c.b.countLate(c, rest)
	c.keepPlace(t, -1)
	self := goroutine.Self()
	if self != 0 {
		c.b.callbacks.running.Add(-1)
	}
	c.b.callbacks.disown(self)
}

// free collects a slot that is to be given back.
func (c *conn) free(t *turn, id taskid.ID) {
	if t.freed == 0 {
		c.in.returns.Add(1) // before its caller can ask again
	}
	t.ids[t.freed] = id
	if t.freed++; t.freed == freedMax {
		c.freeAll(t)
	}
}

// freeAll gives the collected slots back, and what waits for room is moved on.
func (c *conn) freeAll(t *turn) {
	if t.freed == 0 {
		return
	}
	c.table.FreeAll(t.ids[:t.freed])
	t.freed = 0
	c.in.returns.Add(oneReturn - 1)
	c.b.backlog.moveOn()
}

// oneReturn is the unit of the count in inbox.returns.
const oneReturn = 1 << 32

// returning reports whether slots are on their way back into the table, or were since it was
// asked last and returned seen.
func (in *inbox) returning(seen uint64) bool {
	return seen%oneReturn != 0 || seen != in.returns.Load()
}

// publish adds what was dispatched to the counters that others read.
func (c *conn) publish(n tally) {
	c.out.credit.answered.Add(n.bytes)
	if c.out.credit.held.Load() {
		c.release()
	}
	c.in.got.add(n)
}

func (g *counts) add(n tally) {
	g.frames.Add(n.frames)
	g.replies.Add(n.replies)
	if n.pushes > 0 {
		g.pushes.Add(n.pushes)
	}
}

// checkOffGuard is for what only whoever has the inbox may do.
func (c *conn) checkOffGuard() {
	if invariant.Enabled {
		invariant.Check(c.in.turn.Load().guard == 0, "engine: the inbox is used on guard")
	}
}

// myTurn returns the turn of which the calling goroutine runs a callback, nil if it runs
// none, or one that has lost its turn.
func (c *conn) myTurn() *turn {
	t, self := c.in.turn.Load(), uintptr(goroutine.Self())
	if self == 0 || t.caller.Load() != self {
		return nil
	}
	return t
}

// takeSpare returns the slot that is there for the first Go of the running reply callback.
// Anybody may call it; only that callback gets the slot.
func (c *conn) takeSpare() (*slot, taskid.ID) {
	t := c.myTurn()
	if t == nil || t.spare == taskid.None {
		return nil, taskid.None
	}
	id := t.spare
	t.spare = taskid.None
	return c.table.Renew(id)
}

// returnSpare gives a slot back that takeSpare has returned and that was not used, so that
// the callback still finds it. It reports false when its turn was taken away meanwhile.
func (c *conn) returnSpare(id taskid.ID) bool {
	t := c.myTurn()
	if t == nil {
		return false
	}
	t.spare = id
	return true
}

// watchCallback takes the reading away from a callback that has blocked for too long.
// Only the clock calls it.
func (c *conn) watchCallback(now time.Time) {
	t, w := c.in.turn.Load(), &c.watch
	word := t.word.Load()
	if word&onGuard == 0 {
		return
	}
	if word != w.callback {
		w.callback, w.callbackSince = word, now
		return
	}
	if now.Sub(w.callbackSince) < callbackPatience || !c.takeOver(t, word) {
		return
	}
	w.callback = 0
	c.b.log(slog.LevelWarn, "a callback has not returned; others read the replies behind it",
		slog.String("addr", c.link.addr.name), slog.Duration("after", callbackPatience))
}

// takeOver gives the rest of a turn, and the reading, to another goroutine while the
// callback goes on. It reports false when the callback has returned.
func (c *conn) takeOver(t *turn, word uint64) bool {
	caller := goroutine.ID(t.caller.Load()) // 0 where goroutines cannot be told apart
	c.b.callbacks.adopt(caller)             // before it can find out
	t.detained = c.hasSpare(t, word)
	c.keepPlace(t, 1)
	if !t.word.CompareAndSwap(word, turnTaken) {
		c.b.callbacks.disown(caller)
		c.keepPlace(t, -1)
		return false
	}
	// The inbox is ours, but for the bytes that the callback has borrowed.
	c.in.turn.Store(new(turn))
	c.publish(t.told[word>>turnTold&1])
	c.in.buf.used += int(word >> turnUsed)
	c.in.buf.replace()
	c.replaceReader()
	return true
}

// hasSpare reports whether the callback that has the turn has not used the slot of its
// request. It may do so this moment: then the slot is counted wrongly until it returns.
func (c *conn) hasSpare(t *turn, word uint64) bool {
	if word&turnPush != 0 {
		return false
	}
	f, n, _ := c.b.format.Parse(c.in.buf.rest()[t.told[word>>turnTold&1].at:])
	return n > 0 && c.table.Unused(f.ID)
}

// keepPlace has a request whose callback blocks count in MaxInFlight, by its slot or in
// place of it. Nothing is open on either.
func (c *conn) keepPlace(t *turn, n int32) {
	if t.detained {
		c.in.detained.Add(n)
	} else {
		c.link.owed.Add(n)
	}
}

// replaceReader lets other goroutines go on with all that the one that reads had in
// hand. The inbox is the caller's.
func (c *conn) replaceReader() {
	for !c.out.right.Revoke() && c.out.promised() { // to write what callbacks submit
		runtime.Gosched() // it is borrowed: whoever relieves the outbox makes single attempts
	}
	if p := c.in.by; p != nil {
		c.in.by = nil
		p.replace(c)
		c.in.right.Keep()
		return
	}
	c.b.wg.Add(1)
	go c.read(true)
}

// callbackFailed is called, deferred, when a reply callback did not return. v is what it
// panicked with, nil if it ended its goroutine. It reports whether the turn goes on.
func (c *conn) callbackFailed(t *turn, to outcome, v any) (goesOn bool) {
	lives := c.b.callbacks.failed(to, v)
	c.callbackDone(t)
	switch {
	case lives:
		return true
	case t.standDown():
		c.endTurn(t)
		c.replaceReader()
	default:
		c.leaveTurn(t)
	}
	return false
}

// callbackDone gives the slot back that a reply callback has left.
func (c *conn) callbackDone(t *turn) {
	if id := t.spare; id != taskid.None {
		t.spare = taskid.None // before what waits is moved on, which is in our name
		c.free(t, id)
	}
}
