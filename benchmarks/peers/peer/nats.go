package peer

import (
	"context"
	"errors"
	"fmt"
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
		Window:  &Window{Name: "nats PublishRequest", Note: note + "; replies come to one inbox", API: bench.Callback, Open: newNATSWindow},
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

// natsWindow publishes requests whose replies come to one subscription, each to a subject of its own.
type natsWindow struct {
	natsClient
	inbox string // what all subjects begin with
	lines []natsLine
	free  chan int // lines without a request; its capacity is that of all
}

// natsLine has one request at a time.
type natsLine struct {
	subject string
	fn      func(reply []byte, err error) // nil: no request is in flight
}

func newNATSWindow(c bench.Client, callers int) (bench.Client, error) {
	client, ok := c.(natsClient)
	if !ok {
		return nil, fmt.Errorf("nats: %T is not its client", c)
	}
	w := &natsWindow{natsClient: client, inbox: client.conn.NewInbox() + ".",
		lines: make([]natsLine, callers), free: make(chan int, callers)}
	for i := range w.lines {
		w.lines[i].subject = w.inbox + strconv.Itoa(i)
		w.free <- i
	}
	_, err := client.conn.Subscribe(w.inbox+"*", w.answered)
	return w, err
}

// Go does not wait: there are as many lines as callers.
func (w *natsWindow) Go(req []byte, fn func(reply []byte, err error)) error {
	i := <-w.free
	w.lines[i].fn = fn
	err := w.conn.PublishRequest(natsSubject, w.lines[i].subject, req)
	if err != nil {
		w.lines[i].fn = nil
		w.free <- i
	}
	return err
}

// answered gives the line back before the callback sends the next request.
func (w *natsWindow) answered(m *nats.Msg) {
	i, err := strconv.Atoi(m.Subject[len(w.inbox):])
	if err != nil || i < 0 || i >= len(w.lines) || w.lines[i].fn == nil {
		return // it answers nothing of ours
	}
	fn := w.lines[i].fn
	w.lines[i].fn = nil
	w.free <- i
	if len(m.Data) == 0 {
		fn(nil, nats.ErrNoResponders) // which the broker says without a body
		return
	}
	fn(m.Data, nil)
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
