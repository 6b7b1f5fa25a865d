package engine

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// runnersMax is how many callbacks that are told of an error run at once.
	runnersMax = 64
	// callbackPatience is how long a callback may hold up the replies behind it.
	callbackPatience = 100 * time.Millisecond
)

// callbacks runs the user's functions that are told of an error, and knows which
// goroutines run functions of the user's.
//
// The goroutines that everybody needs, the clock, the links, the flushers, only queue
// here. What is queued is bounded, because a request counts in MaxInFlight until its
// callback has returned (link.owed).
type callbacks struct {
	b *Broker

	// running counts the goroutines that may be in a function of the user's. Most calls
	// see 0 and need not ask who they are.
	running atomic.Int32
	panics  atomic.Uint64
	owed    atomic.Int64 // callbacks queued or running

	mu      sync.Mutex // guards what follows; nothing is called under it
	queue   []failure
	runners int
	others  map[goroutine.ID]int // goroutines in a callback beside those that read
}

// failure is an error on its way to a callback.
type failure struct {
	to   outcome
	err  error
	link *link // of its connection; nil: it never had one
}

func (k *callbacks) init(b *Broker) {
	k.b = b
	k.others = make(map[goroutine.ID]int)
}

// fail tells an outcome of an error. It never waits and runs no code of the user's.
func (k *callbacks) fail(l *link, to outcome, err error) {
	if to == nil { // it was one way
		return
	}
	if w, ok := to.(*waiter); ok {
		w.fail(err)
		return
	}
	k.owed.Add(1)
	k.b.clock.rouse()
	if l != nil {
		l.owed.Add(1)
	}
	k.mu.Lock()
	k.queue = append(k.queue, failure{to, err, l})
	start := k.runners < runnersMax
	if start {
		k.runners++
	}
	k.mu.Unlock()
	if start {
		k.b.wg.Add(1)
		go k.runner()
	}
}

// runner runs callbacks until none is queued.
func (k *callbacks) runner() {
	role.Set("callback")
	for {
		k.mu.Lock()
		if len(k.queue) == 0 {
			k.runners--
			k.queue = nil
			k.mu.Unlock()
			k.b.wg.Done()
			return
		}
		f := k.queue[0]
		k.queue[0] = failure{}
		k.queue = k.queue[1:]
		k.mu.Unlock()
		k.run(f)
	}
}

// run runs one callback. If it ends its goroutine, another one takes its place.
func (k *callbacks) run(f failure) {
	self := k.enter()
	returned := false
	defer func() {
		k.leave(self)
		k.owed.Add(-1)
		if f.link != nil {
			f.link.owed.Add(-1)
		}
		k.b.backlog.moveOn()
		if returned {
			return
		}
		if v := recover(); !k.failed(f.to, v) {
			go k.runner() // in this one's stead, in the wait group too
		}
	}()
	f.to.callback(nil, f.err)
	returned = true
}

