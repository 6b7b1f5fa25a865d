package paired_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/ringwire/ringwire/pool/paired"
)

// Both ends in one program: the server takes a connection and names it, the client
// takes its half.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server, err := paired.NewServerPool(paired.ServerConfig{Listener: listener})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client, err := paired.NewClientPool(paired.ClientConfig{
		Addr:        listener.Addr().String(),
		MinCapacity: 5, MaxCapacity: 20,
		MinInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second,
		KeepAlive: 30 * time.Second,
		TLSMode:   paired.TLSNone,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id, near, err := server.ServerGet(ctx)
	if err != nil {
		log.Fatal(err)
	}
	far, err := client.ClientGet(ctx, id) // id has come over a channel of the program's own
	if err != nil {
		log.Fatal(err)
	}

	if _, err := near.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	message := make([]byte, 5)
	if _, err := io.ReadFull(far, message); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s through a connection with an ID of %d digits\n", message, len(id))

	// Everything that was sent has been read: both halves can be used again.
	fmt.Println(server.Put(id, near), client.Put(id, far))
	// Output:
	// hello through a connection with an ID of 16 digits
	// <nil> <nil>
}

// The manager of a pool runs by itself. Code that starts it may stay as it is.
func ExamplePool_ClientManager() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr})
	check(err)

	ended := make(chan struct{})
	go func() {
		client.ClientManager()
		close(ended)
	}()
	go server.ServerManager()

	check(client.WaitReady(context.Background()))
	fmt.Println("ready:", client.Ready())
	check(client.Close())
	<-ended
	fmt.Println("ready:", client.Ready())
	// Output:
	// ready: true
	// ready: false
}

func ExamplePool_ClientGet() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr})
	check(err)
	defer client.Close()

	// What is no ID fails at once, an unknown one when its time is over.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = client.ClientGet(ctx, "connection-id")
	fmt.Println(errors.Is(err, paired.ErrNotFound), errors.Is(err, context.DeadlineExceeded))
	_, err = client.ClientGet(ctx, "0123456789abcdef")
	fmt.Println(errors.Is(err, paired.ErrNotFound), errors.Is(err, context.DeadlineExceeded))

	id, _, err := server.ServerGet(context.Background())
	check(err)
	conn, err := client.ClientGet(context.Background(), id) // waits if it is still on its way
	check(err)
	defer conn.Close()
	fmt.Println(conn.(*paired.Conn).ID() == id)
	// Output:
	// true false
	// true true
	// true
}

func ExamplePool_ServerGet() {
	server, addr := localServer(nil)
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr})
	check(err)
	defer client.Close()

	get := func(timeout time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_, _, err := server.ServerGet(ctx)
		switch {
		case err == nil:
			fmt.Println("a connection")
		case errors.Is(err, paired.ErrClosed):
			fmt.Println("the pool is closed")
		case errors.Is(err, context.DeadlineExceeded):
			fmt.Println("none in time")
		}
	}
	get(30 * time.Second)
	get(time.Millisecond) // the client keeps one, and that is taken
	check(server.Close())
	get(30 * time.Second)
	// Output:
	// a connection
	// none in time
	// the pool is closed
}

// A connection goes back by Put if its use went well, and is closed if not. Both
// make room; to forget it is a leak.
func ExamplePool_Put() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr, MinInterval: 10 * time.Millisecond})
	check(err)
	defer client.Close()

	use := func(processData func(net.Conn) error) error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		id, conn, err := server.ServerGet(ctx)
		if err != nil {
			return fmt.Errorf("no connection: %w", err)
		}
		if err := processData(conn); err != nil {
			conn.Close()
			return err
		}
		return server.Put(id, conn)
	}
	fmt.Println(use(func(net.Conn) error { return nil }), server.Idle(), server.InUse())
	fmt.Println(use(func(net.Conn) error { return errors.New("no use") }), server.InUse())

	// A handle that was put back is dead, so a late Close harms nobody.
	id, conn, err := server.ServerGet(context.Background())
	check(err)
	check(server.Put(id, conn))
	fmt.Println(errors.Is(conn.Close(), net.ErrClosed), server.Idle())
	// Output:
	// <nil> 1 0
	// no use 0
	// true 1
}

func ExamplePool_Stats() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr, MinCapacity: 3, MaxCapacity: 9, KeepAlive: 30 * time.Second})
	check(err)
	defer client.Close()
	check(client.WaitReady(context.Background()))

	_, conn, err := client.ServerGet(context.Background())
	check(err)
	fmt.Println("ready:", client.Ready())
	fmt.Println("active:", client.Active(), "idle:", client.Idle(), "in use:", client.InUse())
	fmt.Println("capacity:", client.Capacity(), "interval:", client.Interval())

	client.AddError()
	fmt.Println("errors:", client.ErrorCount())
	client.ResetError()
	fmt.Println("errors:", client.ErrorCount(), "failed dials:", client.Stats().DialErrors)

	fmt.Println("cleaned:", client.Clean()) // those that are ready
	_, err = conn.Write([]byte("still usable"))
	fmt.Println(err)
	client.Flush() // all
	_, err = conn.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, net.ErrClosed))
	// Output:
	// ready: true
	// active: 3 idle: 2 in use: 1
	// capacity: 3 interval: 1s
	// errors: 1
	// errors: 0 failed dials: 0
	// cleaned: 2
	// <nil>
	// true
}
