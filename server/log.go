package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
)

// A kind of event is logged at most once in logEvery milliseconds.
const logEvery = 1000

type logKind int

// The kinds of events besides the reasons for which connections end.
const (
	logHandlerError logKind = iota + logKind(reasonCount)
	logTooLarge
	logOverloaded
	logPanicked
	logAccept
	logEnroll
	logBlocked
	logLoop
	logRefused   // and one for each refusal
	logKindCount = logRefused + logKind(refusalCount)
)

// limiter counts what it keeps out of the log.
type limiter [logKindCount]struct {
	next    atomic.Int64 // clock from which the kind may be logged again
	skipped atomic.Uint64
}

// due reports whether the kind may have a line now, and how many it was refused
// since the last.
func (s *Server) due(kind logKind, level slog.Level) (skipped uint64, ok bool) {
	if !s.cfg.Logger.Enabled(context.Background(), level) {
		return 0, false
	}
	k := &s.lines[kind]
	now, next := s.clock.Load(), k.next.Load()
	if now < next || !k.next.CompareAndSwap(next, now+logEvery) {
		k.skipped.Add(1)
		return 0, false
	}
	return k.skipped.Swap(0), true
}

// log writes one line if the kind is due. No attribute holds payload.
func (s *Server) log(kind logKind, level slog.Level, text string, attrs ...slog.Attr) {
	if skipped, ok := s.due(kind, level); ok {
		s.write(level, text, skipped, attrs)
	}
}

func (s *Server) write(level slog.Level, text string, skipped uint64, attrs []slog.Attr) {
	if skipped > 0 {
		attrs = append(attrs, slog.Uint64("suppressed", skipped))
	}
	s.cfg.Logger.LogAttrs(context.Background(), level, "server: "+text, attrs...)
}

// warnings is the log of a server whose Config has none: what the default logger has at the
// time, from warnings on.
type warnings struct{}

func (warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && slog.Default().Enabled(ctx, level)
}

func (warnings) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}

func (warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slog.Default().Handler().WithAttrs(attrs)
}

func (warnings) WithGroup(name string) slog.Handler { return slog.Default().Handler().WithGroup(name) }

// errorTextMax is how much of an error's text is logged at most, in bytes.
const errorTextMax = 256

// logFailure tells the text of a handler's error, which is the application's, and its type.
func (s *Server) logFailure(c *Conn, kind logKind, err error) {
	text := "handler failed"
	switch kind {
	case logTooLarge:
		text = "reply does not fit a frame"
	case logOverloaded:
		text = "request refused"
	}
	if skipped, ok := s.due(kind, slog.LevelWarn); ok {
		why := err.Error()
		s.write(slog.LevelWarn, text, skipped, []slog.Attr{connAttr(c),
			slog.String("error", why[:min(len(why), errorTextMax)]), slog.String("type", fmt.Sprintf("%T", err))})
	}
}

// logUnsecured tells why a connection was not secured. The text may name what the client says of
// itself in its certificate, so it is cut.
func (s *Server) logUnsecured(c *Conn, why reason, err error) {
	if skipped, ok := s.due(logKind(why), slog.LevelWarn); ok {
		text := err.Error()
		s.write(slog.LevelWarn, "connection closed: "+why.String(), skipped,
			[]slog.Attr{connAttr(c), slog.String("error", text[:min(len(text), errorTextMax)])})
	}
}

// logPanic belongs into the deferred function that recovered, where the stack
// still shows the origin.
func (s *Server) logPanic(c *Conn, value any) {
	if skipped, ok := s.due(logPanicked, slog.LevelError); ok {
		p := PanicError{Value: value}
		s.write(slog.LevelError, p.Error(), skipped,
			[]slog.Attr{connAttr(c), slog.String("stack", string(debug.Stack()))})
	}
}

func connAttr(c *Conn) slog.Attr {
	remote := ""
	if c.remote != nil {
		remote = c.remote.String()
	}
	return slog.Group("conn", slog.Uint64("id", c.id), slog.String("remote", remote))
}

// loopLog is the logger of the event-loop and goroutine-pool libraries, which
// otherwise print to standard output. What they call information is of no
// interest to a user of this package.
type loopLog struct{ *slog.Logger }

func (l loopLog) printf(level slog.Level, format string, args []any) {
	if l.Enabled(context.Background(), level) {
		l.LogAttrs(context.Background(), level, "server: event loop: "+fmt.Sprintf(format, args...))
	}
}

func (l loopLog) Debugf(format string, args ...any) { l.printf(slog.LevelDebug, format, args) }
func (l loopLog) Infof(format string, args ...any)  { l.printf(slog.LevelDebug, format, args) }
func (l loopLog) Warnf(format string, args ...any)  { l.printf(slog.LevelWarn, format, args) }
func (l loopLog) Errorf(format string, args ...any) { l.printf(slog.LevelError, format, args) }
func (l loopLog) Fatalf(format string, args ...any) { l.printf(slog.LevelError, format, args) }
func (l loopLog) Printf(format string, args ...any) { l.printf(slog.LevelError, format, args) }
