package peer

import (
	"context"

	"github.com/andrei-cloud/anet"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const anetModule = "github.com/andrei-cloud/anet"

// Anet is the baseline in its fastest mode, many requests on one connection. Its
// server is a program of its own.
func Anet() Peer {
	const server = "its server is that of v1.0.0 with one missing constant added (benchmarks/peers/anetserver/go-v1)"
	p := multiplexed(bench.Anet, anetProgram, "multiplexed; "+server)
	p.ServerNote = server
	return p
}

// AnetV0 is the same client in front of the server before, which needs no change to
// compile: a reader who doubts the changed one sees both.
func AnetV0() Peer {
	return multiplexed(bench.AnetV0, []string{"anet-baseline-server"},
		"multiplexed; the client of v1.0.0 in front of the server of v0.3.0")
}

var anetProgram = []string{"anet-v1-baseline-server"}

// multiplexed is anet's client in front of the server that the program is.
func multiplexed(name string, program []string, note string) Peer {
	target := func(addr string, pid int) (bench.Target, error) {
		t := bench.NewAnet(name, addr, pid, 1)
		t.Note = note
		return t, nil
	}
	return Peer{Name: name, Module: anetModule, Note: note, Program: program, Target: target}
}

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
	return Peer{Name: "anet-queue", Module: anetModule, Note: note, Program: anetProgram, Target: target}
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
