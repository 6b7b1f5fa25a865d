package httppool

import (
	"context"
	"fmt"
	"log/slog"
)

// Shutdown closes the pool and drains it: callers that wait get ErrClosed, and so do new ones;
// idle connections are closed at once, and each other one when it is released or its response
// is read. When ctx ends first, the rest is cut off: the error then holds the context's and says
// how many connections that were. Without an error no goroutine of the pool runs any more; so it
// waits, as long as ctx allows, for a DialContext or a Logger that has not returned. A second call
// waits likewise.
func (p *HTTPConnectionPool) Shutdown(ctx context.Context) error {
	if ctx == nil {
		ctx = context.Background()
	}
	p.mu.Lock()
	p.closed = true
	p.waiting.fail(ErrClosed)
	for _, s := range p.servers {
		s.waiting.fail(ErrClosed)
	}
	p.mu.Unlock()
	p.unwatch()
	p.CloseIdleConnections()
	select {
	case <-p.whenQuiet():
		p.cancel()
		return nil
	case <-ctx.Done():
	}
	select { // both may be true
	case <-p.whenQuiet():
		p.cancel()
		return nil
	default:
	}
	p.cancel()
	p.mu.Lock()
	var cut []*conn
	for c := p.used.Front(); c != nil; c = c.inAll.Next() {
		cut = append(cut, c)
	}
	if len(cut) > 0 {
		p.logLocked(slog.LevelWarn, "shutdown cut connections off",
			slog.Int("conns", len(cut)), slog.Any("cause", ctx.Err()))
	}
	p.mu.Unlock()
	for _, c := range cut {
		c.shut()
	}
	if len(cut) == 0 {
		err := fmt.Errorf("a dial, a health check or the Logger has not returned: %w", ended(ctx))
		return &Error{Op: "shutdown", Err: err}
	}
	return &Error{Op: "shutdown", Err: fmt.Errorf("%d connections were in use and are cut off: %w", len(cut), ended(ctx))}
}

// CloseIdleConnections closes the connections that lie idle now. http.Client.CloseIdleConnections
// calls it.
func (p *HTTPConnectionPool) CloseIdleConnections() {
	p.mu.Lock()
	var unused []*conn
	for c := p.idle.Front(); c != nil; c = p.idle.Front() {
		p.unlistLocked(c)
		unused = append(unused, c)
	}
	p.mu.Unlock()
	p.discard(unused)
}

// whenQuiet returns a channel that is closed when nothing runs and nothing is lent.
func (p *HTTPConnectionPool) whenQuiet() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet == nil {
		p.quiet = make(chan struct{})
	}
	quiet := p.quiet
	p.hushLocked()
	return quiet
}
