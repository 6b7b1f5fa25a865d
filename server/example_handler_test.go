package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/server"
	"github.com/ringwire/ringwire/taskid"
)

// client stands for any client: a connection and the frames on it. Package engine has a
// real one.
type client struct {
	net.Conn
	*framing.Writer
	*framing.Reader
}

func connect(s *server.Server) *client {
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	return &client{conn, framing.NewWriter(conn, framing.Format{}), framing.NewReader(conn, framing.Format{})}
}

// send sends requests with the IDs 1, 2, 3 ...
func (c *client) send(requests ...string) {
	for i, req := range requests {
		if err := c.WriteFrame(taskid.ID(1+i), []byte(req)); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.Writer.Flush(); err != nil {
		log.Fatal(err)
	}
}

// receive returns the ID of the next frame and its payload.
func (c *client) receive() (taskid.ID, string) {
	f, err := c.ReadFrame()
	if err != nil {
		log.Fatal(err)
	}
	return f.ID, string(f.Payload)
}

func start(cfg server.Config) *server.Server {
	cfg.Addr = "127.0.0.1:0" // any port that is free
	s, err := server.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Start(); err != nil {
		log.Fatal(err)
	}
	return s
}

// Handlers that block belong into workers: the first request waits for the second one, which
// in place would never be run.
func ExampleConfig_workers() {
	second := make(chan struct{})
	s := start(server.Config{
		Workers: 2,
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			if string(req) == "second" {
				close(second)
			}
			<-second
			return append(append(dst, "done: "...), req...), nil
		}),
	})
	defer s.Close()

	c := connect(s)
	defer c.Close()
	c.send("first", "second")
	replies := make(map[taskid.ID]string) // they come in any order
	for range 2 {
		id, reply := c.receive()
		replies[id] = reply
	}
	fmt.Println(replies[1])
	fmt.Println(replies[2])
	// Output:
	// done: first
	// done: second
}

// errNoAccount is an error of the application's.
var errNoAccount = errors.New("no such account")

