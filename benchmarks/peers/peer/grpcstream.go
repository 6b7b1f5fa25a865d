package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"google.golang.org/grpc"
)

const grpcStreamMethod = "/bench.Echo/Stream"

// grpcStreams is a method that answers each message of a stream, in order.
var grpcStreams = grpc.StreamDesc{StreamName: "Stream", Handler: grpcEchoStream, ServerStreams: true, ClientStreams: true}

func grpcEchoStream(_ any, s grpc.ServerStream) error {
	for {
		var body []byte // a new one: the last is the transport's until it is sent
		if err := s.RecvMsg(&body); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := s.SendMsg(&body); err != nil {
			return err
		}
	}
}

// grpcStream has its requests in flight on one stream. One goroutine receives, and runs the callbacks.
type grpcStream struct {
	grpcClient
	stream  grpc.ClientStream
	cancel  context.CancelFunc
	ended   chan struct{} // closed when nothing is received any more
	pending chan func(reply []byte, err error)

	mu  sync.Mutex // keeps the order of requests and callbacks the same
	err error      // why no more requests are sent
}

func newGRPCStream(c bench.Client, callers int) (bench.Client, error) {
	client, ok := c.(grpcClient)
	if !ok {
		return nil, fmt.Errorf("grpc-go: %T is not its client", c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := client.conn.NewStream(ctx, &grpcStreams, grpcStreamMethod)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &grpcStream{grpcClient: client, stream: stream, cancel: cancel, ended: make(chan struct{}),
		pending: make(chan func([]byte, error), callers)}
	go s.receive()
	return s, nil
}

// Go does not wait for room: there are no more callbacks than callers.
func (s *grpcStream) Go(req []byte, fn func(reply []byte, err error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if err := s.stream.SendMsg(&req); err != nil {
		return err
	}
	s.pending <- fn
	return nil
}

func (s *grpcStream) receive() {
	defer close(s.ended)
	var reply []byte
	for {
		reply = reply[:0]
		if err := s.stream.RecvMsg(&reply); err != nil {
			s.fail(err)
			return
		}
		select {
		case fn := <-s.pending: // at once, or when the Go that has sent it returns
			fn(reply, nil)
		case <-s.stream.Context().Done():
		}
	}
}

// fail ends what is in flight.
func (s *grpcStream) fail(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	for {
		select {
		case fn := <-s.pending:
			fn(nil, err)
		default:
			return
		}
	}
}

func (s *grpcStream) Close() error {
	s.cancel()
	<-s.ended
	return s.grpcClient.Close()
}
