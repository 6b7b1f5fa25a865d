package engine

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/goroutine"
)

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
	if !t.word.CompareAndSwap(word, turnTaking) {
		return false
	}
	// All is ours, but for the bytes that the callback has borrowed. If it returns it waits.
	told := t.told[word>>turnTold&1]
	t.detained = c.hasSpare(told.at, word)
	c.keepPlace(t, 1)
	c.b.callbacks.adopt(goroutine.ID(t.caller.Load())) // 0 where they cannot be told apart
	c.in.turn.Store(new(turn))
	c.publish(told.tally)
	if told.freed > 0 {
		c.table.FreeAll(t.ids[:told.freed])
		c.in.returns.Add(oneReturn - 1)
	}
	c.in.buf.used += int(word >> turnUsed)
	t.left = c.in.buf.replace()
	t.word.Store(turnTaken)
	c.b.backlog.moveOn()
	c.replaceReader()
	return true
}

// hasSpare reports whether the callback that has the turn has not used the slot of its
// request. It may do so this moment: then the slot is counted wrongly until it returns.
func (c *conn) hasSpare(at int, word uint64) bool {
	if word&turnPush != 0 {
		return false
	}
	f, n, _ := c.b.format.Parse(c.in.buf.rest()[at:])
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
		runtime.Gosched() // borrowed: the goroutine that relieves the outbox makes single attempts
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
	case c.standDown(t):
		c.endTurn(t)
		c.replaceReader()
	default:
		c.leaveTurn(t)
	}
	return false
}
