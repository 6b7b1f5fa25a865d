package bench

import (
	"context"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// Ringwire is the name of our own system in results.
const Ringwire = "ringwire"

// dialTimeout bounds the wait for a client's first connection.
const dialTimeout = 5 * time.Second

// NewRingwire is the target that sends through package engine to the server at
// addr, which runs as process pid. Everything that bounds nothing here is left
// at its default.
func NewRingwire(addr string, pid, conns int) Target {
	return NewRingwireVariant(Ringwire, addr, pid, func(c *engine.Config) { c.ConnsPerAddr = conns })
}

// NewRingwireVariant is NewRingwire under another name and with the changes that
// adjust makes to the configuration.
func NewRingwireVariant(name, addr string, pid int, adjust func(*engine.Config)) Target {
	dial := func(ctx context.Context, callers int) (Client, error) {
		cfg := engine.Config{
			Addrs:       []string{addr},
			QueueSize:   max(1000, 2*callers),
			MaxInFlight: max(8192, 2*callers),
		}
		adjust(&cfg)
		broker, err := engine.New(cfg)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := broker.WaitReady(ctx); err != nil {
			_ = broker.Close()
			return nil, err
		}
		return ringwireClient{broker}, nil
	}
	return Target{Name: name, APIs: APIs(), PID: pid, Dial: dial}
}

type ringwireClient struct{ broker *engine.Broker }

func (c ringwireClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	return c.broker.SendInto(context.Background(), dst, *req)
}

func (c ringwireClient) Go(req []byte, fn func(reply []byte, err error)) error {
	return c.broker.Go(context.Background(), req, fn)
}

func (c ringwireClient) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	return c.broker.SendBatch(context.Background(), reqs, fn)
}

func (c ringwireClient) Close() error { return c.broker.Close() }
