package server

import (
	"context"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/internal/role"
)

const (
	// drainEvery is the resolution of a shutdown, and of the clock meanwhile.
	drainEvery = 10 * time.Millisecond
	// quietTicks is how many drainEvery a connection must have sent nothing, and
	// have nothing under way, to be closed by a shutdown that is in no hurry. Ticks
	// and not time: while the machine stalls the peer may have stalled too.
	quietTicks = 5
	// newcomerTime is how long a connection may have said nothing since it came. It may have
	// come by the accept queue, and its client be about to begin.
	newcomerTime = 500 * time.Millisecond
	// lingerTime is how long the peer has to close after we have shut down our
	// direction. Closing at once while its bytes arrive would reset the
	// connection and could take replies away that it has not read.
	lingerTime = 250 * time.Millisecond
	// steadyTime is how long a shutdown goes on reading from a client that goes on sending: what it
	// asks has no end, so waiting for longer helps nobody.
	steadyTime = time.Second
	// cutTime is what remains of a shutdown's time when it stops parsing.
	cutTime = 2 * lingerTime
	// closeGrace is how much longer than ShutdownTimeout Close may take.
	closeGrace = time.Second
)

// Shutdown stops in order: it stops accepting, lets every connection finish and
// closes it. A connection is finished when it has sent nothing for 50 ms, its
// handlers have returned and its replies are written. One that goes on sending is
// read for a second; what was read by then is answered, and it is closed behind the last
// reply. Half a second before the time is up what has not begun is given up
// (Stats.Abandoned). A client with the extension is told at once to go elsewhere, and, before
// its connection ends, that what has no reply was not begun.
//
// The time is up when ctx ends or Config.ShutdownTimeout has passed. What has not
// finished by then is cut, and the error says so: it wraps ctx's error or
// context.DeadlineExceeded, or ErrHandlersRunning if handlers did not return
// within another second. It is nil if there was nothing to stop or all of it has
// stopped. Shutdown may be called again and together with Close.
func (s *Server) Shutdown(ctx context.Context) error {
	limit := s.cfg.ShutdownTimeout
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	s.beginStop(ctx, true)
	select {
	case <-s.stopped:
		return s.result
	case <-ctx.Done():
	}
	s.noDrain()
	err := s.await(closeGrace)
	if cut, ok := err.(*cutError); ok {
		return &cutError{cut.conns, ctx.Err()}
	}
	return err
}

// Close stops at once: it stops accepting and cuts every connection. Handlers
// cannot be stopped; Close waits for those that run, for ShutdownTimeout and a
// second at most, and then returns an error that wraps ErrHandlersRunning. On a
// server that has stopped, or never started, it does nothing and returns nil.
func (s *Server) Close() error {
	s.noDrain()
	s.beginStop(context.Background(), false)
	wait := time.Duration(-1)
	if s.cfg.ShutdownTimeout > 0 {
		wait = s.cfg.ShutdownTimeout + closeGrace
	}
	if err := s.await(wait); isStuck(err) {
		return err
	}
	return nil
}

func (s *Server) noDrain() { s.hurried.Do(func() { close(s.hurry) }) }

// await waits for the end of the stop; a negative time has no end.
func (s *Server) await(limit time.Duration) error {
	var timeUp <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeUp = timer.C
	}
	select {
	case <-s.stopped:
		return s.result
	case <-timeUp:
		e := &stuckError{running: s.running(), waited: limit}
		select {
		case <-s.accepted:
		default:
			e.accepting = e.running == 0
		}
		return e
	}
}

// cutError is returned by a shutdown that had to cut connections.
type cutError struct {
	conns int
	cause error
}

func (e *cutError) Error() string {
	return fmt.Sprintf("server: connections were cut before they had finished: %d: %v", e.conns, e.cause)
}

func (e *cutError) Unwrap() error { return e.cause }

// stuckError is returned while a stop is held up.
type stuckError struct {
	running   int
	accepting bool // no handler runs, and an accept loop does
	waited    time.Duration
}

func (e *stuckError) Error() string {
	switch {
	case e.accepting:
		return fmt.Sprintf("server: it has not stopped after %v: a listener is closed and its Accept has not returned; Wait tells when it has", e.waited)
	case e.running == 0: // a hook, or a machine that gives us no time
		return fmt.Sprintf("server: it has not stopped after %v, though no handler is running; Wait tells when it has", e.waited)
	}
	return fmt.Sprintf("server: %d %v after %v; they end with the process or when they return",
		e.running, ErrHandlersRunning, e.waited)
}

func (e *stuckError) Unwrap() error { return ErrHandlersRunning }

func isStuck(err error) bool { _, ok := err.(*stuckError); return ok }

// running counts the handlers that hold up a stop. A loop that has a turn although all
// connections were cut is inside a handler.
func (s *Server) running() int {
	f, streams, w := s.parts()
	if w != nil {
		return int(w.busy.Load())
	}
	return f.busyFor(0) + streams.turns()
}

