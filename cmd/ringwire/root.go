package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/framing"
	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // the work could not be done, or gave a wrong result
	exitUsage       = 2
	exitRegression  = 98 // compare --max-regression or profile diff --fail found one
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

load does so to any backend whose frames have a length.

Exit codes: 0 success, 1 failure, 2 usage error, 3 wrong replies and 4 inconclusive
(load and compare), 98 regression found by compare --max-regression or profile diff --fail,
99 threshold not met, 130 interrupted.`,
		Example: `  ringwire serve --addr 127.0.0.1:9000
  ringwire call --addr 127.0.0.1:9000 --data hello
  ringwire load --framing payshield --check hsm.example:1500
  ringwire bench --quick`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q%s", args[0], meant(cmd, args[0]))
			}
			_ = cmd.Help()
			return usageError("no command given")
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, withUnit(err)} })
	root.AddCommand(newServe(), newCall(), newLoad(), newCompare(), newBench(), newProfile(), newVersion())
	return root
}

// withUnit adds what a time that is only a number lacks.
func withUnit(err error) error {
	if strings.Contains(err.Error(), "missing unit in duration") {
		return fmt.Errorf("%w: times have a unit, such as 500ms, 10s or 2m", err)
	}
	return err
}

// meant says which command somebody may have meant.
func meant(cmd *cobra.Command, name string) string {
	if names := cmd.SuggestionsFor(name); len(names) > 0 {
		return ": did you mean " + strings.Join(names, " or ") + "?"
	}
	return ""
}

// untilSignal returns a context that ends on Ctrl-C and on SIGTERM, until stop.
func untilSignal() (ctx context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("ringwire %s commit %s %s %s/%s", release(), revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// release returns the version that was released, or devel.
func release() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Sum != "" { // it came as a module, not as a clone
		return info.Main.Version
	}
	return "devel"
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
