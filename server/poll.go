package server

import (
	"errors"
	"io"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/rawio"
)

// Busy polling. An event loop that goes to sleep between two requests pays for the way
// there and back (gnet asks epoll twice and wakes another thread), and so does the
// peer: its write takes 12 to 17 µs when it has to wake us, 3 to 4 µs when it has not.
// So after a turn the loop stays with the connection for a while and asks its socket
// itself, again and again, for Config.BusyPoll at most.
//
// Everything else on the loop waits meanwhile. That is why a loop stays only with a
// connection that has been the only one to send for a while, why a stay ends when
// anybody asks for a turn of a connection of the loop, and after stayPolls times
// BusyPoll in any case, and why it takes twice as long alone until the next stay when
// another connection turns out to have waited.
//
// Where a few connections have a loop among them, none is alone; and where handlers have workers,
// the loop is asked for a turn when replies are there. Then the loop asks its epoll instance
// instead, whether it has something to tell, and looks whether it was asked: nothing waits then but
// to sleep. Workers that the loop yields to need not wake a thread, and neither need their replies:
// a round trip of a lone caller takes 12 µs instead of 60.

const (
	// aloneMin and aloneMax bound how many reads in a row must have been of one
	// connection before the loop stays with it.
	aloneMin = 32
	aloneMax = 1 << 20
	// stayPolls is how long a stay lasts at most, in multiples of BusyPoll, and beyond
	// it one poll and the turn that follows it.
	stayPolls = 4
)

// poller is a loop's state of busy polling.
type poller struct {
	input  []byte // what is read during a stay; made by the first
	last   *Conn  // whose input came last
	alone  int    // reads of last in a row
	need   int    // how many it takes to stay
	stayed bool   // a stay came after the last read
	pause  busypoll.Pause
	vain   busypoll.Pause // of lookOut
}

// heard notes that the event loop has found input of c.
func (p *poller) heard(c *Conn) {
	switch {
	case p.last != c:
		if p.stayed {
			p.need = min(2*p.need, aloneMax)
		}
		p.last, p.alone = c, 0
	case p.stayed:
		p.need = max(p.need-1, aloneMin)
	}
	p.stayed = false
	p.alone = min(p.alone+1, aloneMax)
}

// forget lets go of a connection that has ended.
func (p *poller) forget(c *Conn) {
	if p.last == c {
		p.last, p.alone = nil, 0
	}
}

// mayStay reports whether the loop may stay with the connection it has heard last.
func (p *poller) mayStay() bool {
	return p.alone >= p.need && !p.pause.Skip()
}

// poll comes after a turn for which the event loop has read input: it serves what c
// sends within short. False means: close.
func (c *Conn) poll() bool {
	s, l := c.srv, c.loop
	l.heard(c)
	switch {
	case s.busyPoll == 0 || l.asked.Load() > 0:
	case s.workers != nil || !l.mayStay():
		l.lookOut(s)
	case c.pollable() && busypoll.Enter(s.pollers):
		defer busypoll.Leave()
		return c.stay()
	}
	return true
}

// lookOut keeps the loop awake until its epoll instance has something to tell, or it is asked for
// something, for BusyPoll at most. It takes nothing out of the instance: the event loop goes on as
// if it had slept.
func (l *loop) lookOut(s *Server) {
	if s.busyPoll == 0 || !l.few(s) || l.vain.Skip() || !busypoll.Enter(s.pollers) {
		return
	}
	defer busypoll.Leave()
	for began := time.Now(); ; runtime.Gosched() {
		switch {
		case l.asked.Load() > 0 || l.epoll.Ready():
			l.vain.Hit()
			return
		case time.Since(began) >= s.busyPoll:
			l.vain.Vain()
			return
		}
	}
}

// few reports whether not many connections have the loop among them, and the server no more than
// are packed on its first loops: with more, others need the processors, and most turns find
// something to do anyway.
func (l *loop) few(s *Server) bool {
	n := l.conns.Load()
	return l.pauses && n > 0 && n <= packSize && s.conns.len() <= packSize*min(s.cfg.packed, int(s.pollers))
}

// pollable reports whether nothing about c needs the event loop: it alone tells when a
// peer takes bytes again, and a connection that is about to end has no use for a stay.
func (c *Conn) pollable() bool {
	return c.block == blockNone && c.unsent == 0 && c.at() == phaseUp
}

// stay is poll without its conditions.
func (c *Conn) stay() bool {
	s, l := c.srv, c.loop
	l.stayed = true
	if l.input == nil {
		l.input = make([]byte, readBufferBytes)
	}
	began := time.Now()
	for since := began; l.asked.Load() <= 0; {
		n, err := c.link.read(l.input)
		switch {
		case errors.Is(err, io.EOF):
			return true // the event loop will find it, too
		case err != nil:
			c.blame(c.endReason(err)) // nobody else will see it
			return false
		case n > 0:
			l.pause.Hit()
			l.event.Polled++
			if !c.serve(l.input[:n]) {
				return false
			}
			since = time.Now()
			if !c.pollable() || since.Sub(began) >= stayPolls*s.busyPoll {
				return true
			}
		case time.Since(since) >= s.busyPoll:
			l.pause.Vain()
			return true
		default:
			runtime.Gosched() // any other goroutine that wants this processor has its turn
		}
	}
	return true
}

// pollTime returns for how long a server with this configuration polls; 0 is never.
// With one processor, the client needs it.
func pollTime(cfg *Config, processors int) time.Duration {
	if processors < 2 || !rawio.Available {
		return 0
	}
	return max(cfg.BusyPoll, 0)
}
