package peer

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

const grpcMethod = "/bench.Echo/Call"

// GRPC is grpc-go: unary calls on one HTTP/2 connection, with a codec that
// passes bytes through, so that no time goes into protocol buffers.
func GRPC() Peer { return grpcOver(nil) }

func grpcOver(id *Identity) Peer {
	const note = "unary calls; a codec that passes bytes through instead of protocol buffers"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("grpc-go", note, pid, func(context.Context, int) (bench.Client, error) {
			secrecy := insecure.NewCredentials()
			if id != nil {
				secrecy = credentials.NewTLS(id.client())
			}
			conn, err := grpc.NewClient(addr,
				grpc.WithTransportCredentials(secrecy),
				grpc.WithDefaultCallOptions(grpc.ForceCodecV2(grpcBytes{})))
			if err != nil {
				return nil, err
			}
			return ready(grpcClient{conn}, nil)
		}), nil
	}
	serve := func(addr string, latency time.Duration) (*Server, error) { return serveGRPC(id, addr, latency) }
	return Peer{Name: "grpc-go", Module: "google.golang.org/grpc", Note: note, Serve: late(serve), Late: serve, Target: target,
		Window: &Window{Name: "grpc-go stream", API: bench.Callback, Open: newGRPCStream,
			Note: "one stream in both directions, whose replies come in the order of the requests; the same codec"},
		Secured: grpcOver, Identity: id}
}

type grpcClient struct{ conn *grpc.ClientConn }

func (c grpcClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	err := c.conn.Invoke(context.Background(), grpcMethod, req, &dst)
	return dst, err
}

func (c grpcClient) Close() error { return c.conn.Close() }

func serveGRPC(id *Identity, addr string, latency time.Duration) (*Server, error) {
	// Standing workers cost less processor time here than a goroutine per call.
	options := []grpc.ServerOption{grpc.ForceServerCodecV2(grpcBytes{}), grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0)))}
	if id != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(id.server())))
	}
	srv := grpc.NewServer(options...)
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: grpcEcho(latency)}},
		Streams:     []grpc.StreamDesc{grpcStreams},
	}, nil)
	return serve(addr, func(l net.Listener) { _ = srv.Serve(l) }, srv.Stop)
}

// grpcEcho has a goroutine for each call to wait in: calls beyond the workers get one.
func grpcEcho(latency time.Duration) grpc.MethodHandler {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var body []byte
		if err := decode(&body); err != nil {
			return nil, err
		}
		wait(latency)
		return &body, nil
	}
}

// grpcBytes is a codec for *[]byte.
type grpcBytes struct{}

func (grpcBytes) Name() string { return "bytes" }

func (grpcBytes) Marshal(v any) (mem.BufferSlice, error) {
	body, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("grpc: %T is not a *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*body)}, nil
}

// Unmarshal appends to what v points to.
func (grpcBytes) Unmarshal(data mem.BufferSlice, v any) error {
	body, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("grpc: %T is not a *[]byte", v)
	}
	for _, part := range data {
		*body = append(*body, part.ReadOnlyData()...)
	}
	return nil
}
