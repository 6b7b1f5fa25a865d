package server

import "sync"

// hooks calls Config.OnOpen and Config.OnClose. The first runs where connections are accepted.
// The second has a goroutine of its own while there is something to tell; a connection keeps
// its place among MaxConns until that has returned, so no more wait than may be open.
type hooks struct {
	mu      sync.Mutex
	ended   []ending
	telling bool           // the goroutine runs
	done    sync.WaitGroup // it; Add under mu
}

// ending is the end of a connection that has to be told.
type ending struct {
	conn *Conn
	why  reason
}

// opened tells of a connection that is about to be served, and whether it may be: not if the
// hook panics. It does not return if the hook ends its goroutine.
func (s *Server) opened(c *Conn) (ok bool) {
	if s.cfg.OnOpen == nil {
		return true
	}
	c.woken.Store(true) // nobody can be woken before begin
	defer func() {
		if v := recover(); !ok {
			s.hookFailed(c, v)
		}
	}()
	s.cfg.OnOpen(c)
	return true
}

// goOn is the end of what opened has held up: whatever the hook has asked for is done now. It
// runs on the loop.
func (c *Conn) goOn() {
	c.woken.Store(false)
	if c.rare.Load() != nil || c.at() != phaseUp {
		c.srv.wake(c)
	}
}

// gone gives back the place of a connection that has ended, when that was told.
func (s *Server) gone(c *Conn, why reason) {
	if s.cfg.OnClose == nil {
		s.leave(addrOf(c.remote))
		return
	}
	h := &s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, ending{c, why})
	if !h.telling {
		h.telling = true
		h.done.Go(s.tell)
	}
}

// tell calls OnClose until there is nothing to tell.
func (s *Server) tell() {
	h, returned := &s.hooks, false
	defer func() {
		if !returned {
			h.done.Go(s.tell) // OnClose has ended this goroutine
		}
	}()
	for e, ok := h.next(); ok; e, ok = h.next() {
		s.tellOne(e)
	}
	returned = true
}

// next returns the end that is to be told next. If there is none, tell is over.
func (h *hooks) next() (e ending, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.telling = len(h.ended) > 0; !h.telling {
		h.ended = nil
		return e, false
	}
	e, h.ended[0] = h.ended[0], e
	h.ended = h.ended[1:]
	return e, true
}

func (s *Server) tellOne(e ending) {
	returned := false
	defer s.leave(addrOf(e.conn.remote))
	defer func() {
		if v := recover(); !returned {
			s.hookFailed(e.conn, v)
		}
	}()
	s.cfg.OnClose(e.conn, e.why.String())
	returned = true
}

// hookFailed counts and logs a hook that has panicked with v, or ended its goroutine.
func (s *Server) hookFailed(c *Conn, v any) {
	if v == nil {
		v = ErrGoexit
	}
	s.failures.panics.Add(1)
	s.logPanic(c, v)
}
