package anet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	engpool "github.com/ringwire/ringwire/pool"
)

// The ways to tell whether an idle connection is alive.
const (
	// ValidationNone does not look.
	ValidationNone ValidationStrategy = "none"
	// ValidationPing is ValidationRead: the protocol has no ping.
	ValidationPing ValidationStrategy = "ping"
	// ValidationRead looks at the connection without taking a byte from it: it is
	// dead when the peer has closed or reset it, or has sent what nobody asked for.
	ValidationRead ValidationStrategy = "read"
)

// ValidationStrategy names a way to tell whether an idle connection is alive. One
// that is not known, and the empty one, are ValidationRead.
type ValidationStrategy string

// Pool lends connections, or other things that can be closed. Its methods are safe
// for concurrent use. Programs may bring their own.
type Pool interface {
	// Get lends an idle item or a new one. When Cap are lent it waits.
	Get() (PoolItem, error)
	// GetWithContext is Get until ctx ends. A nil ctx never ends.
	GetWithContext(context.Context) (PoolItem, error)
	// Release closes a lent item.
	Release(PoolItem)
	// Put takes a lent item back for further use.
	Put(PoolItem)
	// Len returns how many items are open, lent or idle.
	Len() int
	// Cap returns how many may be.
	Cap() int
	// Close closes the idle items, and the lent ones when they come back.
	Close()
}

// PoolItem is what a Pool lends. A broker needs items that are a net.Conn. An item
// with a method Validate() bool is asked instead of looked at.
type PoolItem interface {
	Close() error
}

// Factory opens an item of a pool for an address. It may be called by several
// goroutines.
type Factory func(string) (PoolItem, error)

// PoolConfig says how a pool works. A zero value is the default; a negative one
// switches the feature off. NewPool copies it.
type PoolConfig struct {
	// DialTimeout bounds a dial of NewTCPFactory, and how long the pool waits for
	// any factory. Default 5 s.
	DialTimeout time.Duration
	// IdleTimeout closes an item that has been idle for so long. Default 60 s.
	IdleTimeout time.Duration
	// ValidationInterval is the longest time between two looks at an idle item.
	// Default 30 s.
	ValidationInterval time.Duration
	// KeepAliveInterval is the idle time after which TCP probes a connection of
	// the pool. Default 30 s.
	KeepAliveInterval time.Duration
	// ValidationStrategy is how to look. Default ValidationRead.
	ValidationStrategy ValidationStrategy
	// ValidationTimeout bounds an item's own Validate; the item is closed when it
	// takes longer. A look takes no time. Default 1 s.
	// MaxValidationAttempts has no effect: an answer does not change. Default 3.
	ValidationTimeout     time.Duration
	MaxValidationAttempts int
	// DisableNoDelay has NewTCPFactory leave Nagle's algorithm on.
	DisableNoDelay bool
	// Logger receives what the pool has to report. Default: none.
	Logger Logger
}

// DefaultPoolConfig returns the defaults.
func DefaultPoolConfig() *PoolConfig {
	return &PoolConfig{
		DialTimeout:           5 * time.Second,
		IdleTimeout:           60 * time.Second,
		ValidationInterval:    30 * time.Second,
		KeepAliveInterval:     30 * time.Second,
		ValidationStrategy:    ValidationRead,
		ValidationTimeout:     time.Second,
		MaxValidationAttempts: 3,
	}
}

