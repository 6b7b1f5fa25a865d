package httppool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/internal/defaults"
)

// LoadBalanceStrategy is how a server is chosen for each connection.
type LoadBalanceStrategy = balance.Strategy

// The strategies. See package balance.
const (
	RoundRobin    = balance.RoundRobin
	LeastConn     = balance.LeastConn
	TwoChoices    = balance.TwoChoices
	WeightedRound = balance.WeightedRound
	Random        = balance.Random
	IPHash        = balance.IPHash
)

// The bounds of what a pool holds.
const (
	ConnectionsLimit = 1 << 20 // of MaxTotalConnections
	ServersLimit     = 1000
)

// HTTPPoolConfig says how a pool works. The zero value of every field is its default; a negative
// one switches the feature off where that is said. NewHTTPConnectionPool copies it.
type HTTPPoolConfig struct {
	// MaxConnectionsPerServer is how many connections one server may have, open or being
	// dialled, idle ones and those of health checks included. Default 100.
	MaxConnectionsPerServer int
	// MaxTotalConnections is how many all servers together may have. Default 1000.
	MaxTotalConnections int
	// MaxIdleConnections is how many may lie idle; beyond it the one that has for longest is
	// closed. Default 50, negative: none.
	MaxIdleConnections int
	// WarmConnections is how many connections each server is to have before they are needed, those
	// in use included. Where there are fewer they are dialled in the background: when a server is
	// added or comes up, and after idle ones were closed; one at a time for each server, with a
	// pause after failures, none to a server that is out, and not beyond MaxIdleConnections,
	// MaxTotalConnections. They lie idle, nothing is sent on them, and they end like others.
	// At most MaxConnectionsPerServer. Default 0: a connection is dialled when it is needed.
	WarmConnections int
	// MaxIdleTime and IdleConnTimeout are how long a connection may lie idle; the shorter one
	// counts. One that has for longer is never handed out, and is closed with the next cleanup.
	// Defaults 5 min and 90 s, negative: none.
	MaxIdleTime, IdleConnTimeout time.Duration

	// ConnectTimeout bounds a dial, TLS handshake included. Default 10 s.
	ConnectTimeout time.Duration
	// RequestTimeout bounds a request: waiting, connecting, repetitions, and reading the body.
	// Default 30 s, negative: the request's context alone does. Streams need that.
	RequestTimeout time.Duration
	// KeepAliveTimeout is the pause between TCP keep-alive probes. Default 30 s, negative: off.
	KeepAliveTimeout time.Duration

	// HealthCheckInterval is how often a server is checked that has answered nothing meanwhile,
	// 10 % more or less at random; while it is down pauses are 5 s at most. Default 30 s,
	// negative: no checks; what calls meet still counts.
	HealthCheckInterval time.Duration
	// HealthCheckTimeout bounds a check. Default 5 s.
	HealthCheckTimeout time.Duration
	// HealthCheckPath is what a check GETs; any status from 200 to 299 passes. Default
	// "/health". A server without it is taken for one that is down. It begins with / and may have a
	// query, but no fragment.
	HealthCheckPath string
	// UnhealthyThreshold is how many failures in a row take a server out, and HealthyThreshold
	// how many successes bring it back. Defaults 3 and 2.
	UnhealthyThreshold, HealthyThreshold int

	// LoadBalanceStrategy chooses servers. Default RoundRobin.
	LoadBalanceStrategy LoadBalanceStrategy
	// MaxRetries is how often a request may be repeated, on another server if there is one.
	// One that was never written is; one that was written only if its method is idempotent or
	// it has an Idempotency-Key header, and no more than a fifth of all requests. A body
	// needs Request.GetBody. Default 3, negative: none.
	MaxRetries int
	// Name is the host by which requests mean the pool and not one of its servers, as in
	// http://pool/x. It may have a port. Default "pool".
	Name string

	// CleanupInterval is how often connections that have lain idle for too long are closed.
	// Default 1 min.
	CleanupInterval time.Duration
	// MetricsInterval is the time over which HTTPPoolMetrics.RequestsPerSecond is taken. All
	// other metrics are those of the moment. Default 10 s.
	MetricsInterval time.Duration

	// TLSConfig is for servers with https. An empty ServerName is the server's host. Its
	// NextProtos are not used: a pooled connection speaks HTTP/1.1. It is cloned.
	TLSConfig *tls.Config
	// DialContext connects; nil uses a net.Dialer. It should return when ctx ends; when it does
	// not its connection's place stays taken until it does. It runs on a goroutine of its own.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// DisableKeepAlives has each connection closed after one request, DisableCompression asks for
	// no gzip. See http.Transport.
	DisableKeepAlives, DisableCompression bool
	// MaxResponseHeaderSize bounds the header of a response, in bytes. Default 1 MiB.
	MaxResponseHeaderSize int64
	// WriteBufferSize and ReadBufferSize are of each connection, in bytes. Default 4096.
	WriteBufferSize, ReadBufferSize int

	// Logger receives what becomes of servers and connections: a server that is added, removed, down
	// or ejected, with the cause, that is up again or readmitted, and connections that Shutdown has
	// cut off; about one server a line a second at most, after the first five. Never payload, headers,
	// queries or passwords. It is called on a goroutine of its own, and may block: more than 64
	// records that wait are dropped and counted. Default: none.
	Logger *slog.Logger
}

