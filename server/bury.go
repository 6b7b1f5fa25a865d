package server

import (
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ringwire/ringwire/internal/role"
)

// The end of an event loop whose goroutine user code has ended, by runtime.Goexit. gnet
// leaves everything of such a loop as it is: connections open, the poller too.

// bury ends the connections of an event loop whose goroutine is about to end, at an event
// of c, and has another loop take its place. It runs on that goroutine, as a deferred call:
// so it still is the loop, and whatever belongs to the loop may be touched.
func (f *front) bury(c *Conn) {
	s, l := f.srv, c.loop
	if l.buried {
		return
	}
	l.buried = true
	s.failures.panics.Add(1)
	l.gate.close()
	if l.owing {
		l.abandonRequest()
	}
	c.flush() // replies that were made before
	l.publish()
	all := s.conns.of(l)
	for _, c := range all {
		c.blame(reasonLoop)
		c.link.drop()
	}
	l.release()
	l.leaveSource()
	if l.caller != nil {
		l.caller.Stop()
	}
	f.replace(l)
	if skipped, ok := s.due(logLoop, slog.LevelError); ok {
		why := PanicError{Value: ErrGoexit}
		s.write(slog.LevelError, why.Error()+" and ended its event loop; another takes its place", skipped,
			[]slog.Attr{slog.Int("conns", len(all)), connAttr(c), slog.String("stack", string(debug.Stack()))})
	}
}

// abandonRequest settles the request of the loop whose handler, or ErrorReply, has ended the
// goroutine.
func (l *loop) abandonRequest() {
	if l.request.later != nil {
		l.takeLater().abandon()
	} else {
		l.event.Dropped++
	}
}

// replace takes a loop whose goroutine ends off the list and has another one started, unless
// all are to stop.
func (f *front) replace(l *loop) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.ending:
		return // stop ends it
	default:
	}
	f.loops = slices.DeleteFunc(f.loops, func(other *loop) bool { return other == l })
	t := l.counted()
	f.past.add(&t)
	// Closes the poller, after the goroutine has ended.
	f.changing.Go(func() { _ = l.client.Stop() })
	f.changing.Go(f.renew)
}

// renew starts a loop, however often it takes, until all are to stop.
func (f *front) renew() {
	role.Set("renew")
	for pause := backoffMin; ; pause = min(2*pause, backoffMax) {
		l, err := f.startLoop()
		if err == nil {
			f.add(l)
			return
		}
		f.srv.log(logLoop, slog.LevelError, "cannot start an event loop", slog.String("error", err.Error()))
		select {
		case <-f.ending:
			return
		case <-time.After(pause):
		}
	}
}

// add makes a new loop known, or stops it if all are to stop.
func (f *front) add(l *loop) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.ending:
		f.changing.Go(func() { _ = l.stop() })
	default:
		f.loops = append(f.loops, l)
		f.answer()
	}
}
