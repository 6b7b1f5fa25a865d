package engine

import "github.com/ringwire/ringwire/taskid"

// stillSamples is how many points in time a standstill remembers.
const stillSamples = 64

// standstill knows for how long the time of ReadTimeout stood still for a request: while
// a long frame arrived, since no reply can overtake it, and while the request waited in
// the outbox for a slow socket. It belongs to the clock.
//
// It keeps two sums, of ticks in which a frame was arriving and of ticks in which the
// outbox was waiting for the socket, and samples of them. What a request has missed is
// the difference between a sum now, or when the outbox was first empty after the request
// had come, and the sum in the sample before the request came. So it may be too much by
// what stood still in a sample, and is too little only for what is older than all
// samples: calls with a deadline never are.
type standstill struct {
	span    uint32 // ticks between two samples
	now     taskid.Tick
	arrived uint32 // ticks in which a frame was arriving
	waited  uint32 // ticks in which the outbox was waiting
	left    uint32 // ticks to the next sample
	last    int    // index of the newest sample
	samples [stillSamples]stillSample
}

// stillSample is what was known at a point in time.
type stillSample struct {
	at              taskid.Tick // NoTick: none yet
	arrived, waited uint32
	emptied         bool   // the outbox was empty at some time from then to the next sample,
	waitedThen      uint32 // and this was the sum of waiting when it first was
}

// init sets how far back it has to reach, in ticks.
func (s *standstill) init(reach uint32, now taskid.Tick) {
	s.span = reach/(stillSamples-2) + 1
	s.left, s.now = s.span, now
	s.samples[0] = stillSample{at: now, emptied: true}
}

// note counts the ticks since the last sweep.
func (s *standstill) note(now taskid.Tick, steps uint32, arriving, waiting, empty bool) {
	s.now = now
	if arriving {
		s.arrived += steps
	}
	if waiting {
		s.waited += steps
	}
	if s.left <= steps {
		s.left = s.span
		s.last = (s.last + 1) % stillSamples
		s.samples[s.last] = stillSample{at: now, arrived: s.arrived, waited: s.waited}
	} else {
		s.left -= steps
	}
	if p := &s.samples[s.last]; empty && !p.emptied {
		p.emptied, p.waitedThen = true, s.waited
	}
}

// since returns for how many ticks the time stood still for a request that came length
// ticks before the tick end.
func (s *standstill) since(length uint32, end taskid.Tick) uint32 {
	oldest := &s.samples[(s.last+1)%stillSamples]
	if oldest.at == taskid.NoTick {
		oldest = &s.samples[0]
	}
	if oldest.arrived == s.arrived && oldest.waited == s.waited {
		return 0
	}
	age := int64(length) + int64(int32((s.now-end)<<8)>>8) // of the request
	i := s.last
	for n := 1; n < stillSamples && int64(s.now.Since(s.samples[i].at)) < age; n++ {
		before := (i + stillSamples - 1) % stillSamples
		if s.samples[before].at == taskid.NoTick {
			break
		}
		i = before
	}
	came, waited := s.samples[i], s.waited
	for i != s.last {
		i = (i + 1) % stillSamples
		if s.samples[i].emptied {
			waited = s.samples[i].waitedThen
			break
		}
	}
	return s.arrived - came.arrived + waited - came.waited
}
