package resolve

import (
	"context"
	"errors"
	"fmt"
)

// errorsTold is how many errors of one answer are told by name.
const errorsTold = 8

// Servers is what Follow changes: an engine.Broker, or an HTTPConnectionPool.
type Servers interface {
	AddServer(addr string, weight int) error
	RemoveServer(addr string) error
	SetWeight(addr string, weight int) error
}

// FollowConfig says how Follow works. The zero value will do.
type FollowConfig struct {
	// Have are those of the servers there are already that Follow is to remove when the resolver
	// does not name them any more. Others that it has not added itself it leaves alone.
	Have []Endpoint
	// Prefix stands before each address: "http://" or "https://" for an HTTPConnectionPool.
	Prefix string
	// OnError, if not nil, is told what went wrong, at most once for each yield of the resolver.
	// It runs on Follow's goroutine, which follows nothing until it returns.
	OnError func(error)
}

// Follow has servers be those that r yields, by adding, reweighing and removing what differs, new
// ones first. It returns nil when r has nothing more to yield, or the cause of ctx's end; the
// servers then stay as they are.
func Follow(ctx context.Context, r Resolver, servers Servers, cfg FollowConfig) error {
	f := follower{servers: servers, cfg: cfg, have: make(map[string]int)}
	for _, e := range cfg.Have {
		f.have[e.Addr] = e.weight()
	}
	for set, err := range r.Watch(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			err = f.take(set)
		}
		if err != nil && cfg.OnError != nil {
			cfg.OnError(err)
		}
	}
	return context.Cause(ctx)
}

// follower is a Follow at work.
type follower struct {
	servers Servers
	cfg     FollowConfig
	have    map[string]int // weight by address
	wrong   problems       // with the set at hand
}

// take makes the servers those of a set.
func (f *follower) take(set []Endpoint) error {
	if len(set) == 0 {
		return fmt.Errorf("resolve: %w; the %d servers before stay", ErrEmpty, len(f.have))
	}
	f.wrong = problems{}
	if len(set) > MaxEndpoints {
		f.wrong.add(fmt.Errorf("resolve: %d servers are too many; the first %d are used", len(set), MaxEndpoints))
		set = set[:MaxEndpoints]
	}
	wanted := make(map[string]bool, len(set))
	for _, e := range set {
		if !wanted[e.Addr] { // what is named twice is one server, as named first
			wanted[e.Addr] = true
			f.put(e.Addr, e.weight())
		}
	}
	for addr := range f.have {
		if wanted[addr] {
			continue
		}
		if err := f.servers.RemoveServer(f.cfg.Prefix + addr); err != nil {
			f.wrong.add(fmt.Errorf("resolve: remove %s: %w", addr, err))
			continue
		}
		delete(f.have, addr)
	}
	return f.wrong.err()
}

// put adds a server, or gives it its weight.
func (f *follower) put(addr string, weight int) {
	op, change := "add", f.servers.AddServer
	if before, there := f.have[addr]; there {
		if before == weight {
			return
		}
		op, change = "set weight of", f.servers.SetWeight
	}
	if err := change(f.cfg.Prefix+addr, weight); err != nil {
		f.wrong.add(fmt.Errorf("resolve: %s %s: %w", op, addr, err))
		return
	}
	f.have[addr] = weight
}

// problems are what is wrong with one answer, the first errorsTold of them by name.
type problems struct {
	errs []error
	more int
}

func (p *problems) add(err error) {
	if len(p.errs) == errorsTold {
		p.more++
		return
	}
	p.errs = append(p.errs, err)
}

// err returns all of them as one error, nil for none.
func (p *problems) err() error {
	if p.more == 0 {
		return errors.Join(p.errs...)
	}
	return errors.Join(append(p.errs, fmt.Errorf("and %d errors more", p.more))...)
}

// weight returns the weight that 0 stands for.
func (e Endpoint) weight() int {
	if e.Weight == 0 {
		return 1
	}
	return e.Weight
}
