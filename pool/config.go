package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/defaults"
)

// The defaults of Config.
const (
	DefaultMaxConns           = 16
	DefaultMaxDials           = 16
	DefaultDialTimeout        = 5 * time.Second
	DefaultIdleTimeout        = 60 * time.Second
	DefaultMaxLifetime        = time.Hour
	DefaultBackoffBase        = 50 * time.Millisecond
	DefaultBackoffMax         = 10 * time.Second
	DefaultKeepAlive          = 30 * time.Second
	DefaultMinInterval        = 500 * time.Millisecond
	DefaultMaxInterval        = 5 * time.Second
	DefaultValidationInterval = 30 * time.Second
	DefaultValidationTimeout  = time.Second
	DefaultCloseTimeout       = 5 * time.Second
)

// ConnsLimit is the largest MaxConns.
const ConnsLimit = 1 << 16

// Validation says how idle connections are examined.
type Validation uint8

const (
	// ValidatePeek looks at the connection without consuming anything: before it
	// is handed out, when it is put back, and in the background pass.
	ValidatePeek Validation = iota
	// ValidatePing peeks likewise, and in the background pass calls Ping.
	ValidatePing
	// ValidateNone examines nothing. Connections still grow old.
	ValidateNone
)

// Config says how a pool works. The zero value of every field is its documented
// default; a negative value switches the feature off where that is possible. New
// copies it.
type Config struct {
	// Network and Addr are what to dial. Network is "tcp" by default. NewOf uses
	// Addr in errors only.
	Network, Addr string

	// MaxConns is how many connections there may be at once. Default 16.
	MaxConns int
	// MinCapacity is where the capacity begins, and what it does not fall below
	// when dials fail. Default: MaxConns, so that the capacity is constant.
	MinCapacity int
	// MinConns is how many connections the manager keeps open, MinIdle how many
	// idle, as far as the capacity allows. MinConns is
	// at most MinCapacity. Default 0: Get alone has them dialled.
	MinConns, MinIdle int
	// MaxDials is how many dials may be under way at once. Default 16.
	MaxDials int

	// MinInterval and MaxInterval bound the pause between turns of the manager,
	// which replaces missing connections and adapts the capacity. It shrinks while fewer
	// than 20 % of the capacity are idle and grows while more than 80 % are. Defaults:
	// 500 ms and 5 s, or the other one if only one is given and the default would reverse
	// them.
	MinInterval, MaxInterval time.Duration

	// DialTimeout bounds a dial, TLS handshake included. Default 5 s, negative:
	// none.
	DialTimeout time.Duration
	// BackoffBase and BackoffMax bound the pause after the n-th failed dial in a
	// row: it is uniform in [0, min(BackoffMax, BackoffBase·2ⁿ⁻¹)]. Defaults 50 ms
	// and 10 s; negative BackoffBase: no pause.
	BackoffBase, BackoffMax time.Duration

	// IdleTimeout is how long a connection may lie idle before it is closed,
	// whatever the validation says. The pool's clock for this is coarse: a
	// connection may go earlier, by a 64th, at least 10 ms and at most a second, but not
	// later, unless a Ping or Validate is at it: then when that ends. Default 60 s, negative: none.
	IdleTimeout time.Duration
	// MaxLifetime is how old a connection may grow: past it, it is closed when it
	// is put back, or at the manager's next turn when it is idle. Each connection's own limit is up
	// to 10 % less, at random, so that they do not all end together. Default 1 h, negative: none.
	MaxLifetime time.Duration

	// KeepAlive is the idle time before the kernel probes a TCP connection, and
	// between probes; it ends it after three without an answer. It works below TLS
	// too, and on what Dial returns. Default 30 s, negative: off. Not for NewOf.
	KeepAlive time.Duration

	// Validation says how idle connections are examined. Default ValidatePeek.
	// An item with a method Validate() bool is examined by that method alone, in
	// the background pass, and not at all with ValidateNone.
	Validation Validation
	// Ping is called on an idle connection, which it owns meanwhile, in the
	// background pass of ValidatePing. An error closes the connection. It must
	// leave no unread bytes. Not for NewOf, which takes Source.Ping.
	Ping func(ctx context.Context, nc net.Conn) error
	// ValidationInterval is the pause between background passes, up to 10 % less
	// at random. Default 30 s, negative: no passes.
	ValidationInterval time.Duration
	// ValidationTimeout bounds a Ping, and a Validate. When it passes the
	// connection is closed, under it if it still runs. Default 1 s.
	ValidationTimeout time.Duration

	// CloseTimeout bounds how long Close waits for dials, pings and closings under
	// way. Default 5 s, negative: Close does not wait.
	CloseTimeout time.Duration

	// Dial connects; nil uses a net.Dialer. It should return when ctx ends. When
	// it does not, its connection's place stays taken until it does, and nobody
	// waits for it longer than DialTimeout, save a Get whose own context can never
	// end, which may be the one that runs it. Not for NewOf.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS, if not nil, secures every connection. An empty ServerName is taken from
	// Addr. New clones it. Not for NewOf.
	TLS *tls.Config
	// Greet, if not nil, exchanges with the peer what a protocol asks for before a connection
	// is of use: a login, a version. It is called for each new connection, after the TLS
	// handshake, within DialTimeout, and should return when ctx ends. Its error fails the
	// dial; the connection is then closed. It must read nothing that comes after. Not for
	// NewOf.
	Greet func(ctx context.Context, nc net.Conn) error
}

