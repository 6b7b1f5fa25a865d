// Command example has a broker follow servers that register themselves in etcd.
//
//	etcd &
//	go run ./example -etcd 127.0.0.1:2379
//
// It starts two servers, each of which puts its key with a lease and keeps that alive, and a broker
// that finds them; then it takes one of them away.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/resolve"
	"github.com/ringwire/ringwire/resolve/etcd"
	"github.com/ringwire/ringwire/server"
)

func main() {
	addr := flag.String("etcd", "127.0.0.1:2379", "HOST:PORT of etcd")
	prefix := flag.String("prefix", "ringwire/example/", "where the servers stand in etcd")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout, *addr, *prefix); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, addr, prefix string) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{addr}, DialTimeout: 5 * time.Second, DialKeepAliveTime: 10 * time.Second,
		Logger: zap.NewNop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	a, err := register(ctx, client, prefix)
	if err != nil {
		return err
	}
	defer a.stop()
	b, err := register(ctx, client, prefix)
	if err != nil {
		return err
	}
	defer b.stop()

	r, err := etcd.New(etcd.Config{Client: client, Prefix: prefix})
	if err != nil {
		return err
	}
	first, err := resolve.First(ctx, r)
	if err != nil {
		return err
	}
	broker, err := engine.New(engine.Config{Addrs: resolve.Addrs(first)})
	if err != nil {
		return err
	}
	defer broker.Close()
	following, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = resolve.Follow(following, r, broker, resolve.FollowConfig{
			Have: first, OnError: func(err error) { log.Print(err) },
		})
	}()
	defer func() {
		end()
		<-ended // before the client of etcd is closed
	}()

	if err := until(ctx, broker, a.name, b.name); err != nil {
		return err
	}
	fmt.Fprintln(out, "both servers answer")
	a.stop()
	for len(broker.AddrStats()) > 1 {
		if err := pause(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "one has left")
	return until(ctx, broker, b.name)
}

// until sends requests until each server has answered one.
func until(ctx context.Context, broker *engine.Broker, names ...string) error {
	missing := make(map[string]bool)
	for _, name := range names {
		missing[name] = true
	}
	for len(missing) > 0 {
		reply, err := broker.Send(ctx, nil)
		if err != nil {
			return err
		}
		delete(missing, string(reply))
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errors.New("the server that stopped is still there")
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// registered is a server that stands in etcd while it runs.
type registered struct {
	name  string
	s     *server.Server
	leave func()
}

// register starts a server that replies with its own address, and puts that into etcd. The lease is
// for when the process dies: then the key goes after ten seconds.
func register(ctx context.Context, client *clientv3.Client, prefix string) (*registered, error) {
	r := new(registered)
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
		func(_ *server.Conn, dst, _ []byte) ([]byte, error) { return append(dst, r.name...), nil })})
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	r.s, r.name = s, s.Addr().String()
	r.leave = func() {}
	lease, err := client.Grant(ctx, 10)
	if err == nil {
		_, err = client.Put(ctx, prefix+r.name, `{"weight": 1}`, clientv3.WithLease(lease.ID))
	}
	if err != nil {
		r.stop()
		return nil, err
	}
	alive, end := context.WithCancel(ctx)
	r.leave = func() {
		end()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = client.Revoke(ctx, lease.ID) // the key goes with its lease
	}
	answers, err := client.KeepAlive(alive, lease.ID)
	if err != nil {
		r.stop()
		return nil, err
	}
	go func() {
		for range answers { // they have to be read
		}
	}()
	return r, nil
}

// stop takes the server out of etcd first, so that the brokers leave it, and then answers what it
// has been asked.
func (r *registered) stop() {
	if r.leave == nil {
		return
	}
	r.leave()
	r.leave = nil
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.s.Shutdown(ctx)
}
