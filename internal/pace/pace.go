// Package pace hands out the requests of a schedule, each when it is due.
//
// Request i of R a second is meant to be sent i/R after the start, whatever becomes
// of those before it, and its latency counts from then; other schedules say other times. So a
// system that stalls is charged with every request that fell due meanwhile. That is Gil Tene's
// remedy for coordinated omission: https://github.com/giltene/wrk2.
//
// No goroutine paces for the others. Those that send take turns, as leader and followers
// (Schmidt and others, "Leader/Followers", 2000): the one that has the turn waits for the
// next request's time, gives the turn on and sends. So no other goroutine has to be
// woken when a request is due, which took longer than everything else here.
//
// The wait does not end with a timer of Go. That is late by a millisecond in a process
// that has nothing else to do: netpoll_epoll.go in package runtime rounds the time up,
// since epoll_wait counts milliseconds. A pacer on timers therefore sends what is due
// in bursts, and a system that batches looks better than it is.
package pace

import (
	"math"
	"sync/atomic"
	"time"
)

// Request is one that may be sent now.
type Request struct {
	Index int64 // counts from 0
	// Intended is when it was to be sent, since the start.
	Intended time.Duration
	// Lag is how late it was handed out by the generator's fault. The time it waited for
	// a goroutine that is free to send is not in it: that is the system's fault.
	Lag time.Duration
}

// Schedule says when the requests of a run are due. A pacer asks it from one goroutine at
// a time.
type Schedule interface {
	// Next returns when the next request is due, since the start and not before the last
	// one, or false when there are no more.
	Next() (at time.Duration, more bool)
}

// At is when request i of a rate is to be sent, since the start. It is computed from i
// alone, so that no error adds up.
func At(rate float64, i int64) time.Duration {
	return time.Duration(float64(i) * float64(time.Second) / rate)
}

// constant is the schedule of a rate that does not end.
type constant struct {
	rate float64
	next int64
}

func (c *constant) Next() (at time.Duration, more bool) {
	at = At(c.rate, c.next)
	c.next++
	return at, true
}

// Pacer hands out the requests of one run. Any number of goroutines may send.
type Pacer struct {
	schedule Schedule
	patience time.Duration
	clock    clock
	end      atomic.Int64  // no request is due after it, in time since the start
	turn     chan struct{} // holds something while nobody has the turn

	// What follows belongs to the goroutine that has the turn.
	next   int64         // index of the request that is handed out next
	at     time.Duration // when that is due
	more   bool          // there is one
	unsent atomic.Int64  // others read it, too
	last   Request       // that was handed out
	handed time.Duration // when that was
}

// clock tells the time since the start.
type clock interface {
	start(at time.Time)
	now() time.Duration
	// wait returns at the given time or somewhat later, or long before.
	wait(until time.Duration)
	// cost is the processor time of all waits, as far as that is known.
	cost() time.Duration
}

// New returns a pacer for that many requests a second, more than 0, without an end.
// Patience is that of NewSchedule.
func New(rate float64, patience time.Duration) *Pacer {
	return newPacer(&constant{rate: rate}, patience, &realClock{})
}

// NewSchedule returns a pacer for that schedule. Requests that are due and that nobody is
// free to send wait. Patience bounds that backlog: a request that has been due for longer
// is not sent.
func NewSchedule(s Schedule, patience time.Duration) *Pacer {
	return newPacer(s, patience, &realClock{})
}

func newPacer(s Schedule, patience time.Duration, c clock) *Pacer {
	p := &Pacer{schedule: s, patience: patience, clock: c, turn: make(chan struct{}, 1)}
	p.end.Store(math.MaxInt64)
	p.at, p.more = s.Next()
	p.giveTurn()
	return p
}

// Start is the time from which requests are due. It comes before every other call.
func (p *Pacer) Start() { p.StartAt(time.Now()) }

// StartAt is Start with a time that others measure from, too.
func (p *Pacer) StartAt(at time.Time) { p.clock.start(at) }

// Now is the time since the start.
func (p *Pacer) Now() time.Duration { return p.clock.now() }

// End lets no more requests become due. Next still hands out those that are: to leave
// them out would leave out the latencies of a stall at the end.
func (p *Pacer) End() { p.end.Store(int64(p.clock.now())) }

// Unsent is how many requests were not sent because they had been due for too long.
func (p *Pacer) Unsent() int64 { return p.unsent.Load() }

// Cost is the processor time that was spent on waiting for requests to be due, which is
// no part of what is measured: an estimate from one wait in 64, on Linux only.
func (p *Pacer) Cost() time.Duration {
	<-p.turn
	defer p.giveTurn()
	return p.clock.cost()
}

func (p *Pacer) giveTurn() { p.turn <- struct{}{} }

// Next returns the next request when it is due, to be sent at once, or false when no
// more will be. While nobody calls it, requests that are due wait; they are handed out
// in order then, as fast as they are asked for.
func (p *Pacer) Next() (Request, bool) {
	free, now := p.takeTurn()
	r, due := p.await(free, now)
	p.giveTurn()
	return r, due
}

// Poll returns the next request if it is due by now, without waiting for that.
func (p *Pacer) Poll() (Request, bool) {
	free, now := p.takeTurn()
	defer p.giveTurn()
	p.skip(now)
	if !p.due() || now < p.at {
		return Request{}, false
	}
	return p.handOut(free, now), true
}

// takeTurn returns since when the caller is free to send, and the time now. A caller that
// need not wait for the turn reads the clock once.
func (p *Pacer) takeTurn() (free, now time.Duration) {
	select {
	case <-p.turn:
		now = p.clock.now()
		return now, now
	default:
		free = p.clock.now()
		<-p.turn
		return free, p.clock.now()
	}
}

// await is Next of a goroutine that has the turn.
func (p *Pacer) await(free, now time.Duration) (Request, bool) {
	p.skip(now)
	for ; p.due(); now = p.clock.now() {
		if now >= p.at {
			return p.handOut(free, now), true
		}
		p.clock.wait(p.at)
	}
	return Request{}, false
}

// due reports whether the next request is one that becomes due at all.
func (p *Pacer) due() bool { return p.more && int64(p.at) <= p.end.Load() }

// handOut takes the next request, which is due now.
func (p *Pacer) handOut(free, now time.Duration) Request {
	p.last = Request{p.next, p.at, p.lag(p.at, free, now)}
	p.handed = now
	p.advance()
	return p.last
}

func (p *Pacer) advance() {
	p.next++
	p.at, p.more = p.schedule.Next()
}

// lag is that of the request intended at a time, handed out now to a goroutine that has
// been free for a while. It may have been so since the request was due. Or it was not,
// but the generator was late with the last request already: then the generator still is,
// by less what lies between the two, and by more what it took since (Lindley's
// recursion).
func (p *Pacer) lag(at, free, now time.Duration) time.Duration {
	took := now - max(free, p.handed)
	return max(now-max(free, at), p.last.Lag+took-(at-p.last.Intended))
}

// skip leaves out the requests that have been due for too long.
func (p *Pacer) skip(now time.Duration) {
	for now-p.at > p.patience && p.due() {
		p.advance()
		p.unsent.Add(1)
	}
}
