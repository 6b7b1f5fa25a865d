package server

import (
	"time"

	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/latency"
)

// Latency is how long requests have taken, as far as they were timed, see Config.LatencyEvery.
type Latency struct {
	// Response is the time from when the end of a request was read until its handler has
	// returned, whatever it returns, or, with Request.Later, until it has its outcome: what it
	// has waited for, and Service.
	Response latency.Histogram
	// Service is the time that its handler took, with Request.Later until it has its outcome.
	Service latency.Histogram
}

// Latency returns how long requests have taken since New. Those that no handler was asked to answer
// are left out. The difference of two snapshots is what lies between them
// (latency.Histogram.Since).
func (s *Server) Latency() Latency {
	l := Latency{Service: s.timing.Histogram()}
	if s.timing.response != nil {
		l.Response = s.timing.response.Histogram()
	}
	return l
}

// timing times requests: a Stopwatch their handlers, and besides what they wait for.
type timing struct {
	*stopwatch.Stopwatch
	epoch    stopwatch.Time // the server's, from which Request.arrived counts
	response *latency.Recorder
}

func newTiming(every int, epoch time.Time) timing {
	t := timing{Stopwatch: stopwatch.New(every)}
	if t.Stopwatch != nil {
		t.epoch = stopwatch.At(epoch)
		t.response = latency.NewRecorder()
	}
	return t
}

// end records a request that is over, if it is timed.
func (t *timing) end(arrived time.Duration, began stopwatch.Time) {
	if began != 0 {
		now := t.End(began)
		t.response.Record(time.Duration(now-t.epoch) - arrived)
	}
}

// handleTimed runs the handler of a request that is timed. One that is answered later is timed when
// it is.
func (s *Server) handleTimed(r *Request, dst []byte) ([]byte, error) {
	defer func() { // also when the handler ends its goroutine
		if r.later == nil {
			s.timing.end(r.arrived, r.began)
		}
	}()
	return s.handler.Handle(r, dst)
}