// beginStop closes the listeners and starts the stop, unless that has been done.
// An orderly stop drains until ctx is near its end.
func (s *Server) beginStop(ctx context.Context, orderly bool) {
	s.mu.Lock()
	if s.isClosing() {
		s.mu.Unlock()
		return
	}
	close(s.closing)
	served := s.streams != nil
	s.mu.Unlock() // from here on listeners, which are the user's, stay as they are
	if !served {
		close(s.stopped)
		return
	}
	for _, ln := range s.listeners {
		// Wakes the accept loop, which empties the queue; what cannot be woken is closed.
		if d, ok := ln.Listener.(deadliner); !orderly || !ok || d.SetDeadline(time.Now()) != nil {
			s.closeListener(ln)
		}
	}
	deadline, ok := ctx.Deadline()
	go s.finishAll(orderly, deadline, ok)
}

// finishAll is the whole stop after the listeners' end, in an order in which each
// step needs the steps after it to be still there: connections, accept loops (they
// wait for event loops), handshakes, connections that came meanwhile, the sweep (it wakes event
// loops), event loops, workers (they let go of jobs whose connection is gone).
func (s *Server) finishAll(orderly bool, deadline time.Time, bounded bool) {
	role.Set("stop")
	go func() {
		s.accepting.Wait()
		close(s.accepted)
	}()
	unfinished := 0
	if orderly {
		s.drain(deadline, bounded)
		unfinished = s.conns.len()
	}
	s.closeListeners()
	s.cutAll()
	<-s.accepted
	s.shaking.stop()
	s.cutAll()
	close(s.stopSweep)
	s.background.Wait()
	s.streams.stop()
	var err error
	if s.front != nil {
		err = s.front.stop()
	}
	if s.workers != nil {
		s.workers.stop()
	}
	s.hooks.done.Wait()
	s.shutting.Wait()
	switch {
	case err != nil:
		s.result = fmt.Errorf("server: event loops: %w", err)
	case unfinished > 0:
		s.result = &cutError{unfinished, context.DeadlineExceeded}
	}
	close(s.stopped)
}

// cutAll cuts every connection.
func (s *Server) cutAll() {
	s.conns.scan(func(c *Conn) {
		s.cut(c, reasonShutdown)
		c.endContext() // the loop may be stuck in a handler that waits for it
	})
}

// closeListeners closes those whose accept loop has not done so.
func (s *Server) closeListeners() {
	for _, ln := range s.listeners {
		s.closeListener(ln)
	}
}

// closeListener closes a listener on a goroutine of its own: its Close may be the user's, and
// that of package net waits for an accept that is inside the kernel. It accepts no more,
// whatever Close says.
func (s *Server) closeListener(ln *listener) {
	if !ln.closed.Swap(true) {
		s.shutting.Go(func() { _ = ln.Close() })
	}
}

// drain asks every connection to finish and waits until all have and no more can
// come, or somebody is in a hurry. An accept loop may be held up by an event loop
// and its handler; then its listener is closed for it.
func (s *Server) drain(deadline time.Time, bounded bool) {
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	accepting, accepted := true, s.accepted
	for start := time.Now(); accepting || s.shaking.n.Load() > 0 || s.conns.len() > 0; {
		select {
		case <-s.hurry:
			return
		case <-accepted:
			accepted, accepting = nil, false
			s.closeListeners()
		default:
			if accepting && time.Since(start) > acceptRestMax {
				s.closeListeners()
			}
		}
		before, how := s.clock.Load(), phaseQuieting
		now := s.tick()
		if time.Since(start) > s.cfg.steadyTime {
			how = phaseUnread
			s.shaking.cut() // a client that connects and says nothing is not waited for
		}
		if bounded && time.Until(deadline) < cutTime {
			how = phaseUnparsed
		}
		s.conns.scan(func(c *Conn) { s.nudge(c, before, now, how) })
		select {
		case <-s.hurry:
			return
		case <-ticker.C:
		}
	}
}

// nudge asks one connection to finish, or lets it look whether it can by now.
// before is the clock at the last nudge.
func (s *Server) nudge(c *Conn, before, now int64, how phase) {
	if at := c.cutAt.Load(); at != 0 && now >= at {
		s.cut(c, reasonShutdown)
		return
	}
	if c.lastRead.Load() >= before {
		c.quiet = 0
	} else if c.quiet++; int(c.quiet) >= s.cfg.quietTicks {
		c.quietAt.Store(now)
	}
	c.finish(how, reasonShutdown)
	if how >= phaseUnread || c.quietAt.Load() == now || c.watch.Load()&watchUnsent != 0 {
		s.wake(c)
	}
}

// tryFinish goes one step towards the end in order of a connection, if it can: it
// shuts down our direction when everything is answered and the peer has taken it.
func (c *Conn) tryFinish() {
	l := c.loop
	if c.at() >= phaseBroken || c.inflight > 0 || c.unsent > 0 {
		return
	}
	switch c.at() {
	case phaseQuieting:
		// A read since the drain found it quiet has come between.
		lastRead := c.lastRead.Load()
		if c.input != nil || c.deaf || lastRead >= c.quietAt.Load() {
			return
		}
		if !c.spoke && l.now-lastRead < newcomerTime.Milliseconds() {
			return
		}
	case phaseUnread:
		if c.input != nil && c.block != blockNone {
			return // there are requests to be answered
		}
	}
	c.blame(reasonShutdown)
	if !c.sayDone() {
		return
	}
	if c.input != nil {
		c.abandonInput()
		c.account()
		c.frameSince.Store(0)
	}
	c.link.closeWrite()
	c.raise(phaseLingering)
	c.cutAt.Store(l.now + lingerTime.Milliseconds())
}
