package server

import (
	"math"
	"slices"
	"time"
)

// Fairness between the connections of an event loop. A turn that has lasted turnMax ends
// if anybody else waits for the loop: the connection is not read until it is called
// again, one connection at a time, each after all that was ready for the loop meanwhile.
//
// It is called from outside the loop, by a timer, because a wake that is made on the loop
// is no way to let others by: gnet goes on with what was woken before it asks epoll.

const (
	// turnMax is how long a turn lasts before others have theirs.
	turnMax = 200 * time.Microsecond
	// strideMax is how many requests are handled at most between two looks at the time.
	strideMax = 16
	// passTime is how long others have at least before a turn goes on that was cut short.
	passTime = 20 * time.Microsecond
	// pauseShare is the part of MaxUnparsed, as a divisor, at which a connection is not read any
	// more: some of what is on its way is read all the same, each time that output drains.
	pauseShare = 16
)

// turnOver looks whether the turn has lasted long enough, and blocks the connection if
// so. It is asked before a request, seldom enough to cost nothing.
func (c *Conn) turnOver() bool {
	l := c.loop
	if c.srv.workers != nil {
		l.lookAt = math.MaxInt // it hands its requests on, and as many as it may have waiting
		return false
	}
	lasted := max(time.Since(l.began), 1)
	handled := max(l.frames, 1)
	l.stride = int(min(max(time.Duration(handled)*turnMax/4/lasted, 1), strideMax))
	l.lookAt = l.frames + l.stride
	if lasted < turnMax {
		return false
	}
	if c.deaf = c.link.hear(false, c.unsent > 0); len(l.cut) == 0 && l.asked.Load() <= 0 && !c.link.othersWait() {
		l.noteLong(c.srv) // first: mark makes this turn a short one, for back
		l.mark(time.Now())
		return false
	}
	c.block = blockTurn
	return true
}

// cutShort puts a connection behind those that are to be called.
func (l *loop) cutShort(c *Conn) {
	if !c.listed {
		c.listed = true
		l.cut = append(l.cut, c)
	}
}

// callNext has the first of those called whose turn was cut short.
func (l *loop) callNext() {
	if l.calling || len(l.cut) == 0 {
		return
	}
	l.calling = true
	l.next.Store(l.cut[0])
	if l.caller == nil {
		l.caller = time.AfterFunc(passTime, func() {
			c := l.next.Load()
			c.srv.wake(c)
		})
		return
	}
	l.caller.Reset(passTime)
}

// resume takes a connection off the list if it is the first: whatever it was woken for,
// it has its turn.
func (l *loop) resume(c *Conn) {
	if c.listed && l.cut[0] == c {
		l.unlist(c)
	}
}

// unlist takes a connection off the list.
func (l *loop) unlist(c *Conn) {
	if !c.listed {
		return
	}
	i := slices.Index(l.cut, c)
	l.cut = slices.Delete(l.cut, i, i+1)
	c.listed = false
	if i == 0 {
		l.calling = false
	}
}

// regulate has the event loop read the connection, or not, as the end of a turn has left
// it. gnet begins to read again whenever output blocks or drains, so what shall not be
// read is said again in each turn.
func (c *Conn) regulate() {
	if c.at() >= phaseDoomed {
		return
	}
	if c.mustPause() {
		c.deaf = c.link.hear(false, c.unsent > 0)
		return
	}
	if c.deaf {
		c.deaf = false
		c.link.hear(true, c.unsent > 0)
		c.lastRead.Store(c.loop.now) // what came meanwhile has not been read yet
	}
}

// mustPause reports whether a connection has sent enough: it cannot be parsed, or is about to
// end.
func (c *Conn) mustPause() bool {
	if p := c.at(); p == phaseUnread || p == phaseUnparsed {
		return true
	}
	if c.block == blockNone || c.input == nil {
		return false
	}
	s := c.srv
	return c.block == blockTurn || c.input.held >= s.cfg.MaxUnparsed/pauseShare || s.held.Load() > s.cfg.MaxHeld
}
