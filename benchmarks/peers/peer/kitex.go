package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cloudwego/gopkg/protocol/thrift"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"github.com/cloudwego/kitex/server"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const kitexMethod = "Call"

// kitexExitWait is how long the server lingers when it ends; its default is 5 s.
const kitexExitWait = 10 * time.Millisecond

// Kitex is cloudwego/kitex with its multiplexed transport, and with messages
// written by hand the way its generator writes them.
func Kitex() Peer {
	const note = "TTHeader mux on one connection; a message with one binary field, fast codec"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("kitex", note, pid, func(context.Context, int) (bench.Client, error) {
			quiet()
			c, err := client.NewClient(kitexService(0), client.WithDestService("bench.Echo"),
				client.WithHostPorts(addr), client.WithMuxConnection(1))
			if err != nil {
				return nil, err
			}
			return ready(kitexClient{c}, nil)
		}), nil
	}
	return Peer{Name: "kitex", Module: "github.com/cloudwego/kitex", Note: note, Serve: late(serveKitex), Late: serveKitex,
		Target: target}
}

type kitexClient struct{ client client.Client }

// Call ignores dst: the reply is a part of what kitex allocates for the message.
func (c kitexClient) Call(_ []byte, req *[]byte) ([]byte, error) {
	args, result := &kitexMessage{body: *req}, &kitexMessage{}
	err := c.client.Call(context.Background(), kitexMethod, args, result)
	return result.body, err
}

// Close leaves the connection to the process's end: kitex has one pool for the
// whole process and closes what is idle in it.
func (c kitexClient) Close() error {
	if closer, ok := c.client.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func serveKitex(addr string, latency time.Duration) (*Server, error) {
	quiet()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := server.NewServer(server.WithListener(listener), server.WithMuxTransport(),
		server.WithExitWaitTime(kitexExitWait), server.WithExitSignal(func() <-chan error { return make(chan error) }))
	if err := srv.RegisterService(kitexService(latency), &kitexEcho{}); err != nil {
		_ = listener.Close()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Run()
	}()
	return &Server{Addr: listener.Addr().String(), Close: func() {
		_ = srv.Stop()
		<-ended
	}}, nil
}

type kitexEcho struct{}

// kitexService describes what kitex's generator would have written, with the handler:
// a call has a goroutine to wait in.
func kitexService(latency time.Duration) *serviceinfo.ServiceInfo {
	message := func() any { return &kitexMessage{} }
	echo := func(_ context.Context, _, args, result any) error {
		in, ok := args.(*kitexMessage)
		out, ok2 := result.(*kitexMessage)
		if !ok || !ok2 {
			return fmt.Errorf("kitex: the messages are a %T and a %T", args, result)
		}
		wait(latency)
		out.body = in.body
		return nil
	}
	return &serviceinfo.ServiceInfo{
		ServiceName:  "bench.Echo",
		HandlerType:  (*kitexEcho)(nil),
		PayloadCodec: serviceinfo.Thrift,
		Methods: map[string]serviceinfo.MethodInfo{
			kitexMethod: serviceinfo.NewMethodInfo(echo, message, message, false),
		},
		Extra: map[string]any{"PackageName": "bench"},
	}
}

// kitexMessage is a Thrift structure with one field, binary, of number 1.
type kitexMessage struct{ body []byte }

const kitexField = 1

// BLength is how many bytes FastWrite writes.
func (m *kitexMessage) BLength() int {
	return thrift.Binary.FieldBeginLength() + thrift.Binary.BinaryLength(m.body) + thrift.Binary.FieldStopLength()
}

// FastWriteNocopy writes the structure into buf; w, if it is not nil, takes
// large fields without a copy.
func (m *kitexMessage) FastWriteNocopy(buf []byte, w thrift.NocopyWriter) int {
	n := thrift.Binary.WriteFieldBegin(buf, thrift.STRING, kitexField)
	n += thrift.Binary.WriteBinaryNocopy(buf[n:], w, m.body)
	return n + thrift.Binary.WriteFieldStop(buf[n:])
}

// FastRead reads the structure from buf, and copies its field.
func (m *kitexMessage) FastRead(buf []byte) (int, error) {
	at := 0
	for {
		kind, number, n, err := thrift.Binary.ReadFieldBegin(buf[at:])
		at += n
		if err != nil || kind == thrift.STOP {
			return at, err
		}
		if number == kitexField && kind == thrift.STRING {
			m.body, n, err = thrift.Binary.ReadBinary(buf[at:])
		} else {
			n, err = thrift.Binary.Skip(buf[at:], kind)
		}
		at += n
		if err != nil {
			return at, err
		}
	}
}
