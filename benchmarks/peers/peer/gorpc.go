package peer

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/valyala/gorpc"
)

// Gorpc is valyala/gorpc with its defaults, but without compression.
func Gorpc() Peer {
	const note = "gob encoding, which it cannot be without; compression off"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("gorpc", note, pid, func(context.Context, int) (bench.Client, error) {
			client := gorpc.NewTCPClient(addr)
			client.DisableCompression = true
			client.RequestTimeout = callTimeout
			client.LogError = gorpc.NilErrorLogger
			client.Start()
			return ready(gorpcClient{client}, nil)
		}), nil
	}
	return Peer{Name: "gorpc", Module: "github.com/valyala/gorpc", Note: note, Serve: serveGorpc, Target: target}
}

type gorpcClient struct{ client *gorpc.Client }

// Call ignores dst: gorpc allocates every reply.
func (c gorpcClient) Call(_ []byte, req *[]byte) ([]byte, error) {
	reply, err := c.client.Call(*req)
	if err != nil {
		return nil, err
	}
	body, ok := reply.([]byte)
	if !ok {
		return nil, fmt.Errorf("gorpc: the reply is a %T", reply)
	}
	return body, nil
}

func (c gorpcClient) Close() error {
	c.client.Stop()
	return nil
}

func serveGorpc(addr string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &gorpc.Server{
		Listener: gorpcListener{listener},
		Handler:  func(_ string, request any) any { return request },
		LogError: gorpc.NilErrorLogger,
	}
	if err := srv.Start(); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return &Server{Addr: listener.Addr().String(), Close: srv.Stop}, nil
}

// gorpcListener is a listener that already listens.
type gorpcListener struct{ net.Listener }

func (l gorpcListener) Init(string) error    { return nil }
func (l gorpcListener) ListenAddr() net.Addr { return l.Addr() }
func (l gorpcListener) Accept() (io.ReadWriteCloser, string, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, "", err
	}
	return conn, conn.RemoteAddr().String(), nil
}
