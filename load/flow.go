package load

import (
	"fmt"
	"time"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// flow is what is kept of a flow of several steps from its first reply to its outcome. Its
// requests are one after the other in the one slot of the window; to the figures they are
// one request, from when that was due to the last reply.
type flow struct {
	given  time.Duration // the first step, to the connection
	sent   time.Duration // the first step
	lag    time.Duration // of the first step
	values [][]byte      // extracted; their memory is kept for the next flow
}

// flows are those of a connection, guarded by its mutex.
type flows struct {
	all  []flow  // at most as many as the window
	free []int32 // their indices
}

// take returns the index of a flow for q, from 1, and the flow.
func (fs *flows) take(q *inflight) (int32, *flow) {
	if len(fs.free) == 0 {
		fs.all = append(fs.all, flow{})
		fs.free = append(fs.free, int32(len(fs.all)))
	}
	i := fs.free[len(fs.free)-1]
	fs.free = fs.free[:len(fs.free)-1]
	f := fs.of(i)
	f.given, f.sent, f.lag, f.values = q.given, q.sent, q.lag, f.values[:0]
	return i, f
}

func (fs *flows) of(i int32) *flow { return &fs.all[i-1] }

// release gives the flow of a request back, if it has one.
func (fs *flows) release(q *inflight) {
	if q.flow > 0 {
		fs.free = append(fs.free, q.flow)
		q.flow = 0
	}
}

// from is what the payload of a request is made of, until the next call.
func (s *session) from(q *inflight) *request.From {
	s.made.Values = nil
	if q.flow != 0 {
		s.made.Values = s.flows.of(q.flow).values
	}
	return &s.made
}

// first returns when the first step of a request was sent, and its lag.
func (s *session) first(q *inflight) (sent, lag time.Duration) {
	if q.flow == 0 {
		return q.sent, q.lag
	}
	f := s.flows.of(q.flow)
	return f.sent, f.lag
}

// kind is that of the request, or of its step.
func (s *session) kind(q *inflight) *request.Kind {
	return s.run.cfg.Mix.Kinds[q.kind].Step(int(q.step))
}

// extract takes the values out of the reply to a step that others follow; false if it has
// not all of them.
func (s *session) extract(q *inflight, f *wire.Frame) (ok bool) {
	var of *flow
	if q.flow == 0 {
		q.flow, of = s.flows.take(q)
	} else {
		of = s.flows.of(q.flow)
	}
	of.values, ok = s.kind(q).ExtractFrom(s.run.cfg.Codec, f.Bytes, of.values)
	return ok
}

// advance sends the step behind q, whose slot is free. q does not lie in the table.
func (s *session) advance(q inflight, now time.Duration) {
	id, next, ok := s.table.Issue()
	if !ok {
		panic("load: a free slot without an ID")
	}
	q.step++
	q.given, q.sent, q.written = now, now, false
	*next = q
	s.scratch = s.from(next).Payload(s.scratch[:0], s.kind(next).Source, q.number)
	s.frame(id, next)
	s.given++
}

// step returns what is recorded of the step of a request, nil if it has but one or is in
// no figure.
func (s *shard) step(q *inflight) *series {
	if steps := s.measured.steps[q.kind]; steps != nil && q.phase != warmup {
		return &steps[q.step]
	}
	return nil
}

// count calls f for the series that the request is in, and for its step's.
func (s *shard) count(q *inflight, f func(*Counts)) {
	s.each(q.phase, q.kind, func(a *series) { f(&a.counts) })
	if step := s.step(q); step != nil {
		f(&step.counts)
	}
}

// stepFigures are those of the steps of all flows. Each step but the first is sent when the
// one before was a success.
func (r *run) stepFigures(m *record, total *series) (all []Figures) {
	for i, steps := range m.steps {
		k := &r.cfg.Mix.Kinds[i]
		sent := total.counts.Sent
		if m.kinds != nil {
			sent = m.kinds[i].counts.Sent
		}
		for n := range steps {
			steps[n].counts.Sent = sent
			name := fmt.Sprintf("%s/%d", k.Name, n+1)
			if step := k.Step(n); n > 0 && step.Name != "" {
				name = k.Name + "/" + step.Name
			}
			all = append(all, steps[n].figures(name))
			sent = steps[n].counts.OK()
		}
	}
	return all
}
