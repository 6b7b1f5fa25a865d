package peer

import (
	"context"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"
)

const rpcxPath, rpcxMethod = "Echo", "Call"

// RPCX is smallnest/rpcx: one client, the codec that passes bytes through, and a
// handler without reflection.
func RPCX() Peer {
	const note = "the codec that passes bytes through"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("rpcx", note, pid, func(context.Context, int) (bench.Client, error) {
			quiet()
			option := client.DefaultOption
			option.SerializeType = protocol.SerializeNone
			option.ConnectTimeout = dialTimeout
			c := client.NewClient(option)
			if err := c.Connect("tcp", addr); err != nil {
				return nil, err
			}
			return ready(rpcxClient{c}, nil)
		}), nil
	}
	return Peer{Name: "rpcx", Module: "github.com/smallnest/rpcx", Note: note, Serve: serveRPCX, Target: target}
}

type rpcxClient struct{ client *client.Client }

// Call ignores dst: rpcx allocates every reply.
func (c rpcxClient) Call(_ []byte, req *[]byte) ([]byte, error) {
	var reply []byte
	err := c.client.Call(context.Background(), rpcxPath, rpcxMethod, req, &reply)
	return reply, err
}

func (c rpcxClient) Close() error { return c.client.Close() }

func serveRPCX(addr string) (*Server, error) {
	quiet()
	srv := server.NewServer()
	srv.AddHandler(rpcxPath, rpcxMethod, func(ctx *server.Context) error {
		return ctx.Write(ctx.Payload())
	})
	return serve(addr, func(l net.Listener) { _ = srv.ServeListener("tcp", l) }, func() { _ = srv.Close() })
}
