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
// hook panics.
func (s *Server) opened(c *Conn) (ok bool) {
	if s.cfg.OnOpen == nil {
		return true
	}
	c.woken.Store(true) // nobody can be woken before begin
	defer func() {
		if v := recover(); v != nil {
			s.failures.panics.Add(1)
			s.logPanic(c, v)
			ok = false
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
	h := &s.hooks
	for {
		h.mu.Lock()
		all := h.ended
		h.ended = nil
		h.telling = len(all) > 0
		h.mu.Unlock()
		if len(all) == 0 {
			return
		}
		for _, e := range all {
			s.tellOne(e)
			s.leave(addrOf(e.conn.remote))
		}
	}
}

func (s *Server) tellOne(e ending) {
	defer func() {
		if v := recover(); v != nil {
			s.failures.panics.Add(1)
			s.logPanic(e.conn, v)
		}
	}()
	s.cfg.OnClose(e.conn, e.why.String())
}
