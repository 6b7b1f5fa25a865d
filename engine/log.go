package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// eventsMax is how many events wait for a logger that is slow; more are dropped and
// counted.
const eventsMax = 64

// events passes log records to the user's logger on a goroutine of its own, which runs
// while there are any: a logger may block.
type events struct {
	mu      sync.Mutex // guards what follows; nothing is called under it
	queue   []slog.Record
	dropped int
	running bool
}

// log passes an event on. It never waits.
func (b *Broker) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if b.silent {
		return
	}
	record := slog.NewRecord(time.Now(), level, msg, 0)
	record.AddAttrs(attrs...)
	e := &b.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= eventsMax {
		e.dropped++
		return
	}
	e.queue = append(e.queue, record)
	if !e.running {
		e.running = true
		b.wg.Go(b.passEvents)
	}
}

// passEvents passes events to the logger until there are none.
func (b *Broker) passEvents() {
	e := &b.events
	handler := b.cfg.Logger.Handler()
	ctx := context.Background()
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.running, e.queue = false, nil
			e.mu.Unlock()
			return
		}
		record, dropped := e.queue[0], e.dropped
		e.queue, e.dropped = e.queue[1:], 0
		e.mu.Unlock()
		if dropped > 0 {
			record.AddAttrs(slog.Int("dropped before", dropped))
		}
		pass(ctx, handler, record)
	}
}

// pass hands one event to the user's logger. One that panics loses its event.
func pass(ctx context.Context, handler slog.Handler, record slog.Record) {
	defer func() { _ = recover() }()
	if handler.Enabled(ctx, record.Level) {
		_ = handler.Handle(ctx, record) // an error of the logger's is not for us to mend
	}
}
