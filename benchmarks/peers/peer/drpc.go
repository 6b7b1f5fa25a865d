package peer

import (
	"context"
	"fmt"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcserver"
)

const drpcMethod = "/bench.Echo/Call"

// DRPC is storj.io/drpc: a connection carries one call at a time.
func DRPC() Peer {
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("drpc", perCaller, pid, func(_ context.Context, callers int) (bench.Client, error) {
			return dialLines(callers, func() (line, error) {
				raw, err := net.DialTimeout("tcp", addr, dialTimeout)
				if err != nil {
					return nil, err
				}
				return drpcLine{drpcconn.New(raw)}, nil
			})
		}), nil
	}
	return Peer{Name: "drpc", Module: "storj.io/drpc", Note: perCaller, Serve: serveDRPC, Target: target}
}

type drpcLine struct{ conn *drpcconn.Conn }

func (l drpcLine) call(dst, req []byte) ([]byte, error) {
	err := l.conn.Invoke(context.Background(), drpcMethod, drpcBytes{}, &req, &dst)
	return dst, err
}

func (l drpcLine) close() error { return l.conn.Close() }

func serveDRPC(addr string) (*Server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	srv := drpcserver.New(drpcEcho{})
	return serve(addr, func(l net.Listener) { _ = srv.Serve(ctx, l) }, cancel)
}

// drpcEcho is what the generated code does for a unary method, without the
// reflection of drpcmux.
type drpcEcho struct{}

func (drpcEcho) HandleRPC(stream drpc.Stream, _ string) error {
	var body []byte
	if err := stream.MsgRecv(&body, drpcBytes{}); err != nil {
		return err
	}
	if err := stream.MsgSend(&body, drpcBytes{}); err != nil {
		return err
	}
	return stream.CloseSend()
}

// drpcBytes is an encoding of *[]byte.
type drpcBytes struct{}

func (drpcBytes) Marshal(msg drpc.Message) ([]byte, error) {
	body, ok := msg.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("drpc: %T is not a *[]byte", msg)
	}
	return *body, nil
}

// MarshalAppend saves drpc a copy.
func (e drpcBytes) MarshalAppend(buf []byte, msg drpc.Message) ([]byte, error) {
	body, err := e.Marshal(msg)
	return append(buf, body...), err
}

// Unmarshal appends to what msg points to: drpc reuses buf.
func (drpcBytes) Unmarshal(buf []byte, msg drpc.Message) error {
	body, ok := msg.(*[]byte)
	if !ok {
		return fmt.Errorf("drpc: %T is not a *[]byte", msg)
	}
	*body = append(*body, buf...)
	return nil
}
