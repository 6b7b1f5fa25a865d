package paired_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/pool/paired"
)

// A Dial of one's own sees every attempt. The pool counts those that fail, pauses
// between them, and tells the reason of the last one.
func ExampleClientConfig_dial() {
	logger := log.New(os.Stdout, "POOL: ", 0)
	first := make(chan struct{}, 1)
	client, err := paired.NewClientPool(paired.ClientConfig{
		Addr:        "example.com:8080",
		MinInterval: time.Minute, BackoffMax: time.Minute,
		Dial: func(_ context.Context, addr string) (net.Conn, error) {
			err := errors.New("the network is down")
			select {
			case first <- struct{}{}:
				logger.Printf("Connection to %s failed: %v", addr, err)
			default:
			}
			return nil, err
		},
	})
	check(err)
	defer client.Close()
	until(func() bool { return client.ErrorCount() > 0 })

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, _, err = client.ServerGet(ctx)
	fmt.Println(err)
	// Output:
	// POOL: Connection to example.com:8080 failed: the network is down
	// paired: get: context deadline exceeded (last failure: dial example.com:8080: the network is down)
}

// The pool ends its dials by their context when it closes. A context of the
// program's can end them as well.
func ExampleClientConfig_dialContext() {
	program, cancel := context.WithCancel(context.Background())
	dialling := make(chan struct{}, 1)
	client, err := paired.NewClientPool(paired.ClientConfig{
		DialTimeout: 5 * time.Second, MinInterval: time.Minute, BackoffMax: time.Minute,
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case dialling <- struct{}{}:
			default:
			}
			select { // stands for net.Dialer.DialContext, to an address that does not answer
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-program.Done():
				return nil, errors.New("the program ends")
			}
		},
	})
	check(err)
	<-dialling
	cancel()
	until(func() bool { return client.ErrorCount() > 0 })
	_, _, err = client.ServerGet(program)
	fmt.Println(err)
	fmt.Println(client.Close())
	// Output:
	// paired: get: context canceled (last failure: dial : the program ends)
	// <nil>
}

// One pool a server, taken in turn.
func ExampleNewClientPool_severalServers() {
	pools := make([]*paired.Pool, 3)
	for i := range pools {
		server, addr := localServer(nil)
		defer server.Close()
		client, err := paired.NewClientPool(paired.ClientConfig{
			Addr:        addr,
			MinCapacity: 5, MaxCapacity: 20,
			MinInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second,
		})
		check(err)
		pools[i] = client
	}
	var counter atomic.Uint32 // unsigned: it wraps without a negative index
	nextPool := func() *paired.Pool { return pools[counter.Add(1)%uint32(len(pools))] }

	servers := make(map[string]int)
	for range 6 {
		pool := nextPool()
		id, conn, err := pool.ServerGet(context.Background())
		check(err)
		servers[conn.RemoteAddr().String()]++
		check(pool.Put(id, conn))
	}
	for _, times := range servers {
		fmt.Println(times)
	}
	for _, pool := range pools {
		check(pool.Close())
	}
	// Output:
	// 2
	// 2
	// 2
}

// Settings for different needs. The least capacity is the usual load, the most one
// and a half times the peak.
func ExampleClientConfig() {
	const usual, peak = 100, 100
	presets := []paired.ClientConfig{
		// A web service.
		{MinCapacity: usual, MaxCapacity: peak * 3 / 2, MinInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, KeepAlive: 30 * time.Second},
		// Much traffic, short delays: dead connections are noticed early.
		{MinCapacity: 50, MaxCapacity: 200, MinInterval: 100 * time.Millisecond, MaxInterval: time.Second, KeepAlive: 15 * time.Second},
		// Batches: few connections that last.
		{MinCapacity: 5, MaxCapacity: 20, MinInterval: 2 * time.Second, MaxInterval: 10 * time.Second, KeepAlive: 60 * time.Second},
		// Development.
		{MinCapacity: 2, MaxCapacity: 5, MinInterval: time.Second, MaxInterval: 3 * time.Second, KeepAlive: 30 * time.Second},
	}
	cert, roots, _ := selfSigned("localhost")
	for _, config := range presets {
		server, addr := localServer(servedBy(cert))
		config.Addr, config.TLSMode = addr, paired.TLSVerified
		config.TLS, config.ServerName = trusting(roots), "localhost"
		config.DialTimeout = 10 * time.Second // a network that is slow to connect
		client, err := paired.NewClientPool(config)
		check(err)
		check(client.WaitReady(context.Background()))
		fmt.Println(client.Capacity() == config.MinCapacity, client.Interval() >= config.MinInterval)
		check(client.Close())
		check(server.Close())
	}
	// Output:
	// true true
	// true true
	// true true
	// true true
}

// The log names connections by their IDs at level Debug, and failures at level
// Warn, each kind at most once a second.
func ExampleClientConfig_logger() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	client, err := paired.NewClientPool(paired.ClientConfig{
		Addr: "example.com:8080", Logger: logger, MinInterval: time.Minute, BackoffMax: time.Minute,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused") },
	})
	check(err)
	until(func() bool { return client.ErrorCount() > 0 })
	check(client.Close())
	// Output:
	// level=WARN msg="paired: cannot dial" peer=example.com:8080 cause="dial example.com:8080: refused" suppressed=0
}
