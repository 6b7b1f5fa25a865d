package server

import "log/slog"

// Which goroutine has the turn of a stream, and when another one gets it. None waits for it but the
// one that reads: any other that asks leaves word, and the one that ends a turn looks for that.

// takeTurn is the goroutine of a turn that somebody has asked for. It has the turn.
func (s *stream) takeTurn() {
	defer s.front.all.Done()
	goOn := false
	defer func() {
		if !goOn {
			s.closeSoon()
		}
	}()
	goOn = s.turn(func(*loop) bool { return s.conn.serve(nil) })
}

// serve is the turn that input asks for. False means that the connection is to be closed.
func (s *stream) serve(in []byte) bool {
	s.awaitTurn()
	return s.turn(func(l *loop) bool {
		if s.carrier.polled {
			l.event.Polled++
		}
		return s.conn.serve(in)
	})
}

// awaitTurn gives the turn to the goroutine that reads.
func (s *stream) awaitTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.turning {
		s.waiting = true
		s.changed.Wait()
	}
	s.waiting, s.asked, s.turning = false, false, true
}

// endTurn ends a turn, and begins another one if somebody has asked for it.
func (s *stream) endTurn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turning = false
	switch {
	case s.waiting:
		s.changed.Broadcast() // the reader's turn does what others have asked for
	case s.asked:
		s.beginTurnLocked()
	}
}

// beginTurnLocked has a goroutine take the turn.
func (s *stream) beginTurnLocked() {
	s.asked = false
	if s.gone {
		return
	}
	s.turning = true
	s.front.all.Add(1)
	go s.turnFn()
}

// turn calls do as the connection's loop. The caller has the turn, which ends. It returns false
// after the connection's end, and does not return when do ends the goroutine.
func (s *stream) turn(do func(*loop) bool) (goOn bool) {
	defer s.endTurn()
	if s.over {
		return false
	}
	l := s.front.lend()
	s.conn.loop = l
	s.lent.Store(l)
	returned := false
	defer func() {
		if !returned {
			s.abandonTurn(l, recover())
		}
		if at := l.cameBack.Load(); at != 0 {
			s.cameBack.Store(at)
		}
		s.lent.Store(nil)
		s.front.giveBack(l, returned)
	}()
	goOn = do(l)
	returned = true
	return goOn
}

// abandonTurn comes after a turn that has panicked with v, which is a fault of the server, or
// whose goroutine user code has ended.
func (s *stream) abandonTurn(l *loop, v any) {
	c, srv := s.conn, s.front.srv
	srv.failures.panics.Add(1)
	defer func() { // the loop is not used again
		l.release()
		l.leaveSource()
		l.publish()
	}()
	if v != nil {
		srv.logPanic(c, v)
		c.fail(reasonInternal)
		return
	}
	if l.owing {
		l.abandonRequest()
	}
	c.flush() // replies that were made before
	c.blame(reasonLoop)
	c.raise(phaseBroken) // a turn that comes before the end does nothing any more
	why := PanicError{Value: ErrGoexit}
	srv.log(logLoop, slog.LevelError, why.Error()+" and ended its connection", connAttr(c))
}

// wake implements link.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked = true; !s.turning {
		s.beginTurnLocked()
	}
}
