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
	return newRingwire(name, []Server{{addr, pid}}, adjust,
		func(c ringwireClient) Client { return c })
}

// ringwire is our target under a condition.
func (e *Everyday) ringwire(name string, servers []Server, conns int, cond condition) Target {
	adjust := func(c *engine.Config) {
		c.ConnsPerAddr, c.BusyPoll, c.TLS = conns, e.BusyPoll, e.TLS
		if cond.setup.NoPolling {
			c.BusyPoll = -1
		}
	}
	return newRingwire(name, servers, adjust, func(c ringwireClient) Client {
		if cond.calls == ownTimeout {
			return timeoutClient{c}
		}
		return bounded(c, cond.calls)
	})
}

// newRingwire has the client that wrap makes.
func newRingwire(
	name string, servers []Server, adjust func(*engine.Config), wrap func(ringwireClient) Client,
) Target {
	addrs, pids := addressesOf(servers)
	dial := func(ctx context.Context, callers int) (Client, error) {
		cfg := engine.Config{
			Addrs:       addrs,
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
		return wrap(ringwireClient{broker}), nil
	}
	return Target{Name: name, APIs: APIs(), PID: pids[0], MorePIDs: pids[1:], Dial: dial}
}

type ringwireClient struct{ broker *engine.Broker }

func (c ringwireClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	return c.broker.SendInto(context.Background(), dst, *req)
}

func (c ringwireClient) callContext(ctx context.Context, dst []byte, req *[]byte) ([]byte, error) {
	return c.broker.SendInto(ctx, dst, *req)
}

func (c ringwireClient) Go(req []byte, fn func(reply []byte, err error)) error {
	return c.broker.Go(context.Background(), req, fn)
}

func (c ringwireClient) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	return c.broker.SendBatch(context.Background(), reqs, fn)
}

func (c ringwireClient) Close() error { return c.broker.Close() }

// Broker is the client's broker, for a measurement that reads its statistics.
func (c ringwireClient) Broker() *engine.Broker { return c.broker }

// timeoutClient bounds each call without a context of its own.
type timeoutClient struct{ ringwireClient }

func (c timeoutClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	return c.broker.SendInto(context.Background(), dst, *req, engine.Call{Timeout: callLimit})
}
