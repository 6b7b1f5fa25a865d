package health

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Probe looks whether a server is there. It returns nil if it is, ErrNoVerdict if that could not
// be found out for a reason that is not the server's, else why it is not. It should return when
// ctx ends; Run does not wait for it longer than Timeout, and does not call it again before it
// has returned.
type Probe func(ctx context.Context) error

// ErrNoVerdict is a probe's that has learnt nothing. It counts as nothing.
var ErrNoVerdict = errors.New("health: probe without a verdict")

// Connect returns a Probe that connects and closes. A server passes it that accepts, also one that
// hangs: where the protocol allows, Ping proves more.
func Connect(network, addr string) Probe {
	var d net.Dialer
	return Dial(func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, addr) })
}

// Dial is Connect with a dial function.
func Dial(dial func(ctx context.Context) (net.Conn, error)) Probe {
	return func(ctx context.Context) error {
		nc, err := dial(ctx)
		if err != nil {
			return err
		}
		return nc.Close()
	}
}

// Ping returns a Probe that sends payload by call and has check look at the reply, which is
// check's until it returns. Without check any reply passes. call must not keep payload.
func Ping(
	call func(ctx context.Context, payload []byte) (reply []byte, err error),
	payload []byte, check func(reply []byte) error,
) Probe {
	return func(ctx context.Context) error {
		reply, err := call(ctx, payload)
		if err != nil || check == nil {
			return err
		}
		if err := check(reply); err != nil {
			return fmt.Errorf("health: wrong reply to the ping: %w", err)
		}
		return nil
	}
}
