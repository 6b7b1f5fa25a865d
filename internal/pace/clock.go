package pace

import (
	"runtime"
	"time"
)

// measured is one nap in so many, whose processor time is measured.
const measured = 64

// realClock is the clock of all but tests.
type realClock struct {
	began time.Time
	naps  int
	used  time.Duration // processor time of the naps that were measured
}

func (c *realClock) start(at time.Time) { c.began = at }

func (c *realClock) now() time.Duration { return time.Since(c.began) }

// wait lets others run before it sleeps: its sleep keeps a processor of the runtime's,
// and a goroutine that was ready would have to wait for that.
func (c *realClock) wait(until time.Duration) {
	runtime.Gosched()
	if d := until - c.now(); d > 0 {
		c.used += nap(d, c.naps%measured == 0)
		c.naps++
	}
}

func (c *realClock) cost() time.Duration {
	if c.naps == 0 {
		return 0
	}
	of := (c.naps + measured - 1) / measured
	return time.Duration(float64(c.used) * float64(c.naps) / float64(of))
}
