package anet

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringwire/ringwire/engine"
)

// The errors of this package; compare them with errors.Is. They are the engine's,
// so an error of the one matches the variable of the other.
var (
	// ErrQuit is what Start returns when the broker was closed.
	ErrQuit error = engine.ErrQuit
	// ErrClosingBroker: the broker was closed before the reply came.
	ErrClosingBroker error = engine.ErrClosingBroker
	// ErrNoPoolsAvailable: the broker has no pool, or none of them has a connection
	// to give; the last cause is wrapped beside it.
	ErrNoPoolsAvailable error = engine.ErrNoPoolsAvailable
	// ErrQueueFull: as many requests are open as BrokerConfig allows.
	ErrQueueFull error = engine.ErrQueueFull
	// ErrInvalidMsgLength: the peer announced a length that no frame has. The
	// connection is closed.
	ErrInvalidMsgLength error = engine.ErrInvalidMsgLength
	// ErrMaxLenExceeded: the message does not fit a frame. Nothing was sent.
	ErrMaxLenExceeded error = engine.ErrMaxLenExceeded
	// ErrClosing: the pool was closed.
	ErrClosing error = engine.ErrClosing
)

// ErrTimeout: no reply within ReadTimeout or before the context's deadline. It is
// the standard library's error, because a context's own error is returned as it is;
// so one comparison covers both, and it is a net.Error whose Timeout reports true.
//
// It is the only name that anet v1.0.0 does not have.
var ErrTimeout = context.DeadlineExceeded

// outcome turns an error of the engine or of a pool into the one that a user of anet
// expects: its sentinels and the context's error bare, everything else wrapped.
func (b *broker) outcome(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && (errors.Is(err, ended) || errors.Is(err, context.Canceled)) {
		return ended
	}
	if b.closing.Load() && (errors.Is(err, ErrClosingBroker) || errors.Is(err, ErrQuit)) {
		return ErrClosingBroker
	}
	if errors.Is(err, ErrClosing) { // the pool's, and no other pool could help
		return fmt.Errorf("%w: %w", ErrClosingBroker, ErrClosing)
	}
	for _, bare := range []error{ErrQueueFull, ErrMaxLenExceeded} {
		if errors.Is(err, bare) {
			return bare
		}
	}
	var op *engine.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("failed to get connection: %w", op.Err)
	}
	return err
}

// lineEnded reports whether a request met a line that was just ending: the engine was
// closed already, or had put the request in the queue of a second connection.
func lineEnded(err error) bool {
	var op *engine.OpError
	return errors.As(err, &op) && !op.Written &&
		(errors.Is(err, ErrClosingBroker) || errors.Is(err, ErrQuit) || errors.Is(err, errEnded))
}
