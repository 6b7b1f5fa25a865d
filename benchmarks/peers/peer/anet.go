package peer

import (
	"context"

	"github.com/andrei-cloud/anet"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// Anet is the baseline in its fastest mode, many requests on one connection. Its
// server is a program of its own.
func Anet() Peer {
	target := func(addr string, pid int) (bench.Target, error) {
		t := bench.NewAnet(bench.Anet, addr, pid, 1)
		t.Note = anetNote
		return t, nil
	}
	return Peer{Name: bench.Anet, Module: "github.com/andrei-cloud/anet", Note: anetNote, Program: anetProgram, Target: target}
}

const anetNote = "multiplexed; its server is that of v0.3.0, because the one of v1.0.0 does not compile on linux/amd64"

var anetProgram = []string{"anet-baseline-server"}

// AnetQueue is the baseline in its default mode, in which a connection carries
// one request at a time.
func AnetQueue() Peer {
	const note = perCaller + ", and a worker of anet's for each"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("anet-queue", note, pid, func(_ context.Context, callers int) (bench.Client, error) {
			pools := anet.NewPoolList(uint32(callers), anet.NewTCPFactory(nil), []string{addr}, nil)
			cfg := anet.DefaultBrokerConfig()
			cfg.QueueSize = max(cfg.QueueSize, 2*callers)
			broker := anet.NewBroker(pools, callers, nil, cfg)
			go func() { _ = broker.Start() }()
			return ready(&anetQueueClient{pools: pools, broker: broker}, nil)
		}), nil
	}
	return Peer{Name: "anet-queue", Module: "github.com/andrei-cloud/anet", Note: note, Program: anetProgram, Target: target}
}

type anetQueueClient struct {
	pools  []anet.Pool
	broker anet.Broker
}

// Call ignores dst: anet allocates every reply.
func (c *anetQueueClient) Call(_ []byte, req *[]byte) ([]byte, error) { return c.broker.Send(req) }

func (c *anetQueueClient) Close() error {
	c.broker.Close()
	for _, p := range c.pools {
		p.Close()
	}
	return nil
}
