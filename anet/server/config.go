package server

import (
	"io"
	"log/slog"
	"time"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/server"
)

// The defaults of ServerConfig.
const (
	DefaultReadTimeout           = 0 * time.Second
	DefaultWriteTimeout          = 5 * time.Second
	DefaultIdleTimeout           = 0 * time.Second
	DefaultMaxConns              = 0
	DefaultShutdownTimeout       = 5 * time.Second
	DefaultKeepAliveInterval     = 30 * time.Second
	DefaultMaxConcurrentHandlers = 10000
	DefaultWriteQueueDepth       = 64
)

// What the native server takes at most.
const (
	handlersMost        = 1 << 16
	handlersPerConnMost = 1024
)

// ServerConfig says how a Server works. A zero value is the default; a negative one
// switches a timeout or limit off. NewServer copies it.
type ServerConfig struct {
	// ReadTimeout bounds the time between the first byte of a request and its last.
	// Default: none.
	ReadTimeout time.Duration
	// WriteTimeout closes a connection that takes none of its replies for so long.
	// Default 5 s.
	WriteTimeout time.Duration
	// IdleTimeout closes a connection that sends nothing for so long. Default: none.
	IdleTimeout time.Duration
	// MaxConns bounds the open connections; one more is closed once accepted.
	// Default: no bound.
	MaxConns int
	// MaxConcurrentHandlers bounds the handlers that run at the same time, at most
	// 1024 of them for one connection. Further requests wait. Default, also if
	// negative, 10,000; at most 65,536.
	MaxConcurrentHandlers int
	// ShutdownTimeout bounds how long Stop waits for requests to be finished.
	// Default 5 s.
	ShutdownTimeout time.Duration
	// KeepAliveInterval is the idle time after which TCP probes a connection.
	// Default 30 s.
	KeepAliveInterval time.Duration
	// Logger receives events, by Printf. Default: none.
	Logger anet.Logger
	// ReusePort lets several listeners share the address, among which the system
	// spreads the connections. Linux and the BSDs only; elsewhere Start fails.
	ReusePort bool
	// WriteQueueDepth is how many replies of one connection may wait to be written,
	// beyond the handlers that run; at most 1024 together. Default 64.
	WriteQueueDepth int
}

// native returns the configuration of the server below.
func (c *ServerConfig) native(handler server.Handler) server.Config {
	cfg := server.Config{
		Handler:         handler,
		Workers:         handlersMost,
		MaxConns:        -1,
		FrameTimeout:    defaults.Timeout(c.ReadTimeout, -1),
		WriteTimeout:    defaults.Timeout(c.WriteTimeout, DefaultWriteTimeout),
		IdleTimeout:     defaults.Timeout(c.IdleTimeout, -1),
		ShutdownTimeout: defaults.Timeout(c.ShutdownTimeout, DefaultShutdownTimeout),
		KeepAlive:       defaults.Timeout(c.KeepAliveInterval, DefaultKeepAliveInterval),
		Logger:          eventLog(c.Logger),
	}
	if c.MaxConns > 0 {
		cfg.MaxConns = c.MaxConns
	}
	cfg.Workers = min(positive(c.MaxConcurrentHandlers, DefaultMaxConcurrentHandlers), handlersMost)
	depth := min(positive(c.WriteQueueDepth, DefaultWriteQueueDepth), handlersPerConnMost)
	cfg.MaxInFlight = min(cfg.Workers+depth, handlersPerConnMost)
	return cfg
}

func positive(n, standard int) int {
	if n <= 0 {
		return standard
	}
	return n
}

// eventLog passes the events of the server below to a Logger, one line each. The
// time is left out, since loggers add their own.
func eventLog(to anet.Logger) *slog.Logger {
	if to == nil {
		return nil
	}
	return slog.New(slog.NewTextHandler(lineWriter{to}, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type lineWriter struct{ to anet.Logger }

var _ io.Writer = lineWriter{}

// Write is called by the slog handler with one whole line.
func (w lineWriter) Write(line []byte) (int, error) {
	w.to.Printf("%s", line[:len(line)-1])
	return len(line), nil
}
