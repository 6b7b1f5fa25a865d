package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/ringwire/ringwire/internal/defaults"
)

// The defaults of ClientConfig and ServerConfig.
const (
	DefaultClientCapacity   = 1
	DefaultServerCapacity   = 1000
	DefaultInterval         = time.Second
	DefaultDialTimeout      = 5 * time.Second
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultMaxHandshakes    = 256
	DefaultIdleTimeout      = 60 * time.Second
	DefaultKeepAlive        = 30 * time.Second
	DefaultBackoffMax       = 10 * time.Second
)

const (
	// MaxCapacity is the most connections that a pool takes.
	MaxCapacity = 1 << 16
	// MaxTimeout is the longest time that a configuration takes, 24 h.
	MaxTimeout = defaults.MaxTimeout
)

// ClientConfig says how a client pool works. Only Addr or Dial is required: every
// other zero value is its documented default. NewClientPool copies it.
type ClientConfig struct {
	// Addr is the server, "host:port". It is handed to Dial as it is.
	Addr string

	// Dial connects to addr; nil uses a net.Dialer over TCP. It must return when
	// ctx ends: one that does not keeps its place in the pool until it does.
	// Several calls may run at once.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// MinCapacity and MaxCapacity bound the number of connections the pool keeps,
	// those that are taken included. It begins with the least, grows while more
	// than four fifths are taken and dials succeed, and shrinks when dials fail or
	// connections stay idle. Values <= 0: 1, and MinCapacity. Reversed, they are swapped.
	MinCapacity, MaxCapacity int

	// MinInterval and MaxInterval bound the pause between two rounds of dials. It
	// shortens when few connections are ready and lengthens when most are; while
	// somebody waits or few are ready it is the least. Values <= 0: 1 s (or
	// MaxInterval if that is less), and MinInterval. Reversed, they are swapped.
	MinInterval, MaxInterval time.Duration

	// BackoffMax bounds the pause after failed dials: the n-th in a row is
	// uniform in [0, min(BackoffMax, MinInterval·2ⁿ⁻¹)]. Default 10 s, or
	// MinInterval if that is more.
	BackoffMax time.Duration

	// DialTimeout bounds one Dial. Default 5 s.
	DialTimeout time.Duration

	// HandshakeTimeout bounds the TLS handshake and the wait for the ID together.
	// Default 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout closes a connection that has been ready for so long and nobody
	// took at this end, whatever the other end does with its half. Default 60 s,
	// negative: never, for an end that never takes its halves.
	IdleTimeout time.Duration

	// KeepAlive is the silence after which TCP probes a connection, and the time
	// between probes; three without an answer end it. Default 30 s, negative:
	// off.
	KeepAlive time.Duration

	// TLSMode is TLSNone, TLSSelfSigned or TLSVerified.
	TLSMode TLSMode

	// ServerName is the name that the certificate must bear. Default: the host
	// in Addr.
	ServerName string

	// Fingerprint, if not empty, is the SHA-256 of the only certificate that is
	// accepted from the server: 64 hexadecimal digits, colons allowed.
	Fingerprint string

	// TLS holds further settings: RootCAs, and Certificates for mutual TLS.
	// Versions below 1.3 are never spoken.
	TLS *tls.Config

	// Logger receives the pool's events, never payload. Default: none.
	Logger *slog.Logger
}

// ServerConfig says how a server pool works. Only Listener is required: every
// other zero value is its documented default. NewServerPool copies it.
type ServerConfig struct {
	// Listener is where connections come from. The pool owns it as soon as
	// NewServerPool succeeds, and closes it.
	Listener net.Listener

	// MinCapacity is how many connections make the pool Ready. Default 1.
	MinCapacity int

	// MaxCapacity bounds the connections, those that are taken included. One more
	// is closed. Values <= 0: 1000. If it is less than MinCapacity the two are
	// swapped.
	MaxCapacity int

	// Interval is the pause between two looks at the connections that are ready.
	// Default 1 s.
	Interval time.Duration

	// ClientIP names the peers that may connect: IP addresses and CIDR prefixes,
	// separated by commas or blanks. IPv4 addresses mapped into IPv6 are IPv4
	// addresses. Others are closed right after they were accepted. Default:
	// everybody.
	ClientIP string

	// TLS, if not nil, secures every connection; with ClientAuth and ClientCAs,
	// in both directions. Versions below 1.3 are never spoken.
	TLS *tls.Config

	// HandshakeTimeout bounds the TLS handshake and the sending of the ID
	// together. Default 5 s.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the connections that have no ID yet. When there are as
	// many, a new one takes the place of the oldest if that has had a quarter of
	// HandshakeTimeout, else it is closed. Default 256.
	MaxHandshakes int

	// IdleTimeout closes a connection that has been ready for so long and nobody
	// took at this end, whatever the other end does with its half. Default 60 s,
	// negative: never, for an end that never takes its halves.
	IdleTimeout time.Duration

	// KeepAlive is the silence after which TCP probes a connection, and the time
	// between probes; three without an answer end it. Default 30 s, negative:
	// off.
	KeepAlive time.Duration

	// Logger receives the pool's events, never payload. Default: none.
	Logger *slog.Logger
}

