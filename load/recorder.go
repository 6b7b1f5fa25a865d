package load

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/load/request"
)

const (
	// shardsMax bounds the copies of every histogram.
	shardsMax = 4
	// codesMax bounds the codes that are told apart, in one phase and shard.
	codesMax = 64
	// OtherCodes is the name of the codes beyond that.
	OtherCodes = "others"
	// digits of the histograms: what they say is within 0.1 %.
	digits = 3
)

// Counts are the outcomes of requests.
type Counts struct {
	// Sent is how many were given to a connection. Each of them has one of the outcomes
	// Replied, Timeouts, ConnLost, Abandoned.
	Sent      uint64 `json:"sent"`
	Replied   uint64 `json:"replied"`
	Timeouts  uint64 `json:"timeouts"`
	ConnLost  uint64 `json:"conn_lost"` // their connection ended first
	Abandoned uint64 `json:"abandoned"` // in flight when the drain ended

	// Of those replied, the ones that were no success.
	Refused   uint64 `json:"refused"`   // by their status
	Mismatch  uint64 `json:"mismatch"`  // not what was expected
	Truncated uint64 `json:"truncated"` // too short to have a status

	// Of the timeouts. What is neither is lost: no reply came, though the connection stayed.
	Late uint64 `json:"late"` // the reply came after all
	Cut  uint64 `json:"cut"`  // their connection ended before that
}

// Lost is how many have no reply although their connection stayed up.
func (c *Counts) Lost() uint64 { return c.Timeouts - c.Late - c.Cut }

// OK is how many had a reply that was a success.
func (c *Counts) OK() uint64 { return c.Replied - c.Refused - c.Mismatch - c.Truncated }

// Failed is how many had another outcome.
func (c *Counts) Failed() uint64 { return c.Sent - c.OK() }

// Unexplained is the difference between what was sent and all outcomes. It is 0.
func (c *Counts) Unexplained() int64 {
	return int64(c.Sent) - int64(c.Replied+c.Timeouts+c.ConnLost+c.Abandoned)
}

// Add adds the counts of other requests.
func (c *Counts) Add(d *Counts) {
	for _, f := range [...]struct{ to, from *uint64 }{
		{&c.Sent, &d.Sent}, {&c.Replied, &d.Replied}, {&c.Timeouts, &d.Timeouts},
		{&c.ConnLost, &d.ConnLost}, {&c.Abandoned, &d.Abandoned}, {&c.Refused, &d.Refused},
		{&c.Mismatch, &d.Mismatch}, {&c.Truncated, &d.Truncated}, {&c.Late, &d.Late}, {&c.Cut, &d.Cut},
	} {
		*f.to += *f.from
	}
}

// NewHistogram returns an empty histogram of the kind that a Result has.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(latencyMax), digits) }

// latency is a histogram of nanoseconds that is made when it is first used.
type latency struct{ *hdrhistogram.Histogram }

func (l *latency) record(d time.Duration) {
	if l.Histogram == nil {
		l.Histogram = NewHistogram()
	}
	// Within the range by construction.
	_ = l.RecordValue(int64(min(max(d, 0), latencyMax)))
}

func (l *latency) merge(from latency) {
	if from.Histogram == nil {
		return
	}
	if l.Histogram == nil {
		l.Histogram = NewHistogram()
	}
	l.Merge(from.Histogram)
}

// series is what is recorded of the requests of one kind, or of all.
type series struct {
	counts   Counts
	response latency // of successes, and of timeouts at their age
	service  latency // of successes
}

func (s *series) merge(from *series) {
	s.counts.Add(&from.counts)
	s.response.merge(from.response)
	s.service.merge(from.service)
}

// code is what is recorded of the replies with a status.
type code struct {
	name     string
	ok       bool
	count    uint64
	response latency
}

// record is what is recorded of all phases but the warm-up together.
type record struct {
	queue latency
	lag   latency
	late  latency    // response of late replies
	kinds []series   // of a mix of more than one
	steps [][]series // of each kind: of its steps, if it has more than one
	codes map[string]*code
}

func newRecord(mix *request.Mix) *record {
	r := &record{codes: make(map[string]*code), steps: make([][]series, len(mix.Kinds))}
	if len(mix.Kinds) > 1 {
		r.kinds = make([]series, len(mix.Kinds))
	}
	for i := range mix.Kinds {
		if n := mix.Kinds[i].Steps(); n > 1 {
			r.steps[i] = make([]series, n)
		}
	}
	return r
}