// failed logs and counts a callback that did not return, and does what it left undone.
// v is what it panicked with, nil if it ended its goroutine; failed reports whether the
// goroutine goes on.
func (k *callbacks) failed(to outcome, v any) (lives bool) {
	k.panics.Add(1)
	if item, ok := to.(*batchItem); ok {
		item.batch.leave()
	}
	if v == nil {
		k.b.log(slog.LevelError, "a callback ended its goroutine by runtime.Goexit")
		return false
	}
	k.b.log(slog.LevelError, "panic in a callback",
		slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
	return true
}

// enter notes that the calling goroutine runs a callback, beside those that read.
func (k *callbacks) enter() goroutine.ID {
	self := goroutine.Self()
	k.adopt(self)
	k.running.Add(1)
	return self
}

// leave ends what enter began.
func (k *callbacks) leave(self goroutine.ID) {
	k.running.Add(-1)
	k.mu.Lock()
	if k.others[self]--; k.others[self] == 0 {
		delete(k.others, self)
	}
	k.mu.Unlock()
}

// adopt notes a goroutine that runs a callback and reads no more.
func (k *callbacks) adopt(id goroutine.ID) {
	k.mu.Lock()
	k.others[id]++
	k.mu.Unlock()
}

// isOne reports whether the calling goroutine runs one of the broker's callbacks. Where
// goroutines cannot be told apart it reports false.
func (k *callbacks) isOne() bool {
	if k.running.Load() == 0 {
		return false
	}
	self := goroutine.Self()
	if self == 0 {
		return false
	}
	for _, c := range k.b.conns() {
		if c.in.guard.caller.Load() == uintptr(self) {
			return true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.others[self] > 0
}

// The guard of the reading goroutine. A reply callback may block. Then the clock takes
// what the goroutine was doing away from it, and gives it to another one: so before a
// callback the goroutine says that it is in one, and afterwards it takes that back by a
// compare-and-swap, which fails if the clock was faster.
//
//	 63               34 33         2      1       0
//	┌───────────────────┬────────────┬───────┬─────────┐
//	│ number, modulo 2³⁰│ task ID    │ spare │ running │
//	└───────────────────┴────────────┴───────┴─────────┘
//
// While spare is set, the slot of the request just answered has not been given back: it
// is there for the first Go of the callback, so that this one finds room even when
// others take every slot that becomes free.
type guard struct {
	word   atomic.Uint64
	caller atomic.Uintptr // the goroutine that runs callbacks, while it does
	calls  uint64         // callbacks so far; the holder's of the right to read
}

const (
	guardRunning = 1
	guardSpare   = 2
	guardID      = 2
	guardNumber  = 34
)

// enterCallback begins a callback, with the slot of its request in hand.
func (c *conn) enterCallback(id taskid.ID) (guard uint64) {
	return c.enter(uint64(id)<<guardID | guardSpare)
}

// enterPush begins a call of OnPush.
func (c *conn) enterPush() (guard uint64) { return c.enter(0) }

func (c *conn) enter(inHand uint64) (guard uint64) {
	in := &c.in
	if in.guard.caller.Load() == 0 {
		if self := goroutine.Self(); self != 0 { // else goroutines cannot be told apart
			in.guard.caller.Store(uintptr(self))
			c.b.callbacks.running.Add(1)
		}
	}
	in.guard.calls++
	guard = in.guard.calls<<guardNumber | inHand | guardRunning
	in.guard.word.Store(guard)
	return guard
}

// pushed stands for a call of OnPush where an outcome is asked for.
type pushed struct{}

func (pushed) callback([]byte, error) {}

// leaveCallback ends a callback. It reports false when the clock took the reading away
// meanwhile: then nothing of the inbox may be touched any more.
func (c *conn) leaveCallback(guard uint64) (mine bool) {
	in := &c.in
	idle := guard &^ (guardSpare | guardRunning)
	// Only the callback takes the spare, and it has returned.
	now := in.guard.word.Load()
	if now|guardSpare == guard|guardSpare && in.guard.word.CompareAndSwap(now, idle) {
		if now&guardSpare != 0 {
			c.free(taskid.ID(guard >> guardID))
		}
		return true
	}
	c.link.owed.Add(-1)
	if self := goroutine.Self(); self != 0 {
		c.b.callbacks.leave(self)
	}
	return false
}

// leaveCallbacks is called when the reading goroutine has run its last callback for now.
func (c *conn) leaveCallbacks() {
	if c.in.guard.caller.Load() != 0 {
		c.in.guard.caller.Store(0)
		c.b.callbacks.running.Add(-1)
	}
}

// takeSpare returns the slot that is reserved for the first Go of the running reply
// callback. Anybody may call it; only that callback gets the slot.
func (c *conn) takeSpare() (*slot, taskid.ID) {
	in := &c.in
	self := uintptr(goroutine.Self())
	if self == 0 || in.guard.caller.Load() != self {
		return nil, taskid.None
	}
	guard := in.guard.word.Load()
	// Asked again, in this order: while the caller is us, the guard that we have read is
	// ours or too old to be swapped.
	if guard&guardSpare == 0 || in.guard.caller.Load() != self {
		return nil, taskid.None
	}
	if !in.guard.word.CompareAndSwap(guard, guard&^guardSpare) {
		return nil, taskid.None
	}
	return c.table.Renew(taskid.ID(guard >> guardID))
}

// returnSpare gives a slot back that takeSpare has returned and that was not used, so
// that the callback still finds it. It reports false when id is not that slot.
func (c *conn) returnSpare(id taskid.ID) bool {
	in := &c.in
	self := uintptr(goroutine.Self())
	if c.b.callbacks.running.Load() == 0 || self == 0 || in.guard.caller.Load() != self {
		return false
	}
	guard := in.guard.word.Load()
	if guard&(guardRunning|guardSpare) != guardRunning || in.guard.caller.Load() != self {
		return false
	}
	if _, again := c.table.Renew(taskid.ID(guard >> guardID)); again != id {
		return false
	}
	return in.guard.word.CompareAndSwap(guard, guard|guardSpare)
}

// watchCallback takes the reading away from a callback that has blocked for too long.
// Only the clock calls it.
func (c *conn) watchCallback(now time.Time) {
	guard, w := c.in.guard.word.Load(), &c.watch
	if guard&guardRunning == 0 {
		return
	}
	if number := guard >> guardNumber; number != w.callback {
		w.callback, w.callbackSince = number, now
		return
	}
	if now.Sub(w.callbackSince) < callbackPatience || !c.takeOver(guard) {
		return
	}
	c.b.log(slog.LevelWarn, "a callback has not returned; others read the replies behind it",
		slog.String("addr", c.link.addr.name), slog.Duration("after", callbackPatience))
}

// takeOver gives the reading of a connection to another goroutine while the callback
// goes on. It reports false when the callback has returned.
func (c *conn) takeOver(guard uint64) bool {
	in := &c.in
	next := (guard>>guardNumber + 1) << guardNumber
	spare := guard&guardSpare != 0
	if !in.guard.word.CompareAndSwap(guard, next) {
		if !spare || !in.guard.word.CompareAndSwap(guard&^guardSpare, next) {
			return false
		}
		spare = false
	}
	// The inbox is ours, but for the bytes that the callback has borrowed.
	in.guard.calls++
	c.link.owed.Add(1)
	if caller := in.guard.caller.Load(); caller != 0 {
		c.b.callbacks.adopt(goroutine.ID(caller)) // it counts in running already
		in.guard.caller.Store(0)
	}
	if spare {
		c.free(taskid.ID(guard >> guardID))
	}
	c.freeAll()
	c.publish()
	in.buf.replace() // the callback has borrowed bytes of it
	c.replaceReader()
	return true
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

// callbackFailed is called, deferred, when a reply callback did not return.
func (c *conn) callbackFailed(guard uint64, to outcome, v any) (mine bool) {
	mine = c.leaveCallback(guard)
	lives := c.b.callbacks.failed(to, v)
	if !mine || lives {
		return mine
	}
	c.leaveCallbacks()
	c.freeAll()
	c.publish()
	c.replaceReader()
	return false
}
