package pace

import (
	"runtime"
	"time"
)

// realClock is the clock of all but tests.
type realClock struct{ began time.Time }

func (c *realClock) start() { c.began = time.Now() }

func (c *realClock) now() time.Duration { return time.Since(c.began) }

// wait lets others run before it sleeps: its sleep may keep a processor of the
// runtime's, and who was ready would have to wait for that.
func (c *realClock) wait(until time.Duration) {
	runtime.Gosched()
	if d := until - c.now(); d > 0 {
		nap(d)
	}
}
