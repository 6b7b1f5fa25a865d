package engine

import (
	"errors"
	"fmt"
)

// errReplaced: too many requests on the connection were given up unanswered.
var errReplaced = errors.New("too many requests timed out unanswered; connection replaced")

// route picks the connection for the next request: in turn, those that are up
// first, then those that are being dialled. It returns nil when every link backs
// off.
func (b *Broker) route() *conn {
	if len(b.links) == 1 {
		return b.links[0].current.Load()
	}
	turn := b.turn.Add(1)
	var dialling *conn
	for i := range uint64(len(b.links)) {
		c := b.links[(turn+i)%uint64(len(b.links))].current.Load()
		if c == nil {
			continue
		}
		if c.up.Load() {
			return c
		}
		if dialling == nil {
			dialling = c
		}
	}
	return dialling
}

// downError tells why there is no connection.
func (b *Broker) downError() error {
	if err := b.stateError(); err != nil {
		return err
	}
	for _, l := range b.links {
		if last := l.lastErr.Load(); last != nil {
			return &OpError{Op: "dial", Addr: l.addr, Err: joinErrors(ErrNoPoolsAvailable, last.Err)}
		}
	}
	return &OpError{Op: "dial", Err: ErrNoPoolsAvailable}
}

// joinErrors wraps both errors in one line of text.
func joinErrors(a, b error) error {
	return fmt.Errorf("%w: %w", a, b)
}
