package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/spf13/cobra"
)

// trimEvery is how often --trim gives memory back.
const trimEvery = 100 * time.Millisecond

// serveFlags are the flags of "peers serve".
type serveFlags struct {
	addr      string
	latency   time.Duration
	cert, key string
	trim      bool
}

func newServe() *cobra.Command {
	var f serveFlags
	var untilEOF bool
	cmd := &cobra.Command{
		Use:   "serve NAME",
		Short: "Run the echo server of one of the peers",
		Long: `serve runs an echo server until SIGINT, SIGTERM or, with --stdin, until its
standard input closes. It prints "listening on HOST:PORT" when it takes
connections. NAME is one of ` + strings.Join(serverNames(), ", ") + `;
with --tls-cert and --tls-key, one of ` + strings.Join(securedNames(), ", ") + `.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if untilEOF {
				ctx = untilClosed(ctx, cmd.InOrStdin())
			}
			return serve(ctx, args[0], f, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&f.addr, "addr", "127.0.0.1:0", "listen here, HOST:PORT; port 0 takes a free one")
	cmd.Flags().DurationVar(&f.latency, "latency", 0, "how long the handler waits before it answers; not every system has it")
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "speak TLS with the certificate of this PEM file")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "PEM file of the certificate's key")
	cmd.Flags().BoolVar(&f.trim, "trim", false, "give memory that is garbage back to the system all the time, to see what is in use")
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

// securedNames are the systems whose server can speak TLS.
func securedNames() []string {
	var names []string
	for _, p := range peer.All() {
		if p.Secured != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// start is how the named server starts as the flags say.
func (f *serveFlags) start(name string) (func(addr string) (*peer.Server, error), error) {
	p, found := peer.Find(name)
	switch {
	case (f.cert == "") != (f.key == ""):
		return nil, errors.New("--tls-cert and --tls-key belong together: give both")
	case f.cert != "" && (!found || p.Secured == nil):
		return nil, fmt.Errorf("no server %q over TLS: must be one of %s", name, strings.Join(securedNames(), ", "))
	case f.cert != "":
		id, err := peer.LoadIdentity(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		p = p.Secured(id)
	case !found || p.Serve == nil:
		return nil, fmt.Errorf("no server %q: must be one of %s", name, strings.Join(serverNames(), ", "))
	}
	switch {
	case f.latency < 0:
		return nil, fmt.Errorf("--latency %v: must be 0 or more", f.latency)
	case f.latency > 0 && p.Late == nil:
		return nil, fmt.Errorf("--latency %v: the server %s has no handler that waits", f.latency, name)
	case f.latency > 0:
		return func(addr string) (*peer.Server, error) { return p.Late(addr, f.latency) }, nil
	}
	return p.Serve, nil
}

// serve runs the server until ctx ends.
func serve(ctx context.Context, name string, f serveFlags, out io.Writer) error {
	start, err := f.start(name)
	if err != nil {
		return err
	}
	// A server that is a child of this process is told of this thread's end.
	runtime.LockOSThread()
	srv, err := start(f.addr)
	if err != nil {
		return err
	}
	defer srv.Close()
	if _, err := fmt.Fprintf(out, "listening on %s\n", srv.Addr); err != nil {
		return err
	}
	var trim <-chan time.Time
	if f.trim {
		ticker := time.NewTicker(trimEvery)
		defer ticker.Stop()
		trim = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-trim:
			debug.FreeOSMemory()
		}
	}
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
