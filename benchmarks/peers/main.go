// Command peers measures ringwire beside other systems: the same requests, the
// same callers, the same check of every reply, each server in a process of its
// own, all of them interleaved on one machine.
//
//	peers run          measure, print tables, write results and charts
//	peers serve NAME   run the echo server of one of the peers
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// commit is set by the Makefile.
var commit string

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(execute(ctx, newRoot(), os.Args[1:]))
}

func execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		_, _ = fmt.Fprintln(root.ErrOrStderr(), "peers: interrupted: the result is partial")
		return exitInterrupted
	}
	_, _ = fmt.Fprintf(root.ErrOrStderr(), "peers: %v\n", err)
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "peers",
		Short:         "Measure ringwire beside other systems",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRun(), newServe())
	return root
}
