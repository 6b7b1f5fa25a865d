package pool_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringwire/ringwire/pool"
)

// echoServer answers with what it gets. stop ends it.
func echoServer() (addr string, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				_, _ = io.Copy(nc, nc)
			}()
		}
	}()
	return ln.Addr().String(), func() { ln.Close(); <-done }
}

// ask sends a line and returns the answer.
func ask(ctx context.Context, p *pool.Pool, line string) (string, error) {
	nc, err := p.GetContext(ctx)
	if err != nil {
		return "", err
	}
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return "", errors.Join(err, p.Release(nc))
	}
	if _, err := fmt.Fprintln(nc, line); err != nil {
		return "", errors.Join(err, p.Release(nc)) // its state is unknown
	}
	answer, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		return "", errors.Join(err, p.Release(nc))
	}
	return answer, p.Put(nc) // everything was read: it can be used again
}

func Example() {
	addr, stop := echoServer()
	defer stop()
	p, err := pool.New(pool.Config{Addr: addr, MaxConns: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, line := range []string{"first", "second"} {
		answer, err := ask(ctx, p, line)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(answer)
	}
	fmt.Println("connections opened:", p.Stats().Opened)
	// Output:
	// first
	// second
	// connections opened: 1
}

// A pool that keeps connections ready, and watches them closely.
func ExampleNew() {
	addr, stop := echoServer()
	defer stop()
	p, err := pool.New(pool.Config{
		Addr:               addr,
		MinCapacity:        2,
		MaxConns:           50,
		MinConns:           2,
		MinInterval:        100 * time.Millisecond,
		MaxInterval:        time.Second,
		DialTimeout:        2 * time.Second,
		IdleTimeout:        5 * time.Minute,
		KeepAlive:          15 * time.Second,
		ValidationInterval: 15 * time.Second,
		Validation:         pool.ValidatePing,
		Ping: func(ctx context.Context, nc net.Conn) error {
			if deadline, ok := ctx.Deadline(); ok {
				if err := nc.SetDeadline(deadline); err != nil {
					return err
				}
			}
			if _, err := nc.Write([]byte("ping\n")); err != nil {
				return err
			}
			if _, err := io.ReadFull(nc, make([]byte, 5)); err != nil {
				return err
			}
			return nc.SetDeadline(time.Time{}) // the next owner's begin anew
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(p.WaitReady(ctx), p.Idle() >= 2, p.InUse(), p.Cap())
	// Output: <nil> true 0 50
}

func ExampleNew_tls() {
	p, err := pool.New(pool.Config{
		Addr: "db.internal.example:9443", // also the name the certificate must have
		TLS:  &tls.Config{MinVersion: tls.VersionTLS13},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Ready(), p.Close()) // nothing is dialled before it is needed
	// Output: false <nil>
}

// session is something that is expensive to make.
type session struct{ token string }

func (*session) Close() error { return nil }

// Anything that can be closed can be pooled.
func ExampleNewOf() {
	logins := 0
	p, err := pool.NewOf(pool.Source[*session]{
		Open: func(context.Context) (*session, error) {
			logins++
			return &session{fmt.Sprint("token ", logins)}, nil
		},
	}, pool.Config{MaxConns: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	for range 3 {
		s, err := p.GetContext(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(s.token)
		if err := p.Put(s); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// token 1
	// token 1
	// token 1
}

// Clean gives memory and descriptors back; Flush starts afresh, as after a change of
// the server.
func ExampleOf_Clean() {
	addr, stop := echoServer()
	defer stop()
	p, err := pool.New(pool.Config{Addr: addr, MinIdle: 0})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	ctx := context.Background()
	one, _ := p.GetContext(ctx)
	two, _ := p.GetContext(ctx)
	fmt.Println(p.Put(one), p.Idle(), p.InUse(), p.Active())
	fmt.Println("cleaned", p.Clean(), "flushed", p.Flush(), "left", p.Active())
	fmt.Println(p.Put(two)) // it was closed under us, and still has to come back
	fmt.Println(p.Stats().ClosedBy[pool.Flushed], pool.Flushed)
	// Output:
	// <nil> 1 1 2
	// cleaned 1 flushed 1 left 0
	// <nil>
	// 2 flushed
}
