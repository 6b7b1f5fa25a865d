package load

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a run gave.
type Result struct {
	Open        bool // the loop was
	Targets     []string
	InFlight    int
	Started     time.Time     // when the first request was due; zero: no connection came up
	Elapsed     time.Duration // from then until the last request was due
	Warmup      time.Duration // at its beginning, which is in Violations and in nothing else
	Interrupted bool
	Broke       string // why the run ended before its time; "": it did not
	DumpError   error  // of Config.Dump: failures are missing there

	Total  Figures
	Stages []Figures // of the open loop; response and service only
	Kinds  []Figures // of a mix of more than one kind; the same
	Steps  []Figures // of the steps of flows; service only
	Codes  []Code    // by count

	Unsent    Unsent
	Replies   Replies // of the whole run
	Beats     Heartbeats
	Conns     Conns
	Bytes     Bytes
	Generator Generator
	Little    Little
	// LagMost is the longest lag of the whole run, the warm-up too; 0: unknown. As long as a
	// backend takes requests in their order, none waits for longer on account of all lags together.
	LagMost time.Duration
	// Measured is from the warm-up's end to the last request or reply.
	Measured time.Duration
	// Violations is the counts of the whole run, the warm-up too.
	Violations Counts
}

// Figures are the counts and latencies of requests. The histograms are in nanoseconds;
// nothing recorded is an empty one.
type Figures struct {
	Name   string
	Counts Counts
	// Response is received − intended, of successes and of timeouts at their age.
	Response *hdrhistogram.Histogram
	Service  *hdrhistogram.Histogram // received − sent, of successes
	Queue    *hdrhistogram.Histogram // sent − intended
	Lag      *hdrhistogram.Histogram // the generator's part in Queue
	Late     *hdrhistogram.Histogram // received − intended, of late replies
}

// Code is the replies with a status.
type Code struct {
	Name     string
	OK       bool
	Count    uint64
	Response *hdrhistogram.Histogram
}

// Unsent are requests that were due and that no connection was given, by why.
type Unsent struct {
	Backlog   uint64 // no slot was free: the backlog was full, or not empty when the drain ended
	Generator uint64 // the generator came to them later than a timeout
	Early     uint64 // the run ended before its time
}

// Total is all of them.
func (u Unsent) Total() uint64 { return u.Backlog + u.Generator + u.Early }

// Conns is what became of connections.
type Conns struct {
	Opened   uint64            `json:"opened"`
	Lost     uint64            `json:"lost"`     // ended, and not by us
	Replaced uint64            `json:"replaced"` // by us, at their limit
	Cut      uint64            `json:"cut"`      // of those lost: within a frame
	Errors   map[string]uint64 `json:"errors"`   // dials that failed and connections lost, by cause
}

// Bytes is what was moved over all connections once they were open, heartbeats and answers to
// the peer too; of TLS what lies within.
type Bytes struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}

// collect fills in what the run recorded. All its goroutines have ended.
func (r *run) collect(res *Result) {
	all := newShard(r.phases, r.cfg.Mix)
	for _, s := range r.shards {
		all.merge(s)
	}
	r.tally(res, all)
	res.Measured = max(all.last, res.Elapsed) - min(res.Warmup, res.Elapsed)
	res.LagMost = all.lagMost
	res.Beats.Service = all.beats.service.filled()
	var total series
	for i := range all.phases[1:] {
		total.merge(&all.phases[1+i])
	}
	res.Total = total.figures("")
	m := all.measured
	res.Total.Queue, res.Total.Lag, res.Total.Late = m.queue.filled(), m.lag.filled(), m.late.filled()
	res.Little = r.little(all, &res.Total, res.Measured)
	if r.backlog != nil {
		r.collectStages(res, all.phases)
	}
	for i := range m.kinds {
		res.Kinds[i] = m.kinds[i].figures(res.Kinds[i].Name)
	}
	res.Steps = r.stepFigures(m, &total)
	for i := range res.Codes {
		res.Codes[i].Response = latency{res.Codes[i].Response}.filled()
	}
	if why := r.broke.Load(); why != nil {
		res.Broke = *why
	}
}

// tally puts the counts of all shards into a Result.
func (r *run) tally(res *Result, all *shard) {
	for i := range all.phases {
		if i != warmup {
			res.Total.Counts.Add(&all.phases[i].counts)
		}
		res.Violations.Add(&all.phases[i].counts)
	}
	for i := range all.measured.kinds {
		res.Kinds = append(res.Kinds, Figures{Name: r.cfg.Mix.Kinds[i].Name, Counts: all.measured.kinds[i].counts})
	}
	for _, c := range all.measured.codes {
		res.Codes = append(res.Codes, Code{c.name, c.ok, c.count, c.response.Histogram})
	}
	slices.SortFunc(res.Codes, func(a, b Code) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	if r.backlog != nil {
		res.Unsent.Generator = uint64(r.pacer.Unsent())
		for i := range r.unsent {
			if i != warmup {
				res.Unsent.Backlog += r.unsent[i].Load()
			}
		}
	}
	res.Replies = all.replies
	res.Bytes = Bytes{all.bytesOut.Load(), all.bytesIn}
	res.Beats = Heartbeats{Sent: all.beats.sent, Answered: all.beats.answered, Missed: all.beats.missed}
	c := &r.conns
	c.mu.Lock()
	defer c.mu.Unlock()
	res.Conns = Conns{c.opened.Load(), c.lost, c.replaced, c.cut, maps.Clone(c.errors)}
}

// collectStages fills in what only the open loop has.
func (r *run) collectStages(res *Result, phases []series) {
	for i, s := range r.cfg.Schedule.Stages {
		res.Stages = append(res.Stages, phases[i+1].figures(stageName(s)))
	}
	left := r.backlog.clear(r.phases)
	for i := 1; i < r.phases; i++ { // the warm-up's are of no interest
		res.Unsent.Backlog += left[i]
		if r.dropped != nil {
			res.Unsent.Early += r.dropped[i]
		}
	}
}

// filled returns the histogram, an empty one if nothing was recorded.
func (l latency) filled() *hdrhistogram.Histogram {
	if l.Histogram == nil {
		return NewHistogram()
	}
	return l.Histogram
}

func (s *series) figures(name string) Figures {
	return Figures{Name: name, Counts: s.counts, Response: s.response.filled(), Service: s.service.filled(),
		Queue: latency{}.filled(), Lag: latency{}.filled(), Late: latency{}.filled()}
}

// Snapshot is how far a run is.
type Snapshot struct {
	At       time.Duration // since the first request was due
	Counts   Counts        // until then, the warm-up too
	Replies  Replies
	InFlight int
	Backlog  int
	Conns    int // that are up
	// Response is that of the second before: of successes, and of timeouts at their age. It
	// is valid until Observe returns.
	Response *hdrhistogram.Histogram
}

func (r *run) snapshot() Snapshot {
	s := Snapshot{At: r.now(), Conns: r.up()}
	if r.backlog != nil {
		s.Backlog = int(r.backlog.len.Load())
	}
	r.each(func(c *session) {
		_, open := c.waiting()
		s.InFlight += open
	})
	for _, sh := range r.shards {
		sh.mu.Lock()
		for i := range sh.phases {
			s.Counts.Add(&sh.phases[i].counts)
		}
		s.Replies.Add(sh.replies)
		sh.mu.Unlock()
	}
	s.Counts.Sent = s.Counts.Replied + s.Counts.Timeouts + s.Counts.ConnLost + uint64(s.InFlight)
	return s
}
