package engine

import (
	"slices"
	"time"

	"github.com/ringwire/ringwire/health"
)

// Stats is a snapshot of a broker's counters since New. Its fields are read one
// after another while requests go on, so sums agree exactly only when nothing is
// in flight: then Accepted = Replies + Failed + Timeouts + Cancelled.
type Stats struct {
	Accepted uint64 // requests taken by a connection; a repetition counts again
	// Replies were completed by their reply, of any status; with a callback that blocks, when it has
	// returned.
	Replies   uint64
	Failed    uint64 // completed by the end of their connection
	Timeouts  uint64 // completed by RequestTimeout or ReadTimeout
	Cancelled uint64 // completed by their context

	QueueFull uint64 // refused with ErrQueueFull, not accepted
	Retries   uint64 // repeated, see Config.MaxRetries
	// RetriesDenied were not, because such repetitions were a fifth of the requests
	// answered.
	RetriesDenied uint64

	InFlight int // accepted, outcome open
	Queued   int // of those, not yet written
	Orphans  int // IDs in quarantine: sent, given up, unanswered
	Conns    int // connections that are up

	Panics uint64 // callbacks that panicked or ended their goroutine

	LateReplies    uint64 // dropped: their request had been given up
	UnknownReplies uint64 // dropped: no such request was waiting
	OneWay         uint64 // requests of SendOneWay, not counted in Accepted
	OneWayReplies  uint64 // dropped: replies to those
	Pushes         uint64 // frames given to OnPush

	// With Config.Extensions:
	Refused         uint64 // of Replies, those that refused the request
	RemoteErrors    uint64 // of Replies, those that said that the request had failed
	Pings           uint64 // begun, to find out whether a server that is silent is alive
	Goaways         uint64 // received: servers that wanted to end a connection
	UnknownControls uint64 // control frames of a type that is not known, dropped

	Dials      uint64 // attempts
	DialErrors uint64
	ConnsLost  uint64 // connections that ended without being closed by us
	Suspected  uint64 // connections that were silent for SilenceTimeout

	Probes       uint64 // see Config.Probe; each is a request, too
	ProbesFailed uint64

	BytesIn, BytesOut   uint64
	Reads, Writes       uint64 // system calls that moved bytes; FramesOut/Writes is the batch size
	Polled              uint64 // of Reads, those of busy polling
	Yields              uint64 // how often the poller gave its processor up to let callers run
	Led                 uint64 // lone requests whose caller set out to read the reply itself
	FramesIn, FramesOut uint64
}

// Stats returns a snapshot. It takes locks that no request takes.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	s := b.past
	for _, c := range b.conns() {
		c.addTo(&s)
	}
	servers := slices.Concat(b.servers(), b.leaving)
	b.mu.Unlock()
	waiting := b.backlog.waiting()
	s.InFlight += waiting
	s.Queued += waiting
	b.ends.addTo(&s)
	s.Accepted += uint64(waiting) + b.ends.sum()
	s.Retries = b.retries.Load()
	s.RetriesDenied = b.retriesDenied.Load()
	s.QueueFull = b.queueFull.Load()
	s.Panics = b.callbacks.panics.Load()
	for _, a := range servers {
		a.addTo(&s)
	}
	return s
}

// AddrState says how a broker uses an address.
type AddrState string

// The states of an address.
const (
	AddrUp      AddrState = "up"      // it takes requests in turn
	AddrTrial   AddrState = "trial"   // connected, but has not replied since its last failure
	AddrEjected AddrState = "ejected" // its calls fail; it gets none for a while: Config.EjectionTime
	AddrSilent  AddrState = "silent"  // its connections are suspect, see Config.SilenceTimeout
	AddrDown    AddrState = "down"    // it is being dialled, or will be
	AddrIdle    AddrState = "resting" // IdleTimeout has passed; the next call has it dialled
	AddrLeaving AddrState = "leaving" // removed; it answers what it has been asked
)

// AddrStats is what a broker knows of one server.
type AddrStats struct {
	Addr   string
	Weight int // see Broker.SetWeight
	State  AddrState
	Share  int // percent of its part that it takes; less than 100 when it is back: Config.SlowStart
	// Failures are calls in a row without a reply, or failed dials, lost and silent connections in a
	// row since its last reply.
	Failures int
	LastErr  error // of its last dial, or why its connection was given up; nil if all was well

	// Stats has the counts of its connections. QueueFull, Retries, RetriesDenied and Panics are the
	// broker's and 0 here, and requests that found no connection belong to no address.
	Stats
}

