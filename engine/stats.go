package engine

// Stats is a snapshot of a broker's counters since New. Its fields are read one
// after another while requests go on, so sums agree exactly only when nothing is
// in flight: then Accepted = Replies + Failed + Timeouts + Cancelled.
type Stats struct {
	Accepted  uint64 // requests taken by a connection; a repetition counts again
	Replies   uint64 // completed by their reply
	Failed    uint64 // completed by the end of their connection
	Timeouts  uint64 // completed by RequestTimeout or ReadTimeout
	Cancelled uint64 // completed by their context

	QueueFull uint64 // refused with ErrQueueFull, not accepted
	Retries   uint64 // repeated by Send or SendInto

	InFlight int // accepted, outcome open
	Queued   int // of those, not yet written
	Orphans  int // IDs in quarantine: sent, given up, unanswered
	Conns    int // connections that are up

	LateReplies    uint64 // dropped: their request had been given up
	UnknownReplies uint64 // dropped: no such request was waiting

	Dials      uint64 // attempts
	DialErrors uint64
	ConnsLost  uint64 // connections that ended without being closed by us

	BytesIn, BytesOut   uint64
	Reads, Writes       uint64 // system calls that moved bytes; FramesOut/Writes is the batch size
	Polled              uint64 // of Reads, those of busy polling
	Yields              uint64 // how often busy polling gave its processor up to let callers run
	FramesIn, FramesOut uint64
}

// totals are the counters of connections that are gone.
type totals struct {
	s Stats
}

// add adds one connection's counters. The connection must be finished.
func (t *totals) add(c *conn) { c.addTo(&t.s) }

// Stats returns a snapshot. It takes locks that no request takes.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	s, live := b.past.s, b.live
	for _, c := range live {
		c.addTo(&s)
	}
	b.mu.Unlock()
	s.Retries = b.retries.Load()
	s.QueueFull = b.queueFull.Load()
	for _, p := range b.pools {
		dialled := p.Stats()
		s.Dials += dialled.Dials
		s.DialErrors += dialled.DialErrors
	}
	for _, l := range b.links {
		s.ConnsLost += l.connsLost.Load()
	}
	return s
}

func (c *conn) addTo(s *Stats) {
	s.Accepted += c.queue.Pushed() + c.acceptedHeld.Load()
	s.Replies += c.replies.Load()
	s.Failed += c.failed.Load()
	s.Timeouts += c.timeouts.Load()
	s.Cancelled += c.cancelled.Load()
	s.InFlight += c.open()
	s.Queued += c.queue.Len()
	s.Orphans += c.table.Orphans()
	if c.up.Load() {
		s.Conns++
	}
	s.LateReplies += c.late.Load()
	s.UnknownReplies += c.unknown.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.Reads += c.reads.Load()
	s.Polled += c.polled.Load()
	s.Yields += c.yields.Load()
	s.Writes += c.writes.Load()
	s.FramesIn += c.framesIn.Load()
	s.FramesOut += c.framesOut.Load()
}