// withDefaults returns a copy with every zero value replaced.
func (c HTTPPoolConfig) withDefaults() HTTPPoolConfig {
	defaults.Set(&c.MaxConnectionsPerServer, 100)
	defaults.Set(&c.MaxTotalConnections, 1000)
	defaults.Set(&c.MaxIdleConnections, 50)
	defaults.Set(&c.MaxIdleTime, 5*time.Minute)
	defaults.Set(&c.IdleConnTimeout, 90*time.Second)
	defaults.Set(&c.ConnectTimeout, 10*time.Second)
	defaults.Set(&c.RequestTimeout, 30*time.Second)
	defaults.Set(&c.KeepAliveTimeout, 30*time.Second)
	defaults.Set(&c.HealthCheckInterval, 30*time.Second)
	defaults.Set(&c.HealthCheckTimeout, 5*time.Second)
	defaults.Set(&c.HealthCheckPath, "/health")
	defaults.Set(&c.UnhealthyThreshold, 3)
	defaults.Set(&c.HealthyThreshold, 2)
	defaults.Set(&c.LoadBalanceStrategy, RoundRobin)
	defaults.Set(&c.MaxRetries, 3)
	defaults.Set(&c.Name, "pool")
	defaults.Set(&c.CleanupInterval, time.Minute)
	defaults.Set(&c.MetricsInterval, 10*time.Second)
	defaults.Set(&c.MaxResponseHeaderSize, 1<<20)
	defaults.Set(&c.WriteBufferSize, 4096)
	defaults.Set(&c.ReadBufferSize, 4096)
	c.TLSConfig = c.TLSConfig.Clone() // nil stays nil
	return c
}

// validate reports the first field that makes no sense. It runs after withDefaults. Strategy and
// thresholds are looked at by balance and health.
func (c *HTTPPoolConfig) validate() error {
	for _, r := range []struct {
		field         string
		value         int64
		lowest, bound int64
	}{
		{"MaxConnectionsPerServer", int64(c.MaxConnectionsPerServer), 1, ConnectionsLimit},
		{"MaxTotalConnections", int64(c.MaxTotalConnections), 1, ConnectionsLimit},
		{"MaxIdleConnections", int64(c.MaxIdleConnections), -ConnectionsLimit, ConnectionsLimit},
		{"WarmConnections", int64(c.WarmConnections), 0, int64(c.MaxConnectionsPerServer)},
		{"MaxRetries", int64(c.MaxRetries), -100, 100},
		{"MaxResponseHeaderSize", c.MaxResponseHeaderSize, 1, 1 << 30},
		{"WriteBufferSize", int64(c.WriteBufferSize), 1, 1 << 30},
		{"ReadBufferSize", int64(c.ReadBufferSize), 1, 1 << 30},
	} {
		if r.value < r.lowest || r.value > r.bound {
			return fmt.Errorf("httppool: HTTPPoolConfig.%s is %d; it must lie in %d to %d", r.field, r.value, r.lowest, r.bound)
		}
	}
	for _, d := range []struct {
		field    string
		value    time.Duration
		negative bool // allowed
	}{
		{"MaxIdleTime", c.MaxIdleTime, true},
		{"IdleConnTimeout", c.IdleConnTimeout, true},
		{"ConnectTimeout", c.ConnectTimeout, false},
		{"RequestTimeout", c.RequestTimeout, true},
		{"KeepAliveTimeout", c.KeepAliveTimeout, true},
		{"HealthCheckInterval", c.HealthCheckInterval, true},
		{"HealthCheckTimeout", c.HealthCheckTimeout, false},
		{"CleanupInterval", c.CleanupInterval, false},
		{"MetricsInterval", c.MetricsInterval, false},
	} {
		if d.value > defaults.MaxTimeout || d.value < 0 && !d.negative {
			return fmt.Errorf("httppool: HTTPPoolConfig.%s is %v; it must be positive and at most %v", d.field, d.value, defaults.MaxTimeout)
		}
	}
	if c.WarmConnections > 0 && (c.DisableKeepAlives || c.MaxIdleConnections < 0) {
		return fmt.Errorf("httppool: HTTPPoolConfig.WarmConnections is %d; "+
			"it must be 0 with DisableKeepAlives or a negative MaxIdleConnections", c.WarmConnections)
	}
	return errors.Join(checkPath(c.HealthCheckPath), checkName(c.Name))
}

// checkPath looks whether a check can ask for the path. Its error does not tell the query: there may
// be a password in it.
func checkPath(path string) error {
	if path[0] != '/' {
		return fmt.Errorf("httppool: HTTPPoolConfig.HealthCheckPath is %q; it must begin with /", withoutQuery(path))
	}
	u, err := parse("http://host" + path)
	switch {
	case err != nil:
		err = errors.Unwrap(err)
	case strings.Contains(path, "#"):
		err = errors.New("a server gets no fragment")
	case strings.Contains(u.RawQuery, " "):
		err = errors.New("a space in a query is written %20")
	default:
		return nil
	}
	return fmt.Errorf("httppool: HTTPPoolConfig.HealthCheckPath is %q; it must be a path and perhaps a query: %w",
		withoutQuery(path), err)
}

// checkName looks whether the name can be the host of a URL.
func checkName(name string) error {
	u, err := parse("http://" + name + "/")
	if err != nil || u.Host != name || u.Hostname() == "" || strings.HasSuffix(name, ":") {
		return fmt.Errorf("httppool: HTTPPoolConfig.Name is %q; it must be a host, as it stands in http://pool/x", name)
	}
	return nil
}

// idleLimit is how long a connection may lie idle, 0 for ever.
func (c *HTTPPoolConfig) idleLimit() time.Duration {
	switch a, b := c.MaxIdleTime, c.IdleConnTimeout; {
	case a < 0 && b < 0:
		return 0
	case a < 0:
		return b
	case b < 0:
		return a
	default:
		return min(a, b)
	}
}
