package bench

import "time"

// slot is a caller without a goroutine: its one request in flight, and the
// callback that checks the reply and sends the next.
type slot struct {
	*caller
	load   *load
	client callbackClient
	index  int
	fn     func(reply []byte, err error) // answered, bound once

	inFlight bool
	start    time.Time // of the request in flight, when it is timed
	timed    bool
}

// launchCallback fills the window from one goroutine, which waits at the gate;
// from then on every callback sends its slot's next request.
func (l *load) launchCallback(client callbackClient) {
	slots := make([]*slot, len(l.callers))
	for i, c := range l.callers {
		slots[i] = &slot{caller: c, load: l, client: client, index: i}
		slots[i].fn = slots[i].answered
	}
	l.ready.Add(1)
	l.done.Add(len(slots))
	go func() {
		l.ready.Done()
		<-l.gate
		for _, s := range slots {
			s.send()
		}
	}()
}

// send submits the slot's next request. From here the slot belongs to its
// callback. A slot whose request is refused retires until the next run.
func (s *slot) send() {
	setNumber(s.req, s.number)
	s.timed = s.load.timed(s.caller, s.index)
	if s.timed {
		s.start = time.Now()
	}
	s.inFlight = true
	if err := s.client.Go(s.req, s.fn); err != nil {
		s.inFlight = false
		s.failed(err)
		s.load.done.Done()
	}
}

// answered is the callback that is measured.
func (s *slot) answered(reply []byte, err error) {
	if !s.inFlight {
		s.load.fail(errDoubled)
		return
	}
	s.inFlight = false
	s.number++
	if err != nil {
		s.failed(err)
	} else {
		if s.timed {
			s.took(s.start)
		}
		s.load.check(s.caller, reply)
	}
	if s.load.stop.Load() {
		s.load.done.Done()
		return
	}
	s.send()
}
