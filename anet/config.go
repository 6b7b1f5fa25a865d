package anet

import (
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/taskid"
)

// What zero values of BrokerConfig stand for.
const (
	defaultTimeout     = 5 * time.Second
	defaultQueueSize   = 1000
	defaultMaxInflight = 256
	defaultClose       = 10 * time.Second
)

// unbounded stands for a queue or a flight that was switched off: the engine has a
// place for each request, so there is a bound all the same.
const unbounded = 1 << 16

// BrokerConfig says how a broker works. A zero value is the default, a negative one
// switches the bound off. NewBroker copies it.
type BrokerConfig struct {
	// WriteTimeout bounds one write. When it passes the connection is closed.
	// Default 5 s.
	WriteTimeout time.Duration
	// ReadTimeout bounds the time from the write of a request to its reply. When it
	// passes only this request fails. Default 5 s.
	ReadTimeout time.Duration
	// QueueSize is how many requests may be open beyond the number of workers, or
	// at all before Start; one more is ErrQueueFull. Default 1000, at most 65,536.
	// It does not count with Multiplex.
	QueueSize int
	// OptimizeMemory reuses the memory of requests from call to call.
	// DefaultBrokerConfig, and a nil config, switch it on.
	OptimizeMemory bool
	// Multiplex uses as few connections as MaxInflightPerConn allows, and needs no
	// Start. Without it a request takes an idle connection, or a new one, as long as
	// there are fewer than the pool's capacity and the workers. Requests are
	// pipelined either way.
	Multiplex bool
	// MaxInflightPerConn bounds the open requests of one connection with Multiplex.
	// When every connection has as many, ErrQueueFull. Default 256, at most 65,536.
	MaxInflightPerConn int
	// CloseTimeout bounds Close. Default 10 s.
	CloseTimeout time.Duration
}

// DefaultBrokerConfig returns the defaults.
func DefaultBrokerConfig() *BrokerConfig {
	return &BrokerConfig{
		WriteTimeout:       defaultTimeout,
		ReadTimeout:        defaultTimeout,
		QueueSize:          defaultQueueSize,
		OptimizeMemory:     true,
		MaxInflightPerConn: defaultMaxInflight,
		CloseTimeout:       defaultClose,
	}
}

// withDefaults returns a copy in which zero values are replaced, and bounds that
// are off or too large are the largest the engine has.
func (c *BrokerConfig) withDefaults() BrokerConfig {
	if c == nil {
		c = DefaultBrokerConfig()
	}
	cfg := *c
	cfg.WriteTimeout = defaults.Timeout(cfg.WriteTimeout, defaultTimeout)
	cfg.ReadTimeout = defaults.Timeout(cfg.ReadTimeout, defaultTimeout)
	cfg.CloseTimeout = defaults.Timeout(cfg.CloseTimeout, defaultClose)
	cfg.QueueSize = bound(cfg.QueueSize, defaultQueueSize)
	cfg.MaxInflightPerConn = bound(cfg.MaxInflightPerConn, defaultMaxInflight)
	return cfg
}

func bound(n, standard int) int {
	switch {
	case n == 0:
		return standard
	case n < 0:
		return unbounded
	}
	return min(n, unbounded)
}

// engineConfig returns the configuration of one line, without its Addrs and dial
// function. The pools dial and wait as long as they see fit, and the broker repeats
// requests itself, on other pools too.
func (b *broker) engineConfig() engine.Config {
	cfg := engine.Config{
		ConnsPerAddr:    1,
		QueueSize:       b.config.MaxInflightPerConn,
		MaxInFlight:     b.config.MaxInflightPerConn,
		RequestTimeout:  -1,
		ReadTimeout:     b.config.ReadTimeout,
		WriteTimeout:    b.config.WriteTimeout,
		DialTimeout:     -1,
		ShutdownTimeout: b.config.CloseTimeout,
		MaxRetries:      -1,
		OptimizeMemory:  engine.Off,
	}
	if !b.multiplex {
		// All that may be open, and as many again that were given up.
		cfg.QueueSize = min(b.config.QueueSize+b.workers, taskid.MaxCapacity/2)
		cfg.MaxInFlight = max(2*cfg.QueueSize, defaultMaxInflight)
	}
	if b.config.OptimizeMemory {
		cfg.OptimizeMemory = engine.On
	}
	return cfg
}
