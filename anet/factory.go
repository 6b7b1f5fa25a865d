package anet

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/liveness"
)

// NewTCPFactory returns a factory that connects by TCP, within config's DialTimeout,
// and sets its KeepAliveInterval and DisableNoDelay. A nil config has the defaults.
func NewTCPFactory(config *PoolConfig) Factory {
	cfg := config.withDefaults()
	dialer := net.Dialer{Timeout: max(cfg.DialTimeout, 0), KeepAlive: -1}
	return func(addr string) (PoolItem, error) {
		nc, err := dialer.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		if err := liveness.KeepAlive(nc, cfg.KeepAliveInterval); err != nil {
			nc.Close()
			return nil, err
		}
		if tc, ok := nc.(*net.TCPConn); ok && cfg.DisableNoDelay {
			if err := tc.SetNoDelay(false); err != nil {
				nc.Close()
				return nil, err
			}
		}
		return nc, nil
	}
}

// withDefaults returns a copy in which zero values are replaced.
func (c *PoolConfig) withDefaults() PoolConfig {
	cfg := PoolConfig{}
	if c != nil {
		cfg = *c
	}
	standard := DefaultPoolConfig()
	for _, d := range []struct{ field, standard *time.Duration }{
		{&cfg.DialTimeout, &standard.DialTimeout},
		{&cfg.IdleTimeout, &standard.IdleTimeout},
		{&cfg.ValidationInterval, &standard.ValidationInterval},
		{&cfg.KeepAliveInterval, &standard.KeepAliveInterval},
	} {
		if *d.field == 0 {
			*d.field = *d.standard
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = &NoopLogger{}
	}
	return cfg
}

// open is what a pool does to have one more item. A connection gets the pool's
// keep-alive if the pool was given one; otherwise the factory has the last word.
func open(f Factory, addr string, config *PoolConfig) func(context.Context) (PoolItem, error) {
	var keepAlive time.Duration
	if config != nil {
		keepAlive = config.KeepAliveInterval
	}
	return func(context.Context) (PoolItem, error) {
		if f == nil {
			return nil, errors.New("anet: the pool has no factory; give NewPool one, NewTCPFactory for example")
		}
		item, err := f(addr)
		if err != nil || keepAlive == 0 {
			return item, err
		}
		nc, ok := item.(net.Conn)
		if !ok {
			return item, nil
		}
		if err := liveness.KeepAlive(nc, keepAlive); err != nil {
			item.Close()
			return nil, err
		}
		return item, nil
	}
}
