package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"

	"github.com/ringwire/ringwire/internal/liveness"
)

// Pool is a pool of connections to one address, made by New.
type Pool = Of[net.Conn]

// New makes a pool of connections to cfg.Addr. It is usable at once: New does not
// wait for a connection. Close it.
func New(cfg Config) (*Pool, error) {
	if cfg.Addr == "" {
		return nil, errors.New("pool: Config.Addr is empty; name the server, as host:port for tcp")
	}
	cfg = cfg.withDefaults()
	c := connector{cfg}
	if c.Dial == nil {
		// KeepAlive is set afterwards, as on what a Dial of the user's returns.
		d := &net.Dialer{KeepAlive: -1}
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return d.DialContext(ctx, cfg.Network, addr)
		}
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		if c.TLS.ServerName == "" {
			c.TLS.ServerName = hostOf(c.Addr)
		}
	}
	return newOf(Source[net.Conn]{Open: c.open, Ping: cfg.Ping}, cfg)
}

// connector is the source of New: it connects as its Config says.
type connector struct{ Config }

func (c *connector) open(ctx context.Context) (net.Conn, error) {
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := liveness.KeepAlive(nc, c.KeepAlive); err != nil {
		nc.Close()
		return nil, err
	}
	if c.TLS != nil {
		tc := tls.Client(nc, c.TLS)
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			if r, ok := nc.(releaser); ok {
				r.Release()
			}
			return nil, c.unsecured(err)
		}
		nc = tc
	}
	if c.Greet != nil {
		if err := c.greet(ctx, nc); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return nc, nil
}

// releaser is a connection that holds memory, and gives it back when nobody uses it any more.
type releaser interface{ Release() }

// unsecured explains why a TLS handshake has failed. A server that speaks something else
// mostly hangs up without a word.
func (c *connector) unsecured(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("TLS handshake: %w; does the server at %s speak TLS?", err, c.Addr)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

// greet calls the user's function, which fails like dial's.
func (c *connector) greet(ctx context.Context, nc net.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("Config.Greet panicked: %v", v)
		}
	}()
	return c.Greet(ctx, nc)
}

// dial calls the user's function. One that panics, or returns nothing, has failed like
// one that returns an error: the Get that waits for a connection is told.
func (c *connector) dial(ctx context.Context) (nc net.Conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			nc, err = nil, fmt.Errorf("Config.Dial panicked: %v", v)
		}
	}()
	nc, err = c.Dial(ctx, c.Addr)
	if err == nil && isNil(nc) {
		return nil, errors.New("Config.Dial returned neither a connection nor an error")
	}
	return nc, err
}

// isNil reports whether there is no connection: a nil pointer in the interface is none.
func isNil(nc net.Conn) bool {
	v := reflect.ValueOf(nc)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