// code returns what is recorded of a status.
func (r *record) code(status []byte, ok bool) *code {
	c := r.codes[string(status)]
	switch {
	case c != nil:
	case len(r.codes) < codesMax:
		c = &code{name: request.CodeName(status), ok: ok}
		r.codes[string(status)] = c
	default:
		// A status of no bytes does not exist, so this one is free.
		if c = r.codes[""]; c == nil {
			c = &code{name: OtherCodes}
			r.codes[""] = c
		}
	}
	return c
}

func (r *record) merge(from *record) {
	r.queue.merge(from.queue)
	r.lag.merge(from.lag)
	r.late.merge(from.late)
	for i := range from.kinds {
		r.kinds[i].merge(&from.kinds[i])
	}
	for i := range from.steps {
		for n := range from.steps[i] {
			r.steps[i][n].merge(&from.steps[i][n])
		}
	}
	for key, c := range from.codes {
		to := r.same(key, c)
		to.count += c.count
		to.response.merge(c.response)
	}
}

// same returns what is recorded here of a status of another record.
func (r *record) same(key string, c *code) *code {
	if r.codes[key] == nil {
		r.codes[key] = &code{name: c.name, ok: c.ok}
	}
	return r.codes[key]
}

// Replies counts what came and belongs to no request that waited for it.
type Replies struct {
	Duplicate    uint64 `json:"duplicate"`     // a second reply
	UnknownID    uint64 `json:"unknown_id"`    // no request has that ID
	PeerRequests uint64 `json:"peer_requests"` // requests that the peer made
	PeerAnswered uint64 `json:"peer_answered"` // of those, by a rule
}

// Add adds the counts of other replies.
func (r *Replies) Add(d Replies) {
	r.Duplicate += d.Duplicate
	r.UnknownID += d.UnknownID
	r.PeerRequests += d.PeerRequests
	r.PeerAnswered += d.PeerAnswered
}

// warmup is the phase of requests that are in no figure; the stages follow it.
const warmup = 0

// shard holds what is recorded of some connections.
type shard struct {
	mu       sync.Mutex // guards what follows
	phases   []series
	measured *record
	replies  Replies
	beats    beats
	stayed   time.Duration // in flight, all together, but for what is service
	last     time.Duration // when something was received
	lagMost  time.Duration // of the whole run
	bytesIn  uint64
	interval *interval // nil: nobody wants to know

	bytesOut atomic.Uint64 // the goroutine that writes does not hold the lock
	_        cacheline.Pad
}

func newShard(phases int, mix *request.Mix) *shard {
	return &shard{phases: make([]series, phases), measured: newRecord(mix)}
}

// merge adds another shard, whose connections have ended.
func (s *shard) merge(from *shard) {
	for i := range from.phases {
		s.phases[i].merge(&from.phases[i])
	}
	s.measured.merge(from.measured)
	s.replies.Add(from.replies)
	s.beats.merge(&from.beats)
	s.stayed += from.stayed
	s.last = max(s.last, from.last)
	s.lagMost = max(s.lagMost, from.lagMost)
	s.bytesIn += from.bytesIn
	s.bytesOut.Add(from.bytesOut.Load())
}

// addCounts adds no more than the counts of a shard, whose connections may be at work.
func (s *shard) addCounts(from *shard) {
	from.mu.Lock()
	defer from.mu.Unlock()
	for i := range from.phases {
		s.phases[i].counts.Add(&from.phases[i].counts)
	}
	for i := range from.measured.kinds {
		s.measured.kinds[i].counts.Add(&from.measured.kinds[i].counts)
	}
	for key, c := range from.measured.codes {
		s.measured.same(key, c).count += c.count
	}
	s.replies.Add(from.replies)
	s.beats.addCounts(&from.beats)
	s.bytesIn += from.bytesIn
	s.bytesOut.Add(from.bytesOut.Load())
}

// each calls f for the series that a request is in.
func (s *shard) each(phase, kind uint8, f func(*series)) {
	f(&s.phases[phase])
	if s.measured.kinds != nil && phase != warmup {
		f(&s.measured.kinds[kind])
	}
}
