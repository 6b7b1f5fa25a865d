// Command anetserver is the baseline peer: an echo server on the server package
// of anet v0.3.0, or of v1.0.0 when go-v1 builds it. It is a module and a process
// of its own because two versions of anet cannot be linked into one binary, and
// because a baseline should not share a scheduler or a garbage collector with what
// it is compared to.
//
//	anetserver [--addr 127.0.0.1:0] [--latency 0] [--stdin]
//
// It prints "listening on HOST:PORT" when it accepts connections and serves
// until SIGINT, SIGTERM or, with --stdin, until its standard input ends. A parent
// that holds the other end of that pipe leaves no server behind when it dies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/andrei-cloud/anet/server"
)

// bindAttempts bounds how often a free port is looked for again.
const bindAttempts = 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "anetserver:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or, with --stdin, until stdin does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("anetserver", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "`host:port` to listen on; port 0 picks a free one")
	latency := flags.Duration("latency", 0, "how long the handler waits before it answers")
	untilEOF := flags.Bool("stdin", false, "exit when standard input ends")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	if *latency < 0 {
		return fmt.Errorf("--latency %v: must be 0 or more", *latency)
	}

	srv, bound, err := start(*addr, echo(*latency))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "listening on %s\n", bound); err != nil {
		return errors.Join(err, srv.Stop())
	}

	if *untilEOF {
		var parentGone context.CancelFunc
		ctx, parentGone = context.WithCancel(ctx)
		defer parentGone()
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			parentGone()
		}()
	}
	<-ctx.Done()
	return srv.Stop()
}

// start binds addr and returns the address that clients dial. Neither
// version's server tells which port it got, so port 0 is resolved here first;
// somebody else may take the port in between, hence the bounded retry.
func start(addr string, handler server.Handler) (*server.Server, string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", fmt.Errorf("--addr %q: want host:port: %w", addr, err)
	}
	if port != "0" {
		return startAt(addr, handler)
	}
	for range bindAttempts {
		var free string
		if free, err = freePort(host); err != nil {
			return nil, "", err
		}
		var srv *server.Server
		var bound string
		if srv, bound, err = startAt(free, handler); err == nil {
			return srv, bound, nil
		}
	}
	return nil, "", fmt.Errorf("no free port on %q in %d attempts: %w", host, bindAttempts, err)
}

func startAt(addr string, handler server.Handler) (*server.Server, string, error) {
	srv, err := server.NewServer(addr, handler, nil)
	if err != nil {
		return nil, "", err
	}
	if err := srv.Start(); err != nil {
		return nil, "", err
	}
	return srv, addr, nil
}

// freePort returns an address of host that was free a moment ago.
func freePort(host string) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// echo returns the request: the server writes it before it reuses its memory. Each
// request has a goroutine of its own to wait in.
func echo(latency time.Duration) server.Handler {
	return server.HandlerFunc(func(_ *server.ServerConn, request []byte) ([]byte, error) {
		if latency > 0 {
			time.Sleep(latency)
		}
		return request, nil
	})
}
