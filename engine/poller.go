package engine

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/role"
)

const (
	// loneReplies is after how many lone replies in a row the poller leaves a connection to
	// its only caller.
	loneReplies = 32
	// stranded is how many callers that were woken and do not run are worth a processor.
	stranded = 128
	// crowd is of how many callers that were woken a yield of the poller's does not run all, by
	// far: then others had better write meanwhile, beside it. (With four connections 1.05 to 1.12
	// times the throughput at 4 and 16 callers, 1.09 at 64 on four servers, none at 256, where
	// without a bound it is 0.9.)
	crowd = 32
)

// poller polls the sockets of its connections while replies are due on them. To put a
// goroutine that reads to sleep, and to wake it, costs the peer's write and us tens of
// microseconds on a virtual machine: as much as a whole round trip. So the poller asks
// again and again, for Config.BusyPoll at most, and only then leaves the socket to the
// connection's reader, which sleeps. (Linux does so below: SO_BUSY_POLL, and the halt
// polling of KVM.)
//
// A round: read each socket once, dispatch, yield once to all goroutines that can run, above all
// those just woken, and write what they and others have submitted. So the requests of all
// callers that were answered together leave together, and no other goroutine is woken for
// reading or writing.
//
// The poller has the rights to read of the connections in its set, and promises to
// write. It sleeps while none is due.
//
// Since it does not sleep otherwise, Linux leaves it its processor to the end of its time
// slice, some 3 ms, also when another thread of the process waits for that very processor
// while a second one has moments to spare. Callers that the other thread has taken over
// then wait as long: half of the tail at 256 callers was that (perf sched). So when many
// callers that it has woken do not submit, and nothing else is to be done, the poller
// yields its processor to the system.
type poller struct {
	b      *Broker
	asleep atomic.Bool
	wakeup chan struct{} // capacity 1

	set []polled // belongs to the goroutine that is the poller, see replace
}

// polled is a connection in the poller's set.
type polled struct {
	*conn
	idle  time.Time // since when nothing has come; zero: not known
	quiet bool      // nothing was due when the poller last looked
	woken int       // callers woken that have not submitted since, as far as is known
}

func newPoller(b *Broker) *poller {
	return &poller{b: b, wakeup: make(chan struct{}, 1)}
}

// wake wakes the poller if it sleeps. Its caller has submitted a request before; the
// poller looks for due replies after it has set asleep: one sees the other.
func (p *poller) wake() {
	if p.asleep.Load() && p.asleep.CompareAndSwap(true, false) {
		p.wakeup <- struct{}{}
	}
}

// run is the poller's goroutine. polling says that it goes on in another one's stead.
func (p *poller) run(polling bool) {
	defer p.b.wg.Done()
	role.Set("poller")
	for {
		if !polling && !p.wait() {
			return
		}
		polling = false
		p.collect()
		if len(p.set) == 0 {
			continue
		}
		if !busypoll.Enter(p.b.pollers) {
			for len(p.set) > 0 {
				p.drop(0)
			}
			continue
		}
		if !p.poll() {
			return // another goroutine is the poller now
		}
		busypoll.Leave()
	}
}

// wait sleeps until a reply is due. It reports false when the broker closes.
func (p *poller) wait() bool {
	p.asleep.Store(true)
	for _, c := range p.b.conns() {
		if p.wants(c) && p.asleep.CompareAndSwap(true, false) {
			return true
		}
	}
	select {
	case <-p.wakeup:
		return true
	case <-p.b.ctx.Done():
		return false
	}
}

// wants reports whether a connection is to be polled.
func (p *poller) wants(c *conn) bool {
	return c.poller == p && c.in.right.State() == baton.Free && c.due()
}

// collect takes connections on which replies are due and nobody reads.
func (p *poller) collect() {
	conns := p.b.conns()
	if len(p.set) == len(conns) {
		return
	}
	for _, c := range conns {
		if p.wants(c) && c.in.right.Take() {
			c.in.by = p
			c.out.right.Promise()
			p.set = append(p.set, polled{conn: c})
		}
	}
}

// poll polls until nothing is due. It reports false when the poller was replaced.
func (p *poller) poll() (mine bool) {
	for len(p.set) > 0 {
		busy := false
		for i := 0; i < len(p.set); i++ {
			c := &p.set[i]
			if c.quiet && !c.due() {
				continue
			}
			n, err := c.attemptRead()
			if err != nil {
				c.readFailed(err)
				p.drop(i)
				i--
				continue
			}
			if n == 0 {
				continue
			}
			busy = true
			c.idle, c.quiet = time.Time{}, false
			c.in.pause.Hit()
			if !c.dispatch() {
				return false
			}
			c.woken += c.in.woken
			if c.in.lone > loneReplies && len(p.set) == 1 {
				c.in.lone = 0
				p.free(i)
				i--
			}
		}
		runtime.Gosched()
		for i := range p.set {
			c := &p.set[i]
			before := c.out.sent.frames.Load()
			c.redeem()
			if c.woken < crowd {
				c.out.right.Promise() // others may have had the right
			}
			if sent := int(c.out.sent.frames.Load() - before); sent > 0 {
				busy = true
				c.woken = max(c.woken-sent, 0)
			}
		}
		p.collect()
		if !busy {
			p.yield()
			p.settle(time.Now())
		}
	}
	return true
}

// yield gives the processor up if a crowd of callers does not get to run.
func (p *poller) yield() {
	for i := range p.set {
		if c := &p.set[i]; c.woken >= stranded {
			c.woken /= 2 // some of them may have other things to do than to submit again
			c.in.got.yields.Add(1)
			busypoll.Yield()
			return
		}
	}
}

// settle looks after a round in which nothing came. What has been polled in vain for
// BusyPoll is left to its reader. A connection on which nothing is due is not read while
// others are polled, and freed with the last of them: its callers are at work on those,
// and will be back.
func (p *poller) settle(now time.Time) {
	due := false
	for i := 0; i < len(p.set); i++ {
		c := &p.set[i]
		c.quiet = !c.due()
		due = due || !c.quiet
		switch {
		case c.idle.IsZero():
			c.idle = now
			if c.phase.Load() < phaseEnded {
				continue
			}
		case now.Sub(c.idle) < p.b.cfg.BusyPoll:
			continue
		case !c.quiet:
			c.in.pause.Vain()
		}
		p.drop(i)
		i--
	}
	for !due && len(p.set) > 0 {
		p.free(0)
	}
}

// free frees the rights of the set's i-th connection.
func (p *poller) free(i int) {
	c := p.remove(i)
	c.endPromise()
	c.stopReading()
}

// drop leaves the set's i-th connection to its reader.
func (p *poller) drop(i int) {
	c := p.remove(i)
	c.endPromise()
	c.in.by = nil
	c.in.right.Keep()
}

func (p *poller) remove(i int) *conn {
	c := p.set[i].conn
	last := len(p.set) - 1
	p.set[i], p.set[last] = p.set[last], polled{}
	p.set = p.set[:last]
	return c
}

// replace lets another goroutine be the poller, without the connection on which a
// callback has blocked the present one. The caller has taken c's inbox from that
// goroutine, which will touch nothing of ours any more.
func (p *poller) replace(c *conn) {
	for i := range p.set {
		if p.set[i].conn == c {
			p.remove(i)
			break
		}
	}
	busypoll.Leave() // on behalf of the blocked one
	p.b.wg.Add(1)
	go p.run(true)
}
