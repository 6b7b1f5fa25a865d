package backends

import (
	"context"
	"sync"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// traffic is the calls that are made while a scenario goes on, and what becomes of them.
type traffic struct {
	*record
	busy *stalls

	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	made  int           // calls; after end
	worst time.Duration // the longest stall; after end
}

// newTraffic begins a record. Its owner has to end it.
func newTraffic(ctx context.Context) *traffic {
	t := &traffic{record: newRecord(), busy: watchStalls(ctx)}
	t.ctx, t.stop = context.WithCancel(ctx)
	return t
}

// drive makes calls at a rate until the end.
func (t *traffic) drive(rate int, call func(n int, due time.Time)) {
	t.wg.Go(func() { t.made = drive(t.ctx, rate, call) })
}

// end makes no more calls and waits for those that are under way. It may be called again.
func (t *traffic) end() {
	t.stop()
	t.wg.Wait()
	t.worst = t.busy.stop()
}

// readyBroker returns a broker that has a connection to each server. The caller closes it.
func readyBroker(ctx context.Context, cfg engine.Config) (*engine.Broker, error) {
	b, err := engine.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := b.WaitReady(ctx); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}
