package engine

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/internal/role"
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
	// see 0 and need not ask which goroutines those are.
	running atomic.Int32
	panics  atomic.Uint64
	owed    atomic.Int64 // callbacks queued or running

	mu      sync.Mutex // guards what follows; nothing is called under it
	queue   []failure
	runners int
	quiet   chan struct{}        // closed when there is no runner any more; nil: nobody waits for that
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
		go k.runner()
	}
}

// wait waits until no callback is queued or runs. (Not by the broker's wait group: the goroutine
// that gives a request up when its context ends may start a runner, and nobody waits for that
// goroutine.)
func (k *callbacks) wait() {
	k.mu.Lock()
	if k.runners == 0 {
		k.mu.Unlock()
		return
	}
	if k.quiet == nil {
		k.quiet = make(chan struct{})
	}
	quiet := k.quiet
	k.mu.Unlock()
	<-quiet
}

// runner runs callbacks until none is queued.
func (k *callbacks) runner() {
	role.Set("callback")
	for {
		k.mu.Lock()
		if len(k.queue) == 0 {
			k.runners--
			k.queue = nil
			if k.runners == 0 && k.quiet != nil {
				close(k.quiet)
				k.quiet = nil
			}
			k.mu.Unlock()
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
			go k.runner() // in this one's stead
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
	k.disown(self)
}

// adopt notes a goroutine that runs a callback and does not read, or reads no more. The
// caller of adopt sees to running.
func (k *callbacks) adopt(id goroutine.ID) {
	k.mu.Lock()
	k.others[id]++
	k.mu.Unlock()
}

func (k *callbacks) disown(id goroutine.ID) {
	k.mu.Lock()
	if k.others[id]--; k.others[id] == 0 {
		delete(k.others, id)
	}
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
		if c.in.turn.Load().caller.Load() == uintptr(self) {
			return true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.others[self] > 0
}
