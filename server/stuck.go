package server

import (
	"log/slog"
	"time"
)

// Event loops on which a handler blocks. A turn says when it began, and says so again when
// handlers have returned and it goes on for long; the sweep looks.

const (
	// blockedAfter is how long a handler may hold up its event loop unnamed.
	blockedAfter = 100 * time.Millisecond
	// stuckAfter is how long, until the loop counts as stuck.
	stuckAfter = time.Second
)

// loadTime is what loop.since counts from.
var loadTime = time.Now()

// mark notes that something has its turn from now on.
func (l *loop) mark(now time.Time) {
	l.began = now
	l.since.Store(int64(now.Sub(loadTime)))
}

// back is that of link. A turn is long that lasts for more than an interval of the clock.
func (l *loop) back(now int64, interval time.Duration) int64 {
	if since := l.since.Load(); since != 0 && time.Since(loadTime)-time.Duration(since) > interval {
		return now
	}
	return l.cameBack.Load()
}

// busyFor counts the loops on which something has its turn for at least so long. f may be
// nil.
func (f *front) busyFor(least time.Duration) (n int) {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Since(loadTime)
	for _, l := range f.loops {
		if since := l.since.Load(); since != 0 && now-time.Duration(since) >= least {
			n++
		}
	}
	return n
}

// watch names the handlers that block an event loop, each once. It must have been seen in
// the last sweep, too: when the whole process had to wait, no handler is to blame.
func (f *front) watch() {
	if f.srv.workers != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Since(loadTime)
	for _, l := range f.loops {
		since := l.since.Load()
		lasts := now - time.Duration(since)
		if since != 0 && since == l.seen && since != l.named && lasts >= blockedAfter {
			l.named = since
			f.srv.nameBlocked(l.holder.Load(), lasts)
		}
		l.seen = since
	}
}

// nameBlocked logs on a goroutine of its own, one at a time: the sweep waits for no logger.
func (s *Server) nameBlocked(c *Conn, lasts time.Duration) {
	if c == nil || !s.naming.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.naming.Store(false)
		s.log(logBlocked, slog.LevelWarn, "a handler blocks its event loop; set Config.Workers if handlers may block",
			slog.Duration("for", lasts.Round(time.Millisecond)), connAttr(c))
	}()
}
