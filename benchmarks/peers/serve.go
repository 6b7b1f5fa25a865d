package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var addr string
	var untilEOF bool
	var latency time.Duration
	cmd := &cobra.Command{
		Use:   "serve NAME",
		Short: "Run the echo server of one of the peers",
		Long: `serve runs an echo server until SIGINT, SIGTERM or, with --stdin, until its
standard input closes. It prints "listening on HOST:PORT" when it takes
connections. NAME is one of ` + strings.Join(serverNames(), ", ") + `.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if untilEOF {
				ctx = untilClosed(ctx, cmd.InOrStdin())
			}
			return serve(ctx, args[0], addr, latency, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "listen here, HOST:PORT; port 0 takes a free one")
	cmd.Flags().DurationVar(&latency, "latency", 0, "how long the handler waits before it answers; not every system has it")
	cmd.Flags().BoolVar(&untilEOF, "stdin", false, "end when standard input closes")
	return cmd
}

func serverNames() []string {
	var names []string
	for _, p := range slices.Concat(peer.All(), peer.Servers()) {
		if p.Serve != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, name, addr string, latency time.Duration, out io.Writer) error {
	p, found := peer.Find(name)
	if !found || p.Serve == nil {
		return fmt.Errorf("no server %q: must be one of %s", name, strings.Join(serverNames(), ", "))
	}
	// A server that is a child of this process is told of this thread's end.
	runtime.LockOSThread()
	start := p.Serve
	switch {
	case latency < 0:
		return fmt.Errorf("--latency %v: must be 0 or more", latency)
	case latency > 0 && p.Late == nil:
		return fmt.Errorf("--latency %v: the server %s has no handler that waits", latency, name)
	case latency > 0:
		start = func(addr string) (*peer.Server, error) { return p.Late(addr, latency) }
	}
	srv, err := start(addr)
	if err != nil {
		return err
	}
	defer srv.Close()
	if _, err := fmt.Fprintf(out, "listening on %s\n", srv.Addr); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// untilClosed returns a context that also ends when r does. Its goroutine lasts
// as long as r.
func untilClosed(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}
