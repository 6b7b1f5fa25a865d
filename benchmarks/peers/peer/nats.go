package peer

import (
	"context"
	"errors"
	"net"
	"strconv"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const natsSubject = "echo"

// NATS is request/reply over nats-server. The responder is a client of the
// broker in the broker's own process, connected over loopback, so a request
// takes four hops where others take two.
func NATS() Peer { return natsOver(nil) }

func natsOver(id *Identity) Peer {
	const note = "through a broker, four hops: nats-server with its responder in one process"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("nats", note, pid, func(context.Context, int) (bench.Client, error) {
			conn, err := dialNATS(id, addr)
			if err != nil {
				return nil, err
			}
			return ready(natsClient{conn}, nil)
		}), nil
	}
	serve := func(addr string) (*Server, error) { return serveNATS(id, addr) }
	return Peer{Name: "nats", Module: "github.com/nats-io/nats.go", Note: note, Serve: serve, Target: target,
		Secured: natsOver, Identity: id}
}

func dialNATS(id *Identity, addr string) (*nats.Conn, error) {
	options := []nats.Option{nats.Timeout(dialTimeout)}
	if id != nil {
		options = append(options, nats.Secure(id.client()), nats.TLSHandshakeFirst())
	}
	return nats.Connect("nats://"+addr, options...)
}

type natsClient struct{ conn *nats.Conn }

// Call ignores dst: the library allocates every reply.
func (c natsClient) Call(_ []byte, req *[]byte) ([]byte, error) {
	reply, err := c.conn.Request(natsSubject, *req, callTimeout)
	if err != nil {
		return nil, err
	}
	return reply.Data, nil
}

func (c natsClient) Close() error {
	c.conn.Close()
	return nil
}

func serveNATS(id *Identity, addr string) (*Server, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	if number == 0 {
		number = natsserver.RANDOM_PORT
	}
	options := &natsserver.Options{Host: host, Port: number, NoLog: true, NoSigs: true}
	if id != nil {
		options.TLSConfig, options.TLSHandshakeFirst = id.server(), true
		options.TLSTimeout = dialTimeout.Seconds()
	}
	srv, err := natsserver.NewServer(options)
	if err != nil {
		return nil, err
	}
	srv.Start()
	stop := func() { srv.Shutdown(); srv.WaitForShutdown() }
	if !srv.ReadyForConnections(dialTimeout) {
		stop()
		return nil, errors.New("nats: the server takes no connections at " + addr)
	}
	responder, err := dialNATS(id, srv.Addr().String())
	if err != nil {
		stop()
		return nil, err
	}
	_, err = responder.Subscribe(natsSubject, func(m *nats.Msg) { _ = m.Respond(m.Data) })
	if err == nil {
		err = responder.Flush()
	}
	if err != nil {
		responder.Close()
		stop()
		return nil, err
	}
	return &Server{Addr: srv.Addr().String(), Close: func() { responder.Close(); stop() }}, nil
}
