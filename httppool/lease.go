package httppool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/list"
)

// want is what somebody wants a connection for.
type want struct {
	key    uint64
	lane   list.Lane
	hint   string    // the server to stay with while it is healthy, or ""
	only   *server   // this one and no other, whatever its state; for checks
	secure bool      // over TLS only
	tried  []*server // they have failed
}

// lease lends out a connection, and reports whether it was used before. What it has met is
// reported to the server's judge, but not for checks.
func (p *HTTPConnectionPool) lease(ctx context.Context, w *want) (c *conn, reused bool, err error) {
	for {
		if ctx.Err() != nil {
			return nil, false, ended(ctx)
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, false, ErrClosed
		}
		s, now, err := p.chooseLocked(w)
		if err != nil {
			p.mu.Unlock()
			return nil, false, err
		}
		var g grant
		if now {
			g = p.grantLocked(s)
			p.mu.Unlock()
		} else if g, err = p.wait(ctx, s, w.lane); errors.Is(err, errElsewhere) {
			continue
		} else if err != nil {
			return nil, false, err
		}
		p.makeRoom(g)
		if g.c != nil {
			if g.c.alive() {
				p.counts.reused.Add(1)
				return g.c, true, nil
			}
			if !p.vacate(g.c) {
				continue
			}
			g.place = g.c.s
		}
		began := time.Now()
		c, err = p.dial(ctx, g.place)
		if err != nil && w.only == nil {
			g.place.judge.Report(outcome(ctx, err), began, err)
		}
		return c, false, err
	}
}

// outcome is what a failure says of the server: a context that ended says nothing.
func outcome(ctx context.Context, err error) health.Outcome {
	switch {
	case ctx.Err() == nil:
		return health.Unreachable
	case errors.Is(context.Cause(ctx), errRequestTimeout):
		return health.Failed
	}
	return health.Late
}

// chooseLocked chooses a server, nil for any, and reports whether it has a connection or a
// place now; else the request waits for that.
func (p *HTTPConnectionPool) chooseLocked(w *want) (s *server, now bool, err error) {
	if w.only != nil {
		return w.only, p.hasRoomLocked(w.only), nil
	}
	unfit := func(s *server) bool { return slices.Contains(w.tried, s) || w.secure && s.tls == nil }
	if w.hint != "" {
		if s, ok := p.balancer.Find(w.hint); ok && !unfit(s) {
			return s, p.hasRoomLocked(s), nil
		}
	}
	if p.judges.Trials() > 0 {
		for _, s := range p.servers {
			if s.judge.State() == health.Trial && !unfit(s) && p.hasRoomLocked(s) && s.judge.Try() {
				return s, true, nil
			}
		}
	}
	sticky := p.cfg.LoadBalanceStrategy == IPHash && w.key != 0
	if !sticky {
		s, err = p.balancer.Pick(w.key, func(s *server) bool { return unfit(s) || !p.hasRoomLocked(s) })
		if err == nil {
			return s, true, nil
		}
	}
	// Those that were tried are better than none.
	if s, err = p.balancer.Pick(w.key, unfit); err != nil {
		s, err = p.balancer.Pick(w.key, func(s *server) bool { return w.secure && s.tls == nil })
	}
	switch {
	case err != nil:
		return nil, false, p.noneLocked(w)
	case p.hasRoomLocked(s):
		return s, true, nil
	case sticky || w.secure:
		return s, false, nil
	}
	return nil, false, nil
}

// noneLocked says why no server takes requests.
func (p *HTTPConnectionPool) noneLocked(w *want) error {
	if len(p.servers) == 0 {
		return fmt.Errorf("%w: there is none at all: call AddServer", ErrNoHealthyServer)
	}
	if w.secure && p.balancer.Len() > 0 {
		return fmt.Errorf("%w: the request asks for https, and no server that takes requests has it", ErrNoHealthyServer)
	}
	for _, s := range p.servers {
		if last := s.judge.Status().LastError; last != nil {
			return fmt.Errorf("%w: of %s: %w", ErrNoHealthyServer, s.name, last)
		}
	}
	return ErrNoHealthyServer
}
