package httppool

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/ringwire/ringwire/health"
)

// recordsMax is how many records wait for a logger that is slow; more are dropped and counted.
const recordsMax = 64

// records are what the user's logger is to get. A goroutine that runs while there are any passes
// them on, one after the other: a logger may block. Guarded by the pool's lock, under which records
// are made, so that they come in the order of what they tell; the logger is not called under it.
type records struct {
	queue   []slog.Record
	dropped int
	running bool
}

// logLocked passes a record on to the user's logger. It never waits.
func (p *HTTPConnectionPool) logLocked(level slog.Level, msg string, attrs ...slog.Attr) {
	r := &p.records
	if p.cfg.Logger == nil || p.drained {
		return
	}
	if len(r.queue) >= recordsMax {
		r.dropped++
		return
	}
	record := slog.NewRecord(time.Now(), level, msg, 0)
	record.AddAttrs(attrs...)
	r.queue = append(r.queue, record)
	if !r.running {
		r.running = true
		p.spawnLocked(p.passRecords)
	}
}

// passRecords passes records on until there are none. If one ends its goroutine, another one goes on.
func (p *HTTPConnectionPool) passRecords() {
	done := false
	defer func() {
		if !done {
			p.spawn(p.passRecords)
		}
	}()
	for {
		p.mu.Lock()
		r := &p.records
		if len(r.queue) == 0 {
			r.running, r.queue = false, nil
			p.mu.Unlock()
			done = true
			return
		}
		record, dropped := r.queue[0], r.dropped
		r.queue, r.dropped = r.queue[1:], 0
		p.mu.Unlock()
		if dropped > 0 {
			record.AddAttrs(slog.Int("dropped before", dropped))
		}
		p.handle(record)
	}
}

// handle has the user's logger take a record. One that panics loses it.
func (p *HTTPConnectionPool) handle(record slog.Record) {
	defer func() { _ = recover() }()
	ctx, handler := context.Background(), p.cfg.Logger.Handler()
	if handler.Enabled(ctx, record.Level) {
		_ = handler.Handle(ctx, record) // an error of the logger's is not for us to mend
	}
}

// logLocked logs a line about the server, with the number of those left out before it.
func (s *server) logLocked(level slog.Level, msg string, attrs ...slog.Attr) {
	if s.p.cfg.Logger == nil {
		return
	}
	hushed, ok := s.lines.Take(time.Now())
	if !ok {
		return
	}
	attrs = append([]slog.Attr{slog.String("addr", s.name)}, attrs...)
	if hushed > 0 {
		attrs = append(attrs, slog.Int("lines left out before", hushed))
	}
	s.p.logLocked(level, msg, attrs...)
}

// logStateLocked logs that the server is up, down, ejected or readmitted, if it was not so at the
// last call. A server that was down and fails on trial is down still, which is no news; an ejected
// one is ejected anew.
func (s *server) logStateLocked() {
	now, was := s.judge.State(), s.told
	if s.p.cfg.Logger == nil || now == was || now == health.Trial && was != health.Ejected {
		return
	}
	s.told = now
	switch now {
	case health.Down:
		s.logLocked(slog.LevelWarn, "server down", s.causeAttr())
	case health.Ejected:
		s.logLocked(slog.LevelWarn, "server ejected", s.causeAttr())
	case health.Up, health.Rising:
		switch was {
		case health.Down:
			s.logLocked(slog.LevelInfo, "server up")
		case health.Ejected, health.Trial:
			s.logLocked(slog.LevelInfo, "server readmitted")
		}
	}
}

func (s *server) causeAttr() slog.Attr {
	return slog.String("cause", causeText(s.judge.Status().LastError))
}

// causeText is what the log says of an error that a server has met. net/http's errors about a
// response quote it, and a status line has words of the server's: the log has only what is known
// to hold neither.
func causeText(err error) string {
	var (
		dial  *Error
		check *checkError
		nerr  net.Error // also of contexts and of TLS
		where *url.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &where): // a DialContext's that asks a proxy, for instance
		return where.Op + ": " + causeText(where.Err)
	case errors.As(err, &dial), errors.As(err, &check), errors.As(err, &nerr),
		errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err.Error()
	case strings.HasPrefix(err.Error(), statusPrefix):
		return err.Error()[:min(len(statusPrefix)+len("503"), len(err.Error()))]
	}
	return "no valid response; ServerTarget.LastError tells more"
}

// statusPrefix is before the status in the error of a server that is not well.
const statusPrefix = "httppool: status "
