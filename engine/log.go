package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/loglines"
)

// eventsMax is how many events wait for a function of the user's that is slow; more are
// dropped and counted.
const eventsMax = 64

// events passes events to functions of the user's on a goroutine of its own, one after
// the other, which runs while there are any: such a function may block.
type events struct {
	mu      sync.Mutex // guards what follows; nothing is called under it
	queue   []func(dropped int)
	dropped int
	running bool
}

// pass queues an event. It never waits. dropped tells the event how many before it were
// dropped.
func (e *events) pass(b *Broker, event func(dropped int)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= eventsMax {
		e.dropped++
		return
	}
	e.queue = append(e.queue, event)
	if !e.running {
		e.running = true
		b.wg.Go(func() { e.run(b) })
	}
}

// run passes events until there are none. If one ends its goroutine, another one goes on.
func (e *events) run(b *Broker) {
	done := false
	defer func() {
		if !done {
			b.wg.Go(func() { e.run(b) })
		}
	}()
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.running, e.queue = false, nil
			e.mu.Unlock()
			done = true
			return
		}
		event, dropped := e.queue[0], e.dropped
		e.queue, e.dropped = e.queue[1:], 0
		e.mu.Unlock()
		event(dropped)
	}
}

// log passes a record on to the user's logger.
func (b *Broker) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if b.silent {
		return
	}
	record := slog.NewRecord(time.Now(), level, msg, 0)
	record.AddAttrs(attrs...)
	b.records.pass(b, func(dropped int) {
		defer func() { _ = recover() }() // a logger that panics loses its record
		if dropped > 0 {
			record.AddAttrs(slog.Int("dropped before", dropped))
		}
		ctx, handler := context.Background(), b.cfg.Logger.Handler()
		if handler.Enabled(ctx, record.Level) {
			_ = handler.Handle(ctx, record) // an error of the logger's is not for us to mend
		}
	})
}

// tell has a function of the user's told that a connection has come up or ended.
func (b *Broker) tell(fn func(addr string, cause error), addr string, cause error) {
	if fn == nil {
		return
	}
	b.hooks.pass(b, func(int) {
		returned := false
		defer func() {
			if v := recover(); !returned {
				b.callbacks.panics.Add(1)
				b.log(slog.LevelError, "panic in OnConnect or OnDisconnect", slog.Any("panic", v))
			}
		}()
		fn(addr, cause)
		returned = true
	})
}

// log logs a line about the address's connections.
func (a *address) log(level slog.Level, msg string, attrs ...slog.Attr) {
	a.logOf(&a.lines, level, msg, attrs...)
}

// logOf logs a line of a kind about the address, with the number of those left out before it.
func (a *address) logOf(kind *loglines.Limit, level slog.Level, msg string, attrs ...slog.Attr) {
	if a.b.silent {
		return
	}
	hushed, ok := kind.Take(time.Now())
	if !ok {
		return
	}
	attrs = append([]slog.Attr{slog.String("addr", a.name)}, attrs...)
	if hushed > 0 {
		attrs = append(attrs, slog.Int("lines left out before", hushed))
	}
	a.b.log(level, msg, attrs...)
}

// logState logs that the address is up, down, ejected or readmitted, if it was not so at the
// last call. Calls may overlap.
func (a *address) logState() {
	now := a.judge.State()
	was := health.State(a.told.Swap(uint32(now)))
	takes := now == health.Up || now == health.Rising
	cause := slog.Any("cause", a.judge.Status().LastError)
	switch {
	case was == now:
	case now == health.Down:
		a.logOf(&a.verdicts, slog.LevelWarn, "server down", cause)
	case now == health.Ejected:
		a.logOf(&a.verdicts, slog.LevelWarn, "server ejected", cause)
	case takes && was == health.Down:
		a.logOf(&a.verdicts, slog.LevelInfo, "server up")
	case takes && (was == health.Ejected || was == health.Trial):
		a.logOf(&a.verdicts, slog.LevelInfo, "server readmitted")
	}
}