// Source makes the items of a pool made by NewOf.
type Source[T Item] struct {
	// Open makes an item. It should return when ctx ends; see Config.Dial.
	Open func(ctx context.Context) (T, error)
	// Ping examines an idle item; needed for ValidatePing. See Config.Ping.
	Ping func(ctx context.Context, item T) error
}

// withDefaults returns a copy with every zero value replaced.
func (c Config) withDefaults() Config {
	defaults.Set(&c.Network, "tcp")
	defaults.Set(&c.MaxConns, DefaultMaxConns)
	defaults.Set(&c.MinCapacity, c.MaxConns)
	defaults.Set(&c.MaxDials, DefaultMaxDials)
	defaults.Set(&c.MinInterval,
		min(DefaultMinInterval, positive(c.MaxInterval, DefaultMinInterval)))
	defaults.Set(&c.MaxInterval, max(DefaultMaxInterval, c.MinInterval))
	defaults.Set(&c.DialTimeout, DefaultDialTimeout)
	defaults.Set(&c.BackoffBase,
		min(DefaultBackoffBase, positive(c.BackoffMax, DefaultBackoffBase)))
	defaults.Set(&c.BackoffMax, max(DefaultBackoffMax, c.BackoffBase))
	defaults.Set(&c.IdleTimeout, DefaultIdleTimeout)
	defaults.Set(&c.MaxLifetime, DefaultMaxLifetime)
	defaults.Set(&c.KeepAlive, DefaultKeepAlive)
	defaults.Set(&c.ValidationInterval, DefaultValidationInterval)
	defaults.Set(&c.ValidationTimeout, DefaultValidationTimeout)
	defaults.Set(&c.CloseTimeout, DefaultCloseTimeout)
	return c
}

// positive returns d, or otherwise if d is not set.
func positive(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// validate reports the first field that makes no sense, with its range. It runs
// after withDefaults.
func (c *Config) validate() error {
	ranges := []struct {
		field    string
		value    int
		min, max int
	}{
		{"MaxConns", c.MaxConns, 1, ConnsLimit},
		{"MinCapacity", c.MinCapacity, 1, c.MaxConns},
		{"MinConns", c.MinConns, 0, c.MinCapacity},
		{"MinIdle", c.MinIdle, 0, c.MaxConns},
		{"MaxDials", c.MaxDials, 1, ConnsLimit},
		{"Validation", int(c.Validation), int(ValidatePeek), int(ValidateNone)},
	}
	for _, r := range ranges {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("pool: Config.%s is %d; it must lie in %d to %d", r.field, r.value, r.min, r.max)
		}
	}
	if c.MinInterval <= 0 || c.MaxInterval < c.MinInterval {
		return fmt.Errorf("pool: Config.MinInterval %v and MaxInterval %v must satisfy 0 < min <= max", c.MinInterval, c.MaxInterval)
	}
	if c.BackoffBase > 0 && c.BackoffMax < c.BackoffBase {
		return fmt.Errorf("pool: Config.BackoffBase %v and BackoffMax %v must satisfy base <= max; a negative base means no pause", c.BackoffBase, c.BackoffMax)
	}
	if c.ValidationTimeout < 0 {
		return fmt.Errorf("pool: Config.ValidationTimeout is %v; it must be positive, or 0 for %v", c.ValidationTimeout, DefaultValidationTimeout)
	}
	return nil
}

// validateItems reports fields that NewOf cannot honour.
func (c *Config) validateItems() error {
	if c.Network != "" || c.Dial != nil || c.TLS != nil || c.Greet != nil || c.Ping != nil || c.KeepAlive != 0 {
		return errors.New("pool: NewOf takes no Network, Dial, TLS, Greet, Ping and KeepAlive in its Config: that is Source's work")
	}
	return nil
}