// withDefaults returns a copy with every missing value replaced.
func (c ClientConfig) withDefaults() ClientConfig {
	c.MinCapacity, c.MaxCapacity = ordered(c.MinCapacity, c.MaxCapacity, DefaultClientCapacity)
	c.MinInterval, c.MaxInterval = ordered(c.MinInterval, c.MaxInterval, DefaultInterval)
	atLeastOne(&c.BackoffMax, max(DefaultBackoffMax, c.MinInterval))
	atLeastOne(&c.DialTimeout, DefaultDialTimeout)
	atLeastOne(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	defaults.Set(&c.IdleTimeout, DefaultIdleTimeout)
	defaults.Set(&c.KeepAlive, DefaultKeepAlive)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil && c.Addr != "" {
		d := &net.Dialer{KeepAlive: -1} // the pool sets it, on what Dial returns
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	return c
}

func (c *ClientConfig) validate() error {
	if c.Dial == nil {
		return errors.New("ClientConfig.Addr is empty; name the server as host:port, or set Dial")
	}
	if c.BackoffMax < c.MinInterval {
		return fmt.Errorf("ClientConfig.BackoffMax is %v, less than MinInterval %v; raise it", c.BackoffMax, c.MinInterval)
	}
	return inRange("ClientConfig", c.MaxCapacity, map[string]time.Duration{
		"MaxInterval": c.MaxInterval, "BackoffMax": c.BackoffMax, "DialTimeout": c.DialTimeout,
		"HandshakeTimeout": c.HandshakeTimeout, "IdleTimeout": c.IdleTimeout, "KeepAlive": c.KeepAlive,
	})
}

// withDefaults returns a copy with every missing value replaced.
func (c ServerConfig) withDefaults() ServerConfig {
	atLeastOne(&c.MinCapacity, 1)
	atLeastOne(&c.MaxCapacity, max(DefaultServerCapacity, c.MinCapacity))
	c.MinCapacity, c.MaxCapacity = ordered(c.MinCapacity, c.MaxCapacity, 1)
	atLeastOne(&c.Interval, DefaultInterval)
	atLeastOne(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	atLeastOne(&c.MaxHandshakes, DefaultMaxHandshakes)
	defaults.Set(&c.IdleTimeout, DefaultIdleTimeout)
	defaults.Set(&c.KeepAlive, DefaultKeepAlive)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *ServerConfig) validate() error {
	if c.Listener == nil {
		return errors.New("ServerConfig.Listener is nil; make one with net.Listen")
	}
	if c.MaxHandshakes > MaxCapacity {
		return fmt.Errorf("ServerConfig.MaxHandshakes is %d; it must be at most %d", c.MaxHandshakes, MaxCapacity)
	}
	return inRange("ServerConfig", c.MaxCapacity, map[string]time.Duration{
		"Interval": c.Interval, "HandshakeTimeout": c.HandshakeTimeout,
		"IdleTimeout": c.IdleTimeout, "KeepAlive": c.KeepAlive,
	})
}

func inRange(config string, capacity int, times map[string]time.Duration) error {
	if capacity > MaxCapacity {
		return fmt.Errorf("%s.MaxCapacity is %d; it must be at most %d", config, capacity, MaxCapacity)
	}
	for field, d := range times {
		if d > MaxTimeout {
			return fmt.Errorf("%s.%s is %v; it must be at most %v", config, field, d, MaxTimeout)
		}
	}
	return nil
}

// ordered returns a pair of bounds in order. Of two that are missing both are the
// default, of one it is the other.
func ordered[T int | time.Duration](low, high, value T) (T, T) {
	switch {
	case low <= 0 && high <= 0:
		low, high = value, value
	case low <= 0:
		low = min(value, high)
	case high <= 0:
		high = low
	}
	return min(low, high), max(low, high)
}

// atLeastOne replaces a value that makes no sense by its default.
func atLeastOne[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