// AddrStats returns a snapshot for each server: in the order of Config.Addrs, then those that
// were added, then those that were removed and are not gone.
func (b *Broker) AddrStats() []AddrStats {
	b.judges.Advance(time.Now()) // the clock may sleep
	b.mu.Lock()
	servers := slices.Concat(b.servers(), b.leaving)
	all := make([]AddrStats, len(servers))
	for i, a := range servers {
		all[i] = AddrStats{Addr: a.name, Weight: max(int(a.weight.Load()), 1), Stats: a.past}
		for _, c := range b.conns() {
			if c.link.addr == a {
				c.addTo(&all[i].Stats)
			}
		}
	}
	b.mu.Unlock()
	for i, a := range servers {
		a.addTo(&all[i].Stats)
		all[i].State, all[i].Failures = a.state()
		all[i].Share = a.judge.Share()
		if last := a.lastErr.Load(); last != nil {
			all[i].LastErr = last
		}
	}
	return all
}

// state returns how the address is used, and its failures in a row.
func (a *address) state() (state AddrState, failures int) {
	a.mu.Lock()
	untried := a.untried
	a.mu.Unlock()
	failures = a.judge.Status().Failures
	select {
	case <-a.removed:
		return AddrLeaving, failures
	default:
	}
	state = AddrDown
	for _, l := range a.links {
		c := l.current.Load()
		switch {
		case c == nil || c.phase.Load() != phaseUp:
		case c.standing.suspect.Load():
			state = AddrSilent
		case a.proven():
			return AddrUp, failures
		case a.judge.State() == health.Ejected:
			return AddrEjected, failures
		default:
			return AddrTrial, failures
		}
	}
	if state == AddrDown && untried && a.known.Load() {
		state = AddrIdle
	}
	return state, failures
}

// addTo adds what the address counts.
func (a *address) addTo(s *Stats) {
	dialled := a.pool.Stats()
	s.Dials += dialled.Dials
	s.DialErrors += dialled.DialErrors
	s.ConnsLost += a.connsLost.Load()
	s.Suspected += a.suspected.Load()
	s.Probes += a.probes.Load()
	s.ProbesFailed += a.probesFailed.Load()
}

func (e *ends) sum() uint64 { return e.timeouts.Load() + e.cancelled.Load() + e.failed.Load() }

func (e *ends) addTo(s *Stats) {
	s.Timeouts += e.timeouts.Load()
	s.Cancelled += e.cancelled.Load()
	s.Failed += e.failed.Load()
}

// addTo adds what the connection has and had.
func (c *conn) addTo(s *Stats) {
	c.addEndedTo(s)
	open := max(c.open(), 0)
	s.Accepted += uint64(open)
	s.InFlight += open
	s.Queued += c.out.ring.Records() + int(c.out.large.n.Load())
	s.Orphans += c.table.Orphans()
	if c.phase.Load() == phaseUp {
		s.Conns++
	}
}

// addTo adds what was dispatched.
func (n tally) addTo(s *Stats) {
	s.Accepted += n.replies
	s.Replies += n.replies
	s.Pushes += n.pushes
	s.FramesIn += n.frames
}

// addEndedTo adds what the connection had. Accepted is not counted, which would cost
// every request an operation on memory that all share: it is what has ended and, with
// addTo, what is open.
func (c *conn) addEndedTo(s *Stats) {
	replies := c.in.got.replies.Load()
	s.Accepted += replies + c.ends.sum()
	s.Replies += replies
	c.ends.addTo(s)
	s.LateReplies += c.in.got.late.Load()
	s.UnknownReplies += c.in.got.unknown.Load()
	s.OneWay += c.oneWay.Load()
	s.OneWayReplies += c.in.got.oneWay.Load()
	s.Pushes += c.in.got.pushes.Load()
	s.Refused += c.in.got.refused.Load()
	s.RemoteErrors += c.in.got.remote.Load()
	s.Pings += c.out.control.pinged.Load()
	s.Goaways += c.in.got.goaways.Load()
	s.UnknownControls += c.in.got.controls.Load()
	s.BytesIn += c.in.got.bytes.Load()
	s.BytesOut += c.out.sent.bytes.Load()
	s.Reads += c.in.got.reads.Load()
	s.Polled += c.in.got.polled.Load()
	s.Led += c.in.got.led.Load()
	s.Yields += c.in.got.yields.Load()
	s.Writes += c.out.sent.writes.Load()
	s.FramesIn += c.in.got.frames.Load()
	s.FramesOut += c.out.sent.frames.Load()
}
