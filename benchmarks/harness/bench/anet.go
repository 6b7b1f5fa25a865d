package bench

import (
	"context"
	"slices"

	"github.com/andrei-cloud/anet"
)

// Names of the baselines in results: anet's client, which is the same for all, with
// a server of anet's.
const (
	Anet   = "anet" // where one is meant: that of v1.0.0
	AnetV1 = "anet-v1.0.0"
	AnetV0 = "anet-v0.3.0"
)

// isBaseline tells whether the others are compared with the system.
func isBaseline(system string) bool {
	return slices.Contains([]string{Anet, AnetV1, AnetV0}, system)
}

// NewAnet is the target that sends through anet's client, in its fastest mode,
// to anet's server at addr, which runs as process pid: multiplexed connections,
// pooled memory, and as many requests in flight as there are callers. The name
// is one of those above.
func NewAnet(name, addr string, pid, conns int) Target {
	return newAnet(name, []Server{{addr, pid}}, conns, unbounded)
}

// newAnet has a pool for each server.
func newAnet(name string, servers []Server, conns int, calls calling) Target {
	addrs, pids := addressesOf(servers)
	dial := func(_ context.Context, callers int) (Client, error) {
		pools := anet.NewPoolList(uint32(conns), anet.NewTCPFactory(nil), addrs, nil)
		cfg := anet.DefaultBrokerConfig()
		cfg.Multiplex = true
		cfg.OptimizeMemory = true
		cfg.MaxInflightPerConn = max(cfg.MaxInflightPerConn, 2*callers)
		if calls == ownTimeout {
			cfg.ReadTimeout = callLimit
		}
		broker := anet.NewBroker(pools, 0, nil, cfg)
		go func() { _ = broker.Start() }()
		client := &anetClient{pools: pools, broker: broker}
		// The client dials on demand, and callers that wait for another one's
		// dial wait for ever when it fails: the first request of each pool goes alone.
		for range pools {
			if _, err := broker.Send(new([]byte)); err != nil {
				_ = client.Close()
				return nil, err
			}
		}
		return bounded(client, calls), nil
	}
	return Target{Name: name, APIs: []API{Blocking, Batch},
		PID: pids[0], MorePIDs: pids[1:], Dial: dial}
}

type anetClient struct {
	pools  []anet.Pool
	broker anet.Broker
	// replies are the channels of SendBatch, which one goroutine at a time uses.
	replies []<-chan anet.Response
}

// Call ignores dst: anet allocates every reply.
func (c *anetClient) Call(_ []byte, req *[]byte) ([]byte, error) { return c.broker.Send(req) }

func (c *anetClient) callContext(ctx context.Context, _ []byte, req *[]byte) ([]byte, error) {
	return c.broker.SendContext(ctx, req)
}

// SendBatch submits all requests and then takes the replies in order: the
// nearest thing to a batch that anet has.
func (c *anetClient) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	var first error
	c.replies = c.replies[:0]
	for i := range reqs {
		reply, err := c.broker.SendAsync(&reqs[i])
		if err != nil {
			reply = nil
			fn(i, nil, err)
			first = firstError(first, err)
		}
		c.replies = append(c.replies, reply)
	}
	for i, replies := range c.replies {
		if replies == nil {
			continue
		}
		reply := <-replies
		fn(i, reply.Payload, reply.Err)
		first = firstError(first, reply.Err)
	}
	return first
}

func firstError(first, next error) error {
	if first != nil {
		return first
	}
	return next
}

func (c *anetClient) Close() error {
	c.broker.Close()
	for _, p := range c.pools {
		p.Close()
	}
	return nil
}
