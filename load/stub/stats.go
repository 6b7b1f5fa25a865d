package stub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// shardCount is how many copies of the histogram there are.
const shardCount = 4

type counts struct {
	accepted, refused, dialled, dialFailures atomic.Uint64
	requests, replies, unanswered            atomic.Uint64
	notRequests, badFrames, skipped, stalled atomic.Uint64
	faults                                   [faultCount]atomic.Uint64
}

// sent counts replies that were written.
func (c *counts) sent(rs []*reply) {
	c.replies.Add(uint64(len(rs)))
	for _, r := range rs {
		if r.fault != None {
			c.faults[r.fault].Add(1)
		}
	}
}

// shard holds the real delays of some connections.
type shard struct {
	mu    sync.Mutex // guards delay
	delay *hdrhistogram.Histogram
	_     cacheline.Pad
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(2*longest), 3) }

func (s *shard) record(now time.Time, rs []*reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delay == nil {
		s.delay = newHistogram()
	}
	for _, r := range rs {
		// Within the range by construction.
		_ = s.delay.RecordValue(int64(min(max(now.Sub(r.received), 0), 2*longest)))
	}
}

// Stats is what a stub has done. When it has ended, Requests = Replies + Unanswered + the
// faults Drop, Oversize, Garbage, Close and Reset, exactly.
type Stats struct {
	Elapsed      time.Duration
	Accepted     uint64 // connections
	Refused      uint64 // connections beyond MaxConns
	Dialled      uint64 // connections that we made
	DialFailures uint64

	Requests    uint64
	Replies     uint64 // requests that had one, faulty or not
	Unanswered  uint64 // their connection ended first
	NotRequests uint64 // frames with the mark of a reply
	BadFrames   uint64 // lengths that make no frame, each with its connection's end
	Skipped     uint64 // reply rules that a frame was too short for
	Stalled     uint64 // replies that were due in a stall
	Licensed    uint64 // requests that the licence let wait

	// Faults is what was injected, by Fault. One swap is of two replies.
	Faults [faultCount]uint64
	// Delay is from when the read that held a request's last byte returned to the write that
	// held its reply's first, in nanoseconds; its count is Replies.
	Delay *hdrhistogram.Histogram
}

// Stats returns what was done until now.
func (s *Server) Stats() Stats {
	c := &s.counts
	st := Stats{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Dialled: c.dialled.Load(), DialFailures: c.dialFailures.Load(),
		Requests: c.requests.Load(), Replies: c.replies.Load(), Unanswered: c.unanswered.Load(),
		NotRequests: c.notRequests.Load(), BadFrames: c.badFrames.Load(), Skipped: c.skipped.Load(),
		Stalled: c.stalled.Load(), Licensed: s.licence.waited(), Delay: newHistogram(),
	}
	s.mu.Lock()
	if s.started {
		st.Elapsed = time.Since(s.begun)
	}
	s.mu.Unlock()
	for f := range st.Faults {
		st.Faults[f] = c.faults[f].Load()
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if sh.delay != nil {
			st.Delay.Merge(sh.delay)
		}
		sh.mu.Unlock()
	}
	return st
}
