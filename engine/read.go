package engine

import (
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/role"
)

// stopPoll is how often the reader of a connection that has ended looks whether somebody
// else still reads.
const stopPoll = time.Millisecond

// read is the reader: the only goroutine that sleeps in a read of the socket, and the
// keeper of the right to read. holding says that it begins with the right.
func (c *conn) read(holding bool) {
	defer c.b.wg.Done()
	role.Set("reader")
	for {
		if !holding {
			select {
			case <-c.in.right.Wait():
			case <-c.dead:
				c.stopAll()
				c.in.buf.dispose()
				c.leave()
				return
			}
		}
		holding = false
		switch c.readOn() {
		case readTaken:
			return
		case readEnded:
			c.in.buf.dispose()
			c.leave()
			return
		}
	}
}

// stopAll waits until nobody else reads on a connection that has ended, and keeps the
// right for good.
func (c *conn) stopAll() {
	for !c.in.right.Take() {
		select {
		case <-c.in.right.Wait():
			return
		case <-time.After(stopPoll): // a callback may take long
		}
	}
}

// why the reader stopped.
type readStop int

const (
	readFreed readStop = iota // the right is free: others poll
	readTaken                 // a callback blocked; another goroutine is the reader now
	readEnded                 // the connection has ended
)

// readOn reads until others may poll.
func (c *conn) readOn() readStop {
	in := &c.in
	in.by = nil
	// Somebody may have read what only we may dispatch.
	for sleeps := in.buf.end == 0; ; sleeps = true {
		if sleeps {
			if err := c.sleepRead(); err != nil {
				c.readFailed(err)
				return readEnded
			}
		}
		before := in.buf.end
		if !c.digest() {
			return readTaken
		}
		if c.phase.Load() >= phaseEnded {
			return readEnded
		}
		if c.poller != nil && in.buf.end < before && !in.pause.Skip() {
			c.stopReading()
			return readFreed
		}
	}
}

// digest dispatches what was read. It writes what callbacks and the callers just woken
// submit. It reports false when the reading was taken away from us.
func (c *conn) digest() (mine bool) {
	c.out.right.Promise()
	if !c.dispatch() {
		return false
	}
	// Only the goroutine that reads promises to write. We may not have been able to at first,
	// and dispatch has since.
	if c.out.promised() {
		runtime.Gosched() // those just woken submit their next requests
		c.endPromise()
	}
	return true
}
