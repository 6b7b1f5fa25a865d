package load

// Status is how a run stands.
type Status struct {
	Warmup   bool // what is sent now is in no figure
	Draining bool // nothing falls due any more
	InFlight int
	Backlog  int
	Conns    int // that are up
	// Rate is how many requests a second fall due now; of the closed loop it is 0.
	Rate float64
	// SoFar has the counts that the Result would have now, and no histograms. They are read
	// one after another while requests go on: Sent may lack a connection that has ended a
	// moment ago, and has it the next time.
	SoFar Result
}

// Status tells how the run stands. It is for the function that got the interval, until that
// returns.
func (in *Interval) Status() *Status {
	r := in.run
	s := &Status{Warmup: in.To < r.cfg.Warmup, Draining: r.draining()}
	if r.backlog != nil {
		s.Backlog = int(r.backlog.len.Load())
		if !s.Draining {
			s.Rate = r.cfg.Schedule.Rate(in.To)
		}
	}
	all := newShard(r.phases, r.cfg.Mix)
	for _, from := range r.shards {
		all.addCounts(from)
	}
	// Then the connections: the other way round one that ends meanwhile would count twice.
	r.each(func(c *session) {
		s.Conns++
		c.mu.Lock()
		defer c.mu.Unlock()
		s.InFlight += c.openRequests()
		c.addSent(all.each)
	})
	r.tally(&s.SoFar, all)
	return s
}
