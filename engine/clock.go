package engine

import (
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/taskid"
)

const (
	minTick = time.Millisecond
	maxTick = 10 * time.Millisecond
	// tickShare is how many ticks the shortest timeout has at least, until the tick
	// reaches its minimum.
	tickShare = 64
	// stepMax is how far the clock moves at one sweep at most.
	stepMax = 4
	// ticksMost is how many ticks after takes at most: it adds some.
	ticksMost = taskid.MaxTicks - 1 - stepMax
	// sleepTicks is how long the clock goes on after the last request.
	sleepTicks = 16
)

// clock is the coarse time that deadlines are measured in. Reading it is one load.
//
// Its goroutine moves it, by the ticks that have passed since its last sweep but no more
// than stepMax: so a deadline computed from what a late sweep last showed is early by
// less than that, which after adds, and a process that was stopped gives its replies
// nearly all the time they had left.
type clock struct {
	tick   time.Duration
	ticked atomic.Uint32 // the present taskid.Tick; stored by the clock's goroutine only
	asleep atomic.Bool
	wake   chan struct{} // capacity 1

	last time.Time // up to here the clock has moved; its goroutine's
}

func newClock(cfg *Config) *clock {
	shortest, longest := time.Duration(maxTick*tickShare), time.Duration(0)
	for _, d := range []time.Duration{
		cfg.RequestTimeout, cfg.ReadTimeout, cfg.WriteTimeout, cfg.SilenceTimeout,
	} {
		if d > 0 {
			shortest, longest = min(shortest, d), max(longest, d)
		}
	}
	tick := max(minTick, shortest/tickShare, longest/ticksMost)
	k := &clock{tick: tick, wake: make(chan struct{}, 1)}
	k.ticked.Store(1)
	k.last = time.Now()
	return k
}

// ticks converts a timeout to ticks, rounded up; 0 for none. It is cut to what after takes:
// more than two hours, since a tick is 1 ms at least.
func (k *clock) ticks(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d-1)/k.tick+1, ticksMost))
}

func (k *clock) now() taskid.Tick { return taskid.Tick(k.ticked.Load()) }

// after returns the deadline n ticks from now, NoTick for n = 0: one more because the
// present tick has partly passed, stepMax because it may be long past.
func (k *clock) after(n uint32) taskid.Tick {
	if n == 0 {
		return taskid.NoTick
	}
	return k.now().After(n + 1 + stepMax)
}

// advance moves the clock to real, and returns the present tick.
func (k *clock) advance(real time.Time) taskid.Tick {
	passed := int(real.Sub(k.last) / k.tick)
	steps := min(max(passed, 0), stepMax)
	k.last = k.last.Add(time.Duration(steps) * k.tick)
	if passed > stepMax {
		k.last = real // the rest is forgiven
	}
	now := k.now().After(uint32(steps))
	k.ticked.Store(uint32(now))
	return now
}

// rouse starts the clock if it sleeps. A submitter calls it after its request can be
// seen, the clock looks for requests after it has set asleep: one sees the other.
func (k *clock) rouse() {
	if k.asleep.Load() && k.asleep.CompareAndSwap(true, false) {
		k.wake <- struct{}{}
	}
}

// keepTime is the clock's goroutine: it moves the clock, completes what is overdue,
// and watches the connections (watch.go).
// It runs no code of the user's and waits for nobody.
func (b *Broker) keepTime() {
	defer b.wg.Done()
	role.Set("clock")
	ticker := time.NewTicker(b.clock.tick)
	defer ticker.Stop()
	var next time.Time // when the judges have to be told of the time, zero for never
	for quiet := 0; ; quiet++ {
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			b.failBacklog()
			return
		}
		real, before := time.Now(), b.clock.now()
		now := b.clock.advance(real)
		if b.judged.Swap(false) || !next.IsZero() && !real.Before(next) {
			next = b.judges.Advance(real)
		}
		b.backlog.expire(now)
		b.backlog.resume(now)
		b.failIfDown()
		for _, c := range b.conns() {
			c.sweep(now, now.Since(before), real)
		}
		if b.needsClock() {
			quiet = 0
		}
		if quiet < sleepTicks {
			continue
		}
		ticker.Stop()
		for _, c := range b.conns() {
			c.out.ring.Trim()
		}
		if !b.sleepClock() {
			b.failBacklog()
			return
		}
		b.clock.last = time.Now()
		ticker.Reset(b.clock.tick)
		quiet = 0
	}
}

// failBacklog fails what waits when the broker has closed. The clock does it, since Close waits
// first for the clock and then for the callbacks that are queued by then.
func (b *Broker) failBacklog() {
	b.backlog.failAll(&OpError{Op: "close", Err: ErrClosingBroker})
}

// sleepClock waits for the next request. It reports false when the broker closes.
func (b *Broker) sleepClock() bool {
	k := b.clock
	k.asleep.Store(true)
	if b.needsClock() && k.asleep.CompareAndSwap(true, false) {
		return true // a request slipped in and did not see us asleep
	}
	select {
	case <-k.wake:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// needsClock reports whether anything has to be watched.
func (b *Broker) needsClock() bool {
	// What a callback is to be told of may be made again, within its deadline.
	if b.backlog.waiting() > 0 || b.callbacks.owed.Load() > 0 {
		return true
	}
	for _, c := range b.conns() {
		if c.needsClock() {
			return true
		}
	}
	return false
}

// needsClock reports whether the connection has to be watched. The right to read is free
// while a request is open, so it is looked at after the requests.
func (c *conn) needsClock() bool {
	return c.open() > 0 || c.watch.askedAt != taskid.NoTick || c.watch.triedAt != taskid.NoTick || c.in.partial.Load() != 0 ||
		c.out.writing.Load() != 0 || c.phase.Load() == phaseRetiring ||
		c.in.turn.Load().word.Load() != 0 || c.in.right.State() == baton.Free && c.phase.Load() < phaseEnded
}
