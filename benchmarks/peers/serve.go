package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var addr string
	var untilEOF bool
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
			return serve(ctx, args[0], addr, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "listen here, HOST:PORT; port 0 takes a free one")
	cmd.Flags().BoolVar(&untilEOF, "stdin", false, "end when standard input closes")
	return cmd
}

func serverNames() []string {
	var names []string
	for _, p := range peer.All() {
		if p.Serve != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, name, addr string, out io.Writer) error {
	p, found := peer.Find(name)
	if !found || p.Serve == nil {
		return fmt.Errorf("no server %q: must be one of %s", name, strings.Join(serverNames(), ", "))
	}
	// A server that is a child of this process is told of this thread's end.
	runtime.LockOSThread()
	srv, err := p.Serve(addr)
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
