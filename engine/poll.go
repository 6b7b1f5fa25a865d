package engine

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Busy polling. To put the goroutine that reads to sleep, and to wake it, costs the
// peer's write and us tens of microseconds on a virtual machine: as much as a whole
// round trip. So who reads asks again and again while replies are due, for
// Config.BusyPoll at most, and sleeps only then. Everybody else who can run has his
// turn between two attempts. When that was in vain it is not tried again for a
// while, twice as long each time. (Linux does so below: SO_BUSY_POLL, and the halt
// polling of KVM.)

// pollPauseMax is for how many reads at most polling is not tried.
const pollPauseMax = 1023

// pollers counts the goroutines of the process that poll. They are at most half as
// many as processors, whatever the number of connections and brokers.
var pollers atomic.Int32

// poller is the state of busy polling; it belongs to who has the right to read.
type poller struct {
	look    func(fd uintptr) bool // lookOnce, bound once
	lookN   int
	lookErr error

	pollFor   time.Duration // Config.BusyPoll
	pollSkip  int           // reads for which polling is not tried
	pollPause int           // what pollSkip was set to last
}

// poll reads once without sleeping, if replies come in time, and reports whether it
// did. What ends reading it leaves to the read that follows.
func (c *conn) poll() bool {
	if c.in == nil || c.open() == 0 {
		return false
	}
	if c.pollSkip > 0 {
		c.pollSkip--
		return false
	}
	if pollers.Add(1) > c.b.pollers {
		pollers.Add(-1)
		return false
	}
	// The reader also writes what is submitted meanwhile, which spares the flusher
	// from being woken. A caller that reads serves nobody but itself.
	gathers := c.reading.Load() == standing
	if gathers {
		c.gathering.Store(true)
	}
	got := c.ask(gathers)
	if gathers {
		c.ungather()
	}
	pollers.Add(-1)
	return got
}

// ask is poll without its conditions.
func (c *conn) ask(gathers bool) bool {
	for start := time.Now(); ; {
		if err := c.in.Read(c.look); err != nil || c.lookErr != nil {
			return false
		}
		if c.lookN > 0 {
			c.pollPause = 0
			c.polled.Add(1)
			c.took(c.lookN)
			return true
		}
		if time.Since(start) >= c.pollFor {
			c.pollPause = min(2*c.pollPause+1, pollPauseMax)
			c.pollSkip = c.pollPause
			return false
		}
		runtime.Gosched()
		if gathers {
			c.sendQueued()
		}
	}
}

// lookOnce runs inside in.Read. It always reports done, so that in.Read never waits
// for the descriptor.
func (c *conn) lookOnce(fd uintptr) bool {
	c.lookN, c.lookErr = readFD(fd, c.buf[c.end:])
	return true
}