// Without the extension a reply is all that a client can be told. Here the first byte of each
// says what it is.
func ExampleConfig_errorReply() {
	s := start(server.Config{
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			switch string(req) {
			case "balance of 1":
				return append(dst, "+100"...), nil
			case "bug":
				panic("a bug")
			}
			return dst, errNoAccount
		}),
		ErrorReply: func(_ *server.Conn, dst, _ []byte, err error) []byte {
			switch {
			case errors.Is(err, server.ErrOverloaded):
				return append(dst, "-try later"...)
			case errors.Is(err, errNoAccount):
				return append(append(dst, '-'), err.Error()...)
			}
			return append(dst, "-internal error"...) // a stranger need not know more
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	defer s.Close()

	c := connect(s)
	defer c.Close()
	c.send("balance of 1", "balance of 2", "bug")
	for range 3 {
		fmt.Println(c.receive())
	}
	stats := s.Stats()
	fmt.Println(stats.HandlerErrors, "error,", stats.Panics, "panic")
	// Output:
	// 00000001 +100
	// 00000002 -no such account
	// 00000003 -internal error
	// 1 error, 1 panic
}

// pair is a Handler that answers two requests at once, as a service does that writes to a
// database in batches. It holds no goroutine while it waits.
type pair struct{ waiting chan job }

type job struct {
	*server.Later
	payload []byte
}

func (p pair) Handle(r *server.Request, dst []byte) ([]byte, error) {
	p.waiting <- job{r.Later(), r.Detach()} // r is not valid any more when Handle has returned
	return dst, nil
}

func (p pair) work() {
	for first := range p.waiting {
		second := <-p.waiting
		both := fmt.Sprintf("%s and %s", first.payload, second.payload)
		_ = first.Reply([]byte(both)) // an error says that the client is gone
		_ = second.Reply([]byte(both))
	}
}

func ExampleRequest_Later() {
	p := pair{make(chan job, server.DefaultMaxInFlight)} // so that Handle, in place, does not block
	go p.work()
	defer close(p.waiting)
	s := start(server.Config{Handler: p})
	defer s.Close()

	c := connect(s)
	defer c.Close()
	c.send("one", "two")
	fmt.Println(c.receive())
	fmt.Println(c.receive())
	// Output:
	// 00000001 one and two
	// 00000002 one and two
}

// A Recorder tests a handler without a server and without a network.
func ExampleRecorder() {
	count := server.HandlerFunc(func(c *server.Conn, dst, req []byte) ([]byte, error) {
		if len(req) == 0 {
			return dst, io.ErrUnexpectedEOF
		}
		n, _ := c.Value().(int) // of this connection
		c.SetValue(n + 1)
		return fmt.Appendf(dst, "%d: %s", n+1, req), nil
	})

	rec := server.NewRecorder(count)
	defer rec.Close()
	for _, req := range []string{"a", "", "b"} {
		reply, err := rec.Call(context.Background(), []byte(req))
		fmt.Printf("%q %v\n", reply, err)
	}
	// Output:
	// "1: a" <nil>
	// "" unexpected EOF
	// "2: b" <nil>
}

// timed tells how long a handler took, and whether it failed. It recovers nothing: a panic is
// the server's, which counts and logs it and answers the request.
func timed(next server.Handler, done func(took time.Duration, err error)) server.Handler {
	return server.RequestFunc(func(r *server.Request, dst []byte) (reply []byte, err error) {
		defer func(began time.Time) { done(time.Since(began), err) }(time.Now())
		return next.Handle(r, dst)
	})
}

// authenticated lets a connection in whose first request is the secret.
func authenticated(next server.Handler, secret string) server.Handler {
	return server.RequestFunc(func(r *server.Request, dst []byte) ([]byte, error) {
		switch {
		case r.Conn().Value() != nil:
			return next.Handle(r, dst)
		case string(r.Payload()) != secret: // crypto/subtle compares in constant time
			_ = r.Conn().Close() // when this reply has been written
			return dst, &server.Error{Code: 401, Text: "who are you?"}
		}
		r.Conn().SetValue("a friend")
		return append(dst, "welcome"...), nil
	})
}

// Middleware wraps a Handler.
func ExampleHandler() {
	greet := server.HandlerFunc(func(c *server.Conn, dst, req []byte) ([]byte, error) {
		return fmt.Appendf(dst, "hello %s, you are %v", req, c.Value()), nil
	})
	calls := 0
	handler := timed(authenticated(greet, "sesame"), func(took time.Duration, err error) {
		if took >= 0 && err == nil {
			calls++
		}
	})

	for _, first := range []string{"sesame", "cabbage"} {
		rec := server.NewRecorder(handler) // a connection
		for _, req := range []string{first, "Ali"} {
			reply, err := rec.Call(context.Background(), []byte(req))
			fmt.Printf("%q %v\n", reply, err)
			if err != nil {
				break // a server would have closed it
			}
		}
		rec.Close()
	}
	fmt.Println(calls, "calls went well")
	// Output:
	// "welcome" <nil>
	// "hello Ali, you are a friend" <nil>
	// "" who are you? (code 401)
	// 2 calls went well
}

// A push is a frame that answers no request. Its ID must be none that the client has in
// flight: see Conn.Push.
func ExampleConn_Push() {
	const news = 2
	subscribers := make(chan *server.Conn, 1)
	s := start(server.Config{Handler: server.HandlerFunc(func(c *server.Conn, dst, req []byte) ([]byte, error) {
		subscribers <- c
		return append(dst, "subscribed"...), nil
	})})
	defer s.Close()

	c := connect(s)
	defer c.Close()
	c.send("subscribe")
	fmt.Println(c.receive())

	frame, err := framing.Append(nil, news, []byte("it rains"))
	if err != nil {
		log.Fatal(err)
	}
	if err := (<-subscribers).Push(frame); err != nil {
		log.Fatal(err) // the client is gone, or does not read
	}
	fmt.Println(c.receive())
	// Output:
	// 00000001 subscribed
	// 00000002 it rains
}
