package anet_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/anet/server"
)

// answer runs a server for an example and returns its address; end stops it. anet's
// API does not tell the port of a server that chose its own, so one is chosen here,
// which somebody else may take before the server does: then another one.
func answer(prefix string) (addr string, end func()) {
	handler := server.HandlerFunc(func(conn *server.ServerConn, request []byte) ([]byte, error) {
		return append([]byte(prefix), request...), nil
	})
	var failed error
	for range 10 {
		addr := unused()
		srv, err := server.NewServer(addr, handler, &server.ServerConfig{ShutdownTimeout: 2 * time.Second})
		if err != nil {
			log.Fatal(err)
		}
		if failed = srv.Start(); failed == nil {
			return addr, func() { _ = srv.Stop() }
		}
	}
	log.Fatal(failed)
	return "", nil
}

func unused() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A server and a client, as in anet's documents.
func Example() {
	addr, end := answer("reply to ")
	defer end()

	factory := func(addr string) (anet.PoolItem, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }
	pools := anet.NewPoolList(5, factory, []string{addr}, nil)
	for _, pool := range pools {
		defer pool.Close()
	}
	brokerCfg := &anet.BrokerConfig{
		WriteTimeout:   5 * time.Second,
		ReadTimeout:    5 * time.Second,
		QueueSize:      1000,
		OptimizeMemory: true, // Enable memory optimizations
	}
	broker := anet.NewBroker(pools, 3, nil, brokerCfg)
	// Broker.Start() is a blocking run loop; typically run it in a goroutine.
	go broker.Start()
	defer broker.Close()

	req := []byte("hello")
	resp, err := broker.Send(&req)
	fmt.Println(string(resp), err)
	// Output: reply to hello <nil>
}

// The pool tuned for a latency-sensitive program on a flaky network.
func ExampleNewPool() {
	addr, end := answer("")
	defer end()

	poolCap := uint32(10)
	config := &anet.PoolConfig{
		// Shorter dial timeout for latency-sensitive applications
		DialTimeout: 2 * time.Second,

		// Longer idle timeout for sporadic workloads
		IdleTimeout: 5 * time.Minute,

		// More frequent validation for unstable networks
		ValidationInterval: 15 * time.Second,

		// Aggressive keepalive for flaky networks
		KeepAliveInterval: 15 * time.Second,
	}
	factory := anet.NewTCPFactory(config)
	pool := anet.NewPool(poolCap, factory, addr, config)
	defer pool.Close()

	item, err := pool.Get()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pool.Len(), "of", pool.Cap())
	pool.Put(item)
	// Output: 1 of 10
}

// The broker tuned for a real-time program, by the newer of anet's documents.
func ExampleNewBroker() {
	addr, end := answer("")
	defer end()
	pools := anet.NewPoolList(4, anet.NewTCPFactory(nil), []string{addr}, nil)
	defer pools[0].Close()
	workers, logger := 4, &anet.NoopLogger{}

	config := &anet.BrokerConfig{
		WriteTimeout:   2 * time.Second, // Shorter timeout for real-time applications
		ReadTimeout:    2 * time.Second, // Shorter read timeout
		QueueSize:      5000,            // Larger queue for high throughput
		OptimizeMemory: true,            // Enable memory optimizations for performance
	}
	broker := anet.NewBroker(pools, workers, logger, config)
	go broker.Start()
	defer broker.Close()

	req := []byte("tuned")
	resp, err := broker.Send(&req)
	fmt.Println(string(resp), err)
	// Output: tuned <nil>
}

// The older of anet's documents has RequestTimeout 5 s, ShutdownTimeout 30 s and
// MaxRetries 5, which no published version of anet did. Here a context bounds the
// whole call, CloseTimeout the end; what was not sent is repeated by itself, and what
// may have been is for the caller to decide.
func ExampleNewBroker_olderDocument() {
	addr, end := answer("")
	defer end()
	pools := anet.NewPoolList(4, anet.NewTCPFactory(nil), []string{addr}, nil)
	defer pools[0].Close()

	broker := anet.NewBroker(pools, 4, nil, &anet.BrokerConfig{
		CloseTimeout:   30 * time.Second, // ShutdownTimeout
		OptimizeMemory: true,
	})
	go broker.Start()
	defer broker.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // RequestTimeout
	defer cancel()
	req := []byte("request that may be carried out twice")
	var resp []byte
	err := errors.New("not tried")
	for try := 0; err != nil && ctx.Err() == nil && try <= 5; try++ { // MaxRetries
		resp, err = broker.SendContext(ctx, &req)
	}
	fmt.Println(string(resp), err)
	// Output: request that may be carried out twice <nil>
}