// NewPool returns a pool of at most poolCap items, and at least 1, which f opens for
// addr. It opens none before it is asked for one. A nil config has the defaults.
// Items must be comparable, as pointers are. Close it.
func NewPool(poolCap uint32, f Factory, addr string, config *PoolConfig) Pool {
	cfg := config.withDefaults()
	most := min(max(int(poolCap), 1), engpool.ConnsLimit)
	native := engpool.Config{
		Addr:               addr,
		MaxConns:           most,
		MaxDials:           most,
		DialTimeout:        cfg.DialTimeout,
		BackoffBase:        -1, // each Get asks the factory, and has its error
		IdleTimeout:        cfg.IdleTimeout,
		MaxLifetime:        -1,
		ValidationInterval: cfg.ValidationInterval,
		ValidationTimeout:  max(cfg.ValidationTimeout, 0),
	}
	if cfg.ValidationStrategy == ValidationNone {
		native.Validation = engpool.ValidateNone
	}
	p := &connPool{addr: addr, logger: cfg.Logger, patient: patient{context.Background(), make(chan struct{})}}
	var err error
	if p.native, err = engpool.NewOf(engpool.Source[PoolItem]{Open: open(f, addr, config)}, native); err != nil {
		panic(fmt.Sprintf("anet: NewPool: %v", err)) // not expected: every field is within its range
	}
	return p
}

// NewPoolList returns a pool for each address.
func NewPoolList(poolCap uint32, f Factory, addrs []string, config *PoolConfig) []Pool {
	pools := make([]Pool, 0, len(addrs))
	for _, addr := range addrs {
		pools = append(pools, NewPool(poolCap, f, addr, config))
	}
	return pools
}

// connPool is the Pool of NewPool.
type connPool struct {
	native  *engpool.Of[PoolItem]
	addr    string
	logger  Logger
	patient patient

	mu     sync.RWMutex // guards closed; held for reading while an item is put back
	closed bool
}

// patient is a context that never ends, but looks as if it could: so the native pool
// calls the factory on a goroutine of its own, and leaves one behind that takes too
// long. A factory has no context to be told by.
type patient struct {
	context.Context
	never chan struct{}
}

func (p patient) Done() <-chan struct{} { return p.never }

func (p *connPool) address() string { return p.addr }

// Get implements Pool.
func (p *connPool) Get() (PoolItem, error) { return p.GetWithContext(context.Background()) }

// GetWithContext implements Pool. The factory's errors are returned as they are.
func (p *connPool) GetWithContext(ctx context.Context) (PoolItem, error) {
	if ctx == nil || ctx.Done() == nil {
		ctx = p.patient
	}
	item, err := p.native.GetContext(ctx)
	if err == nil {
		return item, nil
	}
	if errors.Is(err, engpool.ErrClosed) {
		return nil, ErrClosing
	}
	var failed *engpool.Error
	if errors.As(err, &failed) {
		return nil, failed.Err
	}
	return nil, err
}

// Put implements Pool. What does not belong to the pool is closed.
func (p *connPool) Put(item PoolItem) {
	if item == nil {
		return
	}
	p.mu.RLock()
	if p.closed {
		p.mu.RUnlock()
		// The caller that puts it back sees it closed; the native Put does not wait for that.
		p.Release(item)
		return
	}
	err := p.native.Put(item)
	p.mu.RUnlock()
	p.returned(item, err)
}

// Release implements Pool.
func (p *connPool) Release(item PoolItem) {
	if item == nil {
		return
	}
	p.returned(item, p.native.Release(item))
}

// returned deals with an item that the pool did not take back.
func (p *connPool) returned(item PoolItem, err error) {
	switch {
	case errors.Is(err, engpool.ErrForeign):
		if err := item.Close(); err != nil {
			p.logger.Errorf("Error closing pool item: %v", err)
		}
	case err != nil:
		p.logger.Errorf("pool of %s: %v", p.addr, err)
	}
}

// Len implements Pool.
func (p *connPool) Len() int { return p.native.Len() }

// Cap implements Pool.
func (p *connPool) Cap() int { return p.native.Cap() }

// Close implements Pool. When it returns the idle items are closed, and those that factories were
// about to return, unless that takes longer than the native pool's CloseTimeout.
func (p *connPool) Close() {
	p.mu.Lock()
	p.closed = true // an item that is put back is closed from now on
	p.mu.Unlock()
	if err := p.native.Settle(); err != nil {
		p.logger.Errorf("pool of %s: %v", p.addr, err)
	}
}
