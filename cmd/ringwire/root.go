package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/framing"
	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // the work could not be done, or gave a wrong result
	exitUsage       = 2
	exitRegression  = 98 // profile diff --fail found one
	exitThreshold   = 99 // as k6
	exitInterrupted = 130
)

// exitError is an error that chooses the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError says that the command line is at fault.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// run executes one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(stderr, "ringwire: %v\n", err)
	code := exitFailed
	var chosen *exitError
	if errors.As(err, &chosen) {
		code = chosen.code
	}
	if code == exitUsage {
		_, _ = fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ringwire",
		Short: "Serve, call, measure and profile request/response servers",
		Long: `ringwire serves, calls, measures and profiles request/response servers that
speak [uint16 length][uint32 task ID][payload], the frame of ringwire and of anet.

Exit codes: 0 success, 1 failure, 2 usage error, 98 regression found by
profile diff --fail, 99 threshold not met, 130 interrupted.`,
		Example: `  ringwire serve --addr 127.0.0.1:9000
  ringwire call --addr 127.0.0.1:9000 --data hello
  ringwire bench --quick`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q", args[0])
			}
			_ = cmd.Help()
			return usageError("no command given")
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(newServe(), newCall(), newBench(), newProfile(), newVersion())
	return root
}

// noArgs refuses arguments as a usage error.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("unexpected argument %q", args[0])
	}
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  ringwire version",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ringwire commit %s %s %s/%s\n",
				revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func revision() string {
	if commit != "" {
		return commit
	}
	if r := bench.Revision(); r != "" {
		return r
	}
	return "unknown"
}

// frameFormat turns the --frame-length flag into a frame format.
func frameFormat(lengthSize int) (framing.Format, error) {
	format := framing.Format{LengthSize: lengthSize}
	if lengthSize == 0 || format.Validate() != nil {
		return format, usageError("--frame-length %d: must be 2 or 4", lengthSize)
	}
	return format, nil
}
