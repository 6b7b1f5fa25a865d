package httppool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/budget"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/latency"
)

// HTTPConnectionPool keeps connections to several HTTP servers and lends them out. It is an
// http.RoundTripper, too. Make it with NewHTTPConnectionPool, and end it with Shutdown. All
// methods may be called by any number of goroutines.
//
// The lock is held for bookkeeping only: no dial, no system call and no function of the user's
// runs under it. A server's judge may be asked under it, but is told nothing: what it is told may
// change the rotation, which takes the lock.
//
// What holds whenever the lock is free:
//
//   - places = the sum of the servers' <= MaxTotalConnections,
//     a server's <= MaxConnectionsPerServer
//   - each place is an idle conn, a lent one, or a dial under way
//   - no caller waits while what it waits for is there
type HTTPConnectionPool struct {
	cfg      HTTPPoolConfig
	started  time.Time
	balancer *balance.Balancer[*server]
	judges   *health.Group
	retries  *budget.Budget
	counts   counts

	ctx      context.Context // of dials; ends when the pool has drained
	cancel   context.CancelFunc
	watching context.Context // of health checks and cleanups; ends when Shutdown begins
	unwatch  context.CancelFunc
	hosts    atomic.Pointer[map[string]bool] // scheme://host of the servers, as requests may write it

	mu      sync.Mutex
	servers []*server
	places  int
	leaving map[string]*int // places of servers that were removed, by name, while there are any
	idle    list.List[conn] // the one that has been so for longest first
	used    list.List[conn] // lent
	waiting lanes           // for any server
	seq     uint64          // of the last waiter
	running int             // goroutines of the pool
	lent    int             // conns and places that somebody has
	warming int             // dials under way that WarmConnections asks for
	closed  bool
	drained bool          // closed, and nothing runs nor is lent any more
	quiet   chan struct{} // closed when nothing runs and nothing is lent; nil if nobody waits
	records records       // for the user's logger
}

// NewHTTPConnectionPool returns a pool without servers. A nil config means all defaults.
func NewHTTPConnectionPool(config *HTTPPoolConfig) (*HTTPConnectionPool, error) {
	if config == nil {
		config = &HTTPPoolConfig{}
	}
	p := &HTTPConnectionPool{
		cfg: config.withDefaults(), started: time.Now(), retries: budget.New(), leaving: make(map[string]*int),
	}
	if err := p.cfg.validate(); err != nil {
		return nil, err
	}
	var err error
	if p.balancer, err = balance.New[*server](p.cfg.LoadBalanceStrategy); err != nil {
		return nil, errors.Join(errors.New("httppool: HTTPPoolConfig.LoadBalanceStrategy"), err)
	}
	p.judges, err = health.New(health.Config{
		Interval: p.cfg.HealthCheckInterval, Timeout: p.cfg.HealthCheckTimeout,
		UnhealthyThreshold: p.cfg.UnhealthyThreshold, HealthyThreshold: p.cfg.HealthyThreshold,
		OnChange: p.rotate,
	})
	if err != nil {
		return nil, errors.Join(errors.New("httppool: HTTPPoolConfig"), err)
	}
	p.counts.latency = latency.NewRecorder()
	p.hosts.Store(&map[string]bool{})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.watching, p.unwatch = context.WithCancel(p.ctx)
	p.spawn(func() { p.judges.Run(p.watching) })
	p.spawn(p.manage)
	return p, nil
}

// spawn starts a goroutine that Shutdown waits for.
func (p *HTTPConnectionPool) spawn(f func()) {
	p.mu.Lock()
	p.spawnLocked(f)
	p.mu.Unlock()
}

func (p *HTTPConnectionPool) spawnLocked(f func()) {
	p.running++
	go func() {
		defer func() {
			p.mu.Lock()
			p.running--
			p.hushLocked()
			p.mu.Unlock()
		}()
		f()
	}()
}

// hushLocked tells Shutdown when nothing is left.
func (p *HTTPConnectionPool) hushLocked() {
	if p.quiet != nil && p.running == 0 && p.lent == 0 {
		close(p.quiet)
		p.quiet, p.drained = nil, true // only Shutdown sets quiet
	}
}

// manage closes what has lain idle for too long, and takes the throughput.
func (p *HTTPConnectionPool) manage() {
	limit := p.cfg.idleLimit()
	cleanup := time.NewTicker(p.cfg.CleanupInterval)
	defer cleanup.Stop()
	measure := time.NewTicker(p.cfg.MetricsInterval)
	defer measure.Stop()
	for {
		select {
		case <-p.watching.Done():
			return
		case <-measure.C:
			p.counts.measure(p.cfg.MetricsInterval)
		case now := <-cleanup.C:
			if limit > 0 {
				p.mu.Lock()
				var old []*conn
				for c := p.idle.Front(); c != nil && now.Sub(c.since) > limit; c = p.idle.Front() {
					p.unlistLocked(c)
					old = append(old, c)
				}
				p.mu.Unlock()
				p.discard(old)
			}
			p.mu.Lock()
			p.warmLocked() // where there was no room among the idle
			p.mu.Unlock()
		}
	}
}

// rotate puts those servers in turn that take requests now. It is called when that may have
// changed.
func (p *HTTPConnectionPool) rotate() {
	p.mu.Lock()
	members := make([]balance.Member[*server], len(p.servers))
	var dead []*conn
	for i, s := range p.servers {
		s.logStateLocked()
		share := s.judge.Share()
		members[i] = balance.Member[*server]{
			Name: s.name, Server: s, Weight: s.weight, Share: share, Down: share == 0, Load: &s.load,
		}
		if s.judge.State() == health.Down {
			for c := s.idle.Front(); c != nil; c = s.idle.Front() {
				p.unlistLocked(c)
				dead = append(dead, c)
			}
		}
		if share == 0 {
			s.waiting.fail(errElsewhere)
		}
	}
	if err := p.balancer.Replace(members); err != nil {
		panic("httppool: " + err.Error()) // AddServer has checked all of it
	}
	if p.balancer.Len() == 0 {
		p.waiting.fail(errElsewhere)
	}
	p.serveAllLocked()
	p.warmLocked()
	p.mu.Unlock()
	p.discard(dead)
}