// DefaultBrokerConfig and a nil config reuse the memory of requests; a literal says so.
func ExampleBrokerConfig_memory() {
	fmt.Println(anet.DefaultBrokerConfig().OptimizeMemory)
	config := &anet.BrokerConfig{
		WriteTimeout:   5 * time.Second,
		ReadTimeout:    5 * time.Second,
		QueueSize:      1000,
		OptimizeMemory: true, // Enable memory optimizations
	}
	fmt.Println(config.OptimizeMemory, (&anet.BrokerConfig{}).OptimizeMemory)
	// Output:
	// true
	// true false
}

// Requests go to three servers in turn. One that is down is passed over.
func ExampleNewPoolList() {
	one, end1 := answer("1")
	two, end2 := answer("2")
	three, end3 := answer("3")
	defer end1()
	defer end3()
	poolCap := uint32(2)
	config := anet.DefaultPoolConfig()
	factory := anet.NewTCPFactory(config)

	// Create pools for multiple backend servers
	pools := anet.NewPoolList(
		poolCap,
		factory,
		[]string{one, two, three},
		config,
	)
	for _, pool := range pools {
		defer pool.Close()
	}
	broker := anet.NewBroker(pools, 6, nil, nil)
	go broker.Start()
	defer broker.Close()

	ask := func() map[string]int {
		counts := map[string]int{}
		for range 30 {
			// What was under way on a server that ends may be lost.
			if resp, err := broker.Send(nil); err == nil {
				counts[string(resp)]++
			}
		}
		return counts
	}
	fmt.Println(ask())
	end2()
	for { // the end of the second has to arrive
		if _, down := ask()["2"]; !down {
			break
		}
	}
	fmt.Println(len(ask()), "servers answer")
	// Output:
	// map[1:10 2:10 3:10]
	// 2 servers answer
}

// Practices: a deadline for each call, and the error looked at.
func ExampleBroker_errors() {
	addr, end := answer("")
	defer end()
	pool := anet.NewPool(2, anet.NewTCPFactory(nil), addr, nil)
	defer pool.Close()
	broker := anet.NewBroker([]anet.Pool{pool}, 2, nil, nil)
	go broker.Start()

	call := func(request []byte) string {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		resp, err := broker.SendContext(ctx, &request)
		switch {
		case err == nil:
			return fmt.Sprintf("%d bytes", len(resp))
		case errors.Is(err, anet.ErrTimeout):
			return "too late"
		case errors.Is(err, anet.ErrQueueFull):
			return "send less"
		case errors.Is(err, anet.ErrMaxLenExceeded):
			return "split it"
		case errors.Is(err, anet.ErrClosingBroker), errors.Is(err, anet.ErrQuit):
			return "closed"
		case errors.Is(err, anet.ErrNoPoolsAvailable), errors.Is(err, anet.ErrClosing):
			return "no server"
		case errors.Is(err, anet.ErrInvalidMsgLength):
			return "not an anet server"
		}
		return "lost: " + err.Error()
	}
	fmt.Println(call([]byte("hello")))
	fmt.Println(call(make([]byte, 70_000)))
	broker.Close()
	fmt.Println(call(nil))
	// Output:
	// 5 bytes
	// split it
	// closed
}

// Many requests at once, without a goroutine for each.
func ExampleBroker_SendAsync() {
	addr, end := answer("re: ")
	defer end()
	pool := anet.NewPool(2, anet.NewTCPFactory(nil), addr, nil)
	defer pool.Close()
	broker := anet.NewBroker([]anet.Pool{pool}, 0, nil, &anet.BrokerConfig{Multiplex: true, OptimizeMemory: true})
	defer broker.Close()

	var inflight []<-chan anet.Response
	for _, text := range []string{"one", "two", "three"} {
		req := []byte(text)
		ch, err := broker.SendAsync(&req)
		if err != nil {
			log.Fatal(err)
		}
		inflight = append(inflight, ch)
	}
	for _, ch := range inflight {
		r := <-ch
		fmt.Println(string(r.Payload), r.Err)
	}
	// Output:
	// re: one <nil>
	// re: two <nil>
	// re: three <nil>
}

// A server of your own reads a frame, and answers with the same first four bytes.
func ExampleRead() {
	client, srv := net.Pipe()
	go func() {
		defer srv.Close()
		msg, err := anet.Read(srv)
		if err != nil {
			log.Fatal(err)
		}
		taskID, request := msg[:4], msg[4:]
		if err := anet.Write(srv, append(taskID, "got "+string(request)...)); err != nil {
			log.Fatal(err)
		}
	}()
	if err := anet.Write(client, append([]byte{0, 0, 0, 7}, "hello"...)); err != nil {
		log.Fatal(err)
	}
	msg, err := anet.Read(client)
	fmt.Println(msg[:4], string(msg[4:]), err)
	// Output: [0 0 0 7] got hello <nil>
}
