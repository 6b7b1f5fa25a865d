// Package echo is a server's handler that answers with what it was sent, if
// wanted late and in another size.
package echo

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ringwire/ringwire/server"
)

// Config says how to answer. The zero value is a plain echo.
type Config struct {
	Latency   time.Duration // before each reply; 0 is at once
	Jitter    time.Duration // added to Latency, uniform in [0, Jitter)
	ReplySize int           // bytes; the request cut, or padded with zeros; negative: its own size
}

// Validate returns an error that names the field, its value and its range.
// payloadMax is the largest reply that a frame holds.
func (c Config) Validate(payloadMax int) error {
	const longest = time.Hour
	switch {
	case c.Latency < 0 || c.Latency > longest:
		return fmt.Errorf("echo: latency %v: must be 0 to %v", c.Latency, longest)
	case c.Jitter < 0 || c.Jitter > longest:
		return fmt.Errorf("echo: jitter %v: must be 0 to %v", c.Jitter, longest)
	case c.ReplySize > payloadMax:
		return fmt.Errorf("echo: reply size %d: must be at most %d", c.ReplySize, payloadMax)
	}
	return nil
}

// Waits reports whether the handler sleeps, so that it must not run on an event
// loop.
func (c Config) Waits() bool { return c.Latency > 0 || c.Jitter > 0 }

// Handler returns the handler. It is safe for concurrent use.
func (c Config) Handler() server.Handler {
	return server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		if c.Waits() {
			time.Sleep(c.delay())
		}
		return c.reply(dst, req), nil
	})
}

func (c Config) delay() time.Duration {
	if c.Jitter == 0 {
		return c.Latency
	}
	return c.Latency + rand.N(c.Jitter)
}

func (c Config) reply(dst, req []byte) []byte {
	if c.ReplySize < 0 {
		return append(dst, req...)
	}
	dst = append(dst, req[:min(len(req), c.ReplySize)]...)
	if missing := c.ReplySize - len(req); missing > 0 {
		dst = append(dst, make([]byte, missing)...)
	}
	return dst
}
