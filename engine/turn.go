package engine

import (
	"runtime"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/bytepool"
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
// goroutine's, and so is everything here but the word, the caller, one of the two
// testimonies and the slots of which that tells, even when the rest of the turn is another
// one's. What belongs to the inbox is touched off guard only.
//
//	 63                      24 23                     3      2      1        0
//	┌──────────────────────────┬────────────────────────┬──────┬──────┬──────────┐
//	│ bytes of the turn so far │ times on guard, mod 2²¹│ push │ told │ on guard │
//	└──────────────────────────┴────────────────────────┴──────┴──────┴──────────┘
type turn struct {
	caller atomic.Uintptr // the goroutine, from its first callback to the end of the turn
	_      cacheline.Pad  // a goroutine that submits elsewhere reads the caller
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
	// farewells are frames by which the server says that it ends the connection; they prove
	// nothing for its address.
	farewells uint64

	tally tally // of what was dispatched, and not yet published
	// told[w] is what the clock goes by when it takes the rest, w being the word's bit told.
	// The other one is the goroutine's.
	told [2]testimony

	// detained says that the slot of the request whose callback blocks is counted in
	// inbox.detained. The clock writes it, the goroutine reads it when it has lost the rest.
	detained bool
	// left is the buffer that b is of, if it is to go back into its pool when the callback that
	// has lost the rest returns. The clock writes it.
	left *bytepool.Buffer
}

// tally counts what was dispatched.
type tally struct{ frames, replies, pushes, bytes uint64 }

func (a tally) minus(b tally) tally {
	return tally{a.frames - b.frames, a.replies - b.replies, a.pushes - b.pushes, a.bytes - b.bytes}
}

// testimony is how a turn stood when its word was set.
type testimony struct {
	tally tally
	at    int // where the frame begins that is its goroutine's
	freed int // ids[:freed] were to be given back
}

const (
	// freedMax is how many slots a turn collects at most before it gives them back.
	freedMax = 64

	turnTold   = 1
	turnPush   = 1 << 2
	turnGuards = 3
	turnUsed   = 24
	guardsMask = 1<<(turnUsed-turnGuards) - 1

	onGuard = 1
	// turnTaking and turnTaken are words of a turn whose rest is being taken away, and was.
	turnTaking = 2
	turnTaken  = 4
)

// advance makes the frame of n bytes that comes next the caller's. It reports false when
// the clock has taken the rest of the turn.
func (c *conn) advance(t *turn, n int) (mine bool) {
	at := t.used
	t.used += n
	if t.guard == 0 {
		t.tally.frames++
		return true
	}
	// Slots are given back when the clock has been told of none, and only then.
	full := t.freed >= freedMax-1
	told := t.freed
	if full {
		told = 0
	}
	if !t.moveTo(t.tell(at, told)) {
		return false
	}
	t.tally.frames++
	if full {
		c.freeAll(t)
	}
	return true
}

// tell prepares the next word on guard, and what the clock needs if it takes the rest: the
// frame that begins at at is the goroutine's then, and so many slots are the clock's.
func (t *turn) tell(at, freed int) (word uint64) {
	told := t.guard>>turnTold&1 ^ 1
	// Field by field: of a value made first the processor would copy 16 bytes at a time, and wait
	// until the words that it was just made of have left the store buffer.
	to := &t.told[told]
	to.tally, to.at, to.freed = t.tally, at, freed
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
func (c *conn) standDown(t *turn) (mine bool) {
	if t.guard != 0 && !t.moveTo(0) {
		return false
	}
	if t.freed >= freedMax-1 {
		c.freeAll(t)
	}
	return true
}

// enterCallback goes on guard, before a callback runs that has the frame that begins at at.
// kind is turnPush for OnPush, else 0.
func (c *conn) enterCallback(t *turn, at int, kind uint64) {
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
	t.guard = t.tell(at, t.freed) | kind
	t.word.Store(t.guard)
}

// beginTurn begins to dispatch what is in the buffer.
func (c *conn) beginTurn() *turn {
	t := c.in.turn.Load()
	t.b, t.used, t.woken, t.farewells = c.in.buf.rest(), 0, 0, 0
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
	for t.word.Load() != turnTaken {
		runtime.Gosched() // the clock is at it
	}
	if t.left != nil {
		bytepool.Put(t.left)
	}
	told := &t.told[t.guard>>turnTold&1]
	c.freeRest(t, told.freed)
	rest := t.tally.minus(told.tally)
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

// wakeMax is how many callers are woken before they get to run. A processor of the runtime's
// keeps 256 goroutines that are to run; of more, half go to a queue that all processors share,
// behind a lock, and wake another thread. 1.10 and 1.26 times the throughput at 1024 and 4096
// callers, none at 256.
const wakeMax = 128

// woke notes that a caller was woken, and lets those woken run when they are many. On guard it
// does not: the clock would take the time for a callback's.
func (c *conn) woke(t *turn) {
	if t.woken++; t.woken%wakeMax == 0 && t.guard == 0 {
		c.freeAll(t) // a goroutine that runs now may need a slot
		runtime.Gosched()
	}
}

// free collects a slot that is to be given back.
func (c *conn) free(t *turn, id taskid.ID) {
	if t.freed == 0 {
		c.in.returns.Add(1) // before its caller can ask again
	}
	t.ids[t.freed] = id
	if t.freed++; t.freed == freedMax && t.guard == 0 {
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

// freeRest gives the slots back of which the clock was not told.
func (c *conn) freeRest(t *turn, told int) {
	rest := t.ids[told:t.freed]
	t.freed = 0
	if len(rest) == 0 {
		return
	}
	c.table.FreeAll(rest)
	if told == 0 {
		c.in.returns.Add(oneReturn - 1) // else the clock has
	}
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

// checkOffGuard is for what only the goroutine that has the inbox may do.
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

// callbackDone gives the slot back that a reply callback has left.
func (c *conn) callbackDone(t *turn) {
	if id := t.spare; id != taskid.None {
		t.spare = taskid.None // before what waits is moved on, which is in our name
		c.free(t, id)
	}
}
