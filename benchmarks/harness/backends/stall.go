package backends

import (
	"context"
	"sync"
	"time"
)

// stalls finds out for how long nothing ran here that was due, because the machine had other things
// to do.
type stalls struct {
	end   context.CancelFunc
	wg    sync.WaitGroup
	worst time.Duration
}

// watchStalls looks every 10 ms until stop.
func watchStalls(ctx context.Context) *stalls {
	s := new(stalls)
	ctx, s.end = context.WithCancel(ctx)
	s.wg.Go(func() {
		const every = 10 * time.Millisecond
		for ctx.Err() == nil {
			before := time.Now()
			sleep(ctx, every)
			s.worst = max(s.worst, time.Since(before)-every)
		}
	})
	return s
}

// stop returns the longest stall.
func (s *stalls) stop() time.Duration {
	s.end()
	s.wg.Wait()
	return s.worst
}

// stalled notes it.
func (r *Result) stalled(worst time.Duration) {
	if worst > Step {
		r.fact("the machine was busy: what was due here was up to %v late", worst.Round(time.Millisecond))
	}
}
