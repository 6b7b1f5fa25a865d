package engine

import (
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/rawio"
)

// Busy polling. To put the goroutine that reads to sleep, and to wake it, costs the
// peer's write and us tens of microseconds on a virtual machine: as much as a whole
// round trip. So who reads asks again and again while replies are due, for
// Config.BusyPoll at most, and sleeps only then. Everybody else who can run has his
// turn between two attempts. When that was in vain it is not tried again for a
// while, twice as long each time. (Linux does so below: SO_BUSY_POLL, and the halt
// polling of KVM.)
//
// Who polls never sleeps, so the system keeps it running to the end of its time slice,
// some 3 ms, even when another thread of this process waits for the same processor:
// Linux moves waiting threads to a processor that is idle only for moments late or not
// at all. Callers that were woken and that the other thread took over then wait as
// long. The reader notices that a crowd it has woken does not submit, and yields its
// processor to the system.

const (
	// pollPauseMax is for how many reads at most polling is not tried.
	pollPauseMax = 1023
	// stranded is how many callers that do not get to run are worth a processor. Fewer
	// lose more, by running beside the reader instead of after it, than they gain.
	stranded = 128
)

// poller is the state of busy polling; it belongs to who has the right to read.
type poller struct {
	look    func(fd uintptr) bool // lookOnce, bound once
	lookN   int
	lookErr error

	pollFor   time.Duration // Config.BusyPoll
	pollSkip  int           // reads for which polling is not tried
	pollPause int           // what pollSkip was set to last

	untaken int // callers that were woken and, as far as is known, have not run since
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
	if !busypoll.Enter(c.b.pollers) {
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
	busypoll.Leave()
	return got
}

// ask is poll without its conditions.
func (c *conn) ask(gathers bool) bool {
	if gathers && c.untaken >= stranded {
		c.serve()
	}
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
			c.serve()
		}
	}
}

// serve writes what was submitted. If nothing was, while a crowd should have, it gives
// the processor up first.
func (c *conn) serve() {
	before := c.framesOut.Load()
	c.sendQueued()
	if c.untaken < stranded {
		return
	}
	if sent := int(c.framesOut.Load() - before); sent > 0 {
		c.untaken -= sent
		return
	}
	busypoll.Yield()
	c.yields.Add(1)
	c.untaken = c.countUntaken()
	c.sendQueued()
}

// countUntaken returns about how many callers have their outcome and have not run
// since: of the requests that hold a slot, those neither queued nor with the peer. It
// reads what submitters write, so it is not for every attempt of a poll. Only who has
// the right to read may call it.
func (c *conn) countUntaken() int {
	sent := c.framesOut.Load()
	if c.holding {
		sent += c.held
	}
	withPeer := sent - c.replies.Load() - c.late.Load()
	return c.table.InUse() - c.queue.Len() - int(withPeer)
}

// lookOnce runs inside in.Read. It always reports done, so that in.Read never waits
// for the descriptor.
func (c *conn) lookOnce(fd uintptr) bool {
	c.lookN, c.lookErr = rawio.Read(fd, c.buf[c.end:])
	return true
}
