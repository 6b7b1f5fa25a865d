package engine

import (
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/taskid"
)

const (
	minTick = time.Millisecond
	maxTick = 50 * time.Millisecond
	// tickShare is how many ticks the shortest timeout has at least, until the tick
	// reaches its minimum.
	tickShare = 64
	// stepMax is how far the clock moves at one sweep at most.
	stepMax = 4
	// sleepTicks is how long the sweeper goes on after the last request.
	sleepTicks = 16
	// tidyTicks is how often the list of connections is cleared of finished ones.
	tidyTicks = 20
)

// clock is the coarse time that deadlines are measured in. Reading it is one load.
//
// The sweeper moves it, by the ticks that have passed since its last sweep but no
// more than stepMax: so a deadline computed from what a late sweeper last showed is
// early by less than that, which after adds, and a process that was stopped gives
// its replies nearly all the time they had left.
type clock struct {
	tick   time.Duration
	ticked atomic.Uint32 // the present taskid.Tick; stored by the sweeper only
	asleep atomic.Bool
	wake   chan struct{} // capacity 1

	last time.Time // up to here the clock has moved; the sweeper's
}

func newClock(cfg *Config) *clock {
	shortest, longest := time.Duration(maxTick*tickShare), time.Duration(0)
	for _, d := range []time.Duration{cfg.RequestTimeout, cfg.ReadTimeout, cfg.WriteTimeout} {
		if d > 0 {
			shortest, longest = min(shortest, d), max(longest, d)
		}
	}
	tick := max(minTick, shortest/tickShare, longest/(taskid.MaxTicks-1-stepMax))
	k := &clock{tick: tick, wake: make(chan struct{}, 1)}
	k.ticked.Store(1)
	k.last = time.Now()
	return k
}

// ticks converts a timeout to ticks, rounded up; 0 for none.
func (k *clock) ticks(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32((d + k.tick - 1) / k.tick)
}

func (k *clock) now() taskid.Tick { return taskid.Tick(k.ticked.Load()) }

// after returns the deadline n ticks from now, NoTick for n = 0: one more because
// the present tick has partly passed, stepMax because it may be long past.
func (k *clock) after(n uint32) taskid.Tick {
	if n == 0 {
		return taskid.NoTick
	}
	return k.now().After(n + 1 + stepMax)
}

// advance moves the clock and returns the present tick.
func (k *clock) advance() taskid.Tick {
	passed := int(time.Since(k.last) / k.tick)
	steps := min(max(passed, 0), stepMax)
	k.last = k.last.Add(time.Duration(steps) * k.tick)
	if passed > stepMax {
		k.last = time.Now() // the rest is forgiven
	}
	now := k.now().After(uint32(steps))
	k.ticked.Store(uint32(now))
	return now
}

// rouse starts the sweeper if it sleeps. A submitter calls it after its slot is
// acquired, the sweeper looks for slots after it has set asleep: one sees the
// other.
func (k *clock) rouse() {
	if k.asleep.Load() && k.asleep.CompareAndSwap(true, false) {
		k.wake <- struct{}{}
	}
}

// sweep is the sweeper: it moves the clock, completes what is overdue, watches
// writes, and replaces connections whose table fills with orphans.
func (b *Broker) sweep() {
	defer b.wg.Done()
	setRole("sweeper")
	ticker := time.NewTicker(b.clock.tick)
	defer ticker.Stop()
	quiet := 0
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			return
		}
		now := b.clock.advance()
		work := false
		for _, c := range b.conns() {
			work = c.sweep(now) || work
		}
		if n%tidyTicks == 0 {
			b.forget(func(c *conn) bool { return c.finished.Load() && c.table.InUse() == 0 })
		}
		if quiet++; work {
			quiet = 0
		}
		if quiet >= sleepTicks {
			ticker.Stop()
			if !b.doze() {
				return
			}
			b.clock.last = time.Now()
			ticker.Reset(b.clock.tick)
			quiet = 0
		}
	}
}

// doze waits for the next request. It reports false when the broker closes.
func (b *Broker) doze() bool {
	k := b.clock
	k.asleep.Store(true)
	for _, c := range b.conns() {
		if c.busyNow() && k.asleep.CompareAndSwap(true, false) {
			return true // a request slipped in and did not see us asleep
		}
	}
	select {
	case <-k.wake:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// busyNow reports whether the connection needs sweeping. The right to read is lent
// while a request is open, so it is looked at after the requests.
func (c *conn) busyNow() bool {
	return c.open() > 0 || c.reading.Load() != standing || c.writing.Load() != 0 || c.drainBy.Load() > 0
}

// sweep looks after one connection and reports whether it must be swept again.
func (c *conn) sweep(now taskid.Tick) bool {
	if !c.busyNow() {
		return false
	}
	c.table.Expire(now, c.expire)
	c.reclaim()
	if began := taskid.Tick(c.writing.Load()); began != 0 && c.b.writeTicks != 0 && now.Since(began) > c.b.writeTicks+stepMax {
		c.fail("write", lost(ErrTimeout))
	}
	if c.drainBy.Load() > 0 {
		if c.drainBy.Add(-1) == 0 || c.open() == 0 {
			c.drainBy.Store(0)
			c.fail("close", lost(errReplaced))
		}
	} else if orphans := c.table.Orphans(); orphans*orphanShare >= c.table.Cap() && orphans > 0 {
		c.replace()
	}
	return !c.over.Load()
}

// expire completes a request whose time is up.
func (c *conn) expire(s *slot, sent bool) {
	c.timeouts.Add(1)
	op := "submit"
	if sent {
		op = "wait"
	}
	c.complete(s, nil, &OpError{Op: op, Addr: c.link.addr, Written: sent, Err: ErrTimeout})
}
