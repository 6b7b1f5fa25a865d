package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// echoServer stands for any server that speaks the frame: it returns what it
// receives, which for a frame is a valid reply.
func echoServer() (addr string, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				io.Copy(nc, nc)
			}()
		}
	}()
	return ln.Addr().String(), func() { ln.Close() }
}

func ExampleBroker_Send() {
	addr, stop := echoServer()
	defer stop()

	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	reply, err := b.Send(context.Background(), []byte("hello"))
	fmt.Println(string(reply), err)
	// Output: hello <nil>
}

func ExampleBroker_SendInto() {
	addr, stop := echoServer()
	defer stop()
	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	buf := make([]byte, 0, 1024) // used again for every reply
	for _, req := range []string{"one", "two"} {
		buf, err = b.SendInto(context.Background(), buf[:0], []byte(req))
		if err != nil {
			panic(err)
		}
		fmt.Println(string(buf))
	}
	// Output:
	// one
	// two
}

func ExampleBroker_Go() {
	addr, stop := echoServer()
	defer stop()
	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	done := make(chan string, 1)
	err = b.Go(context.Background(), []byte("hello"), func(reply []byte, err error) {
		done <- fmt.Sprint(string(reply), " ", err) // reply is ours only until we return
	})
	if err != nil {
		panic(err) // fn will not run
	}
	fmt.Println(<-done)
	// Output: hello <nil>
}

func ExampleBroker_SendBatch() {
	addr, stop := echoServer()
	defer stop()
	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	replies := make([]string, 3)
	err = b.SendBatch(context.Background(), [][]byte{[]byte("a"), []byte("b"), []byte("c")},
		func(i int, reply []byte, err error) {
			if err == nil {
				replies[i] = string(reply)
			}
		})
	fmt.Println(replies, err)
	// Output: [a b c] <nil>
}

func ExampleCall() {
	addr, stop := echoServer()
	defer stop()
	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	// A second for this call. It may run twice: if its connection is lost, or its reply
	// takes ReadTimeout, it goes to another server.
	once := engine.Call{Timeout: time.Second, Idempotent: true}
	reply, err := b.Send(context.Background(), []byte("balance"), once)
	fmt.Println(string(reply), err)
	// Output: balance <nil>
}

// upper wraps any client of the broker's calls.
type upper struct{ engine.Client }

func (u upper) Send(ctx context.Context, req []byte, opts ...engine.Call) ([]byte, error) {
	reply, err := u.Client.Send(ctx, req, opts...)
	return bytes.ToUpper(reply), err
}

func ExampleClient() {
	addr, stop := echoServer()
	defer stop()
	b, err := engine.New(engine.Config{Addrs: []string{addr}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	var client engine.Client = upper{b}
	reply, err := client.Send(context.Background(), []byte("hello"))
	fmt.Println(string(reply), err)
	// Output: HELLO <nil>
}

func ExampleSafeToRetry() {
	b, err := engine.New(engine.Config{
		Addrs: []string{"127.0.0.1:1"}, // nobody listens there
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		},
	})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = b.Send(ctx, []byte("pay 100"))
	fmt.Println(engine.SafeToRetry(err))
	// Output: true
}
