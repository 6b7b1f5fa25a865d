package peer

import (
	"context"
	"net"

	"github.com/lesismal/arpc"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const arpcMethod = "/echo"

// ARPC is lesismal/arpc with its defaults, which batch what is sent and received.
func ARPC() Peer { return arpcOver(nil) }

func arpcOver(id *Identity) Peer {
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("arpc", "", pid, func(context.Context, int) (bench.Client, error) {
			quiet()
			client, err := arpc.NewClient(func() (net.Conn, error) { return id.Dial(addr) })
			if err != nil {
				return nil, err
			}
			return ready(arpcClient{client}, nil)
		}), nil
	}
	serve := func(addr string) (*Server, error) { return serveARPC(id, addr) }
	return Peer{Name: "arpc", Module: "github.com/lesismal/arpc", Serve: serve, Target: target, Secured: arpcOver, Identity: id,
		Window: &Window{Name: "arpc CallAsync", API: bench.Callback}}
}

type arpcClient struct{ client *arpc.Client }

// Call ignores dst: arpc allocates every reply.
func (c arpcClient) Call(_ []byte, req *[]byte) ([]byte, error) {
	var reply []byte
	err := c.client.Call(arpcMethod, *req, &reply, callTimeout)
	return reply, err
}

// Go has a timer for each call, which CallAsync cannot be without.
func (c arpcClient) Go(req []byte, fn func(reply []byte, err error)) error {
	return c.client.CallAsync(arpcMethod, req, func(ctx *arpc.Context, err error) {
		if err != nil {
			fn(nil, err)
			return
		}
		fn(ctx.Body(), nil)
	}, callTimeout)
}

func (c arpcClient) Close() error {
	c.client.Stop()
	return nil
}

func serveARPC(id *Identity, addr string) (*Server, error) {
	quiet()
	srv := arpc.NewServer()
	srv.Handler.Handle(arpcMethod, func(ctx *arpc.Context) { _ = ctx.Write(ctx.Body()) })
	// The end of its listener ends it; its Stop has a data race with its loop.
	return serve(addr, func(l net.Listener) { _ = srv.Serve(id.over(l)) }, func() {})
}
