package paired

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// logEvery is the least time between two lines about failures of one kind.
const logEvery = time.Second

// limiter counts what it keeps out of the log.
type limiter [failureKinds]struct {
	next    atomic.Int64 // Unix time in nanoseconds from which there may be a line
	skipped atomic.Uint64
}

var failureText = [failureKinds]string{
	failedDial:      "paired: cannot dial",
	failedHandshake: "paired: no handshake",
	failedAddress:   "paired: peer not allowed",
	failedFull:      "paired: connection refused, the pool is full",
	failedAccept:    "paired: cannot accept",
}

// warn writes a line about a failure unless there has just been one of its kind.
func (p *Pool) warn(why failure, err error, peer string) {
	if !p.log.Enabled(context.Background(), slog.LevelWarn) {
		return
	}
	line, now := &p.lines[why], time.Now()
	if next := line.next.Load(); now.UnixNano() < next || !line.next.CompareAndSwap(next, now.Add(logEvery).UnixNano()) {
		line.skipped.Add(1)
		return
	}
	p.log.LogAttrs(context.Background(), slog.LevelWarn, failureText[why],
		slog.String("peer", peer), slog.Any("cause", err), slog.Uint64("suppressed", line.skipped.Swap(0)))
}

// event writes a line about a connection, for debugging.
func (p *Pool) event(text string, e *entry, attrs ...slog.Attr) {
	if !p.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs = append(attrs, slog.String("id", e.id.String()), slog.String("peer", peerName(e.nc.RemoteAddr())))
	p.log.LogAttrs(context.Background(), slog.LevelDebug, "paired: "+text, attrs...)
}
