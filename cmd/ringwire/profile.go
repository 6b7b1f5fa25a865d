package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/capture"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
	"github.com/spf13/cobra"
)

// profileFlags are the flags of "ringwire profile".
type profileFlags struct {
	suites   []string
	duration time.Duration
	conns    int
	out      string
}

// rawProfiles is where profiles go by default, from the root of the repository,
// which does not keep them.
var rawProfiles = filepath.Join("profiles", "raw")

func newProfile() *cobra.Command {
	var f profileFlags
	var names []string
	for _, s := range profile.Suites() {
		names = append(names, s.Name)
	}
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Profile client and server under load",
		Long: `profile starts an echo server as a process of its own, puts a load on it, and
profiles both processes: processor, allocations, contention of mutexes, blocking,
goroutines, and an execution trace, each while nothing else disturbs it. Every reply
is compared with its request.

Suites: ` + strings.Join(names, ", ") + `. The number is
that of requests in flight; one has a single caller, large 16 KiB payloads.

A run gets a folder below --out, and in it each suite one, with the recordings for
'go tool pprof' and 'go tool trace', tables (` + profile.TablesFile + `), the same for programs
(` + profile.SummaryFile + `), where and how they were taken (` + profile.MetadataFile + `), and a flame graph for a
browser (` + profile.FlameFile + `), which needs no network.`,
		Example: `  ringwire profile --suite blocking-64,callback-1024
  ringwire profile --duration 20s --out /tmp/profiles
  ringwire profile diff RUN-A RUN-B
  ringwire profile keep RUN`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProfile(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.suites, "suite", []string{"all"}, "loads to profile, a list")
	flags.DurationVar(&f.duration, "duration", 5*time.Second, "how long the processor is sampled, per suite; the rest takes as long again, at most 5s")
	flags.IntVar(&f.conns, "conns", 1, "connections of the client")
	flags.StringVar(&f.out, "out", "", "folder for the run's folder (default "+rawProfiles+" below the current directory)")
	cmd.AddCommand(newProfileDiff(), newProfileKeep())
	return cmd
}

// check returns the suites, or a usage error.
func (f *profileFlags) check() ([]profile.Suite, error) {
	suites, err := profile.Choose(f.suites)
	switch {
	case err != nil:
		return nil, usageError("--suite: %w", err)
	case f.duration < capture.DurationMin || f.duration > capture.DurationMax:
		return nil, usageError("--duration %v: must be %v to %v", f.duration, capture.DurationMin, capture.DurationMax)
	case f.conns < 1 || f.conns > bench.ConnsMax:
		return nil, usageError("--conns %d: must be 1 to %d", f.conns, bench.ConnsMax)
	}
	return suites, nil
}

func runProfile(cmd *cobra.Command, f profileFlags) error {
	suites, err := f.check()
	if err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	ctx = record.Label(ctx)

	metadata := profile.Describe(revision(), commandLine())
	folder, err := f.folder(cmd.ErrOrStderr(), metadata)
	if err != nil {
		return err
	}
	for _, suite := range suites {
		dir := filepath.Join(folder, suite.Name)
		s, err := profileSuite(ctx, cmd.ErrOrStderr(), suite, f, metadata, dir)
		if err != nil {
			_ = os.Remove(folder) // which fails when a suite is in it
			return interruptedOr(ctx, err)
		}
		if err := printSuite(cmd.OutOrStdout(), s, dir); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nOpen a %s in a browser. To keep the summaries: ringwire profile keep %s\n", profile.FlameFile, folder)
	return err
}

// folder makes the run's folder.
func (f *profileFlags) folder(notes io.Writer, m profile.Metadata) (string, error) {
	out := f.out
	if out == "" {
		out = rawProfiles
		if !inRepository() {
			_, _ = fmt.Fprintf(notes, "ringwire: this is not the root of the ringwire repository: writing to %s below it all the same (--out)\n", out)
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	folder := filepath.Join(out, m.Time.Format("20060102T150405Z")+"-"+m.Commit)
	return folder, os.Mkdir(folder, 0o755)
}

// inRepository reports whether the current directory is the repository's root.
func inRepository() bool {
	mod, err := os.ReadFile("go.mod")
	return err == nil && strings.HasPrefix(string(mod), "module github.com/ringwire/ringwire\n")
}

// profileSuite profiles one suite with a server of its own and writes everything
// into dir.
func profileSuite(ctx context.Context, progress io.Writer, suite profile.Suite, f profileFlags, m profile.Metadata, dir string) (*summary.Summary, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which is also the server: %w", err)
	}
	// A socket in a folder of our own: nobody else can reach it, and its name is
	// known before the server runs.
	sockets, err := os.MkdirTemp("", "ringwire-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(sockets) }()
	debugAddr := "unix:" + filepath.Join(sockets, "debug")
	child, err := proc.Start(ctx, self, "serve", "--addr", "127.0.0.1:0", "--stdin", "--debug-addr", debugAddr)
	if err != nil {
		return nil, err
	}
	defer child.Stop()
	target := bench.NewRingwire(child.Addr, child.PID(), f.conns)
	recorder := &record.Recorder{}
	defer recorder.Close()
	captured, err := capture.Run(ctx, capture.Config{Suite: suite, Target: &target, Conns: f.conns, Duration: f.duration,
		Client: record.Local{Recorder: recorder}, Server: record.Dial(debugAddr)},
		func(phase string) { _, _ = fmt.Fprintf(progress, "%s: %s\n", suite.Name, phase) })
	if err != nil {
		return nil, err
	}
	return writeSuite(dir, suite, captured, m.Of(suite, f.conns, captured.Phases))
}

// printSuite is the line that tells the result.
func printSuite(out io.Writer, s *summary.Summary, dir string) error {
	client, server := &s.Processes[0], &s.Processes[1]
	cpuPhase := s.Phase("cpu")
	_, err := fmt.Fprintf(out, "%-14s %9.0f req/s  cpu/req %.0f ns client, %.0f ns server  allocs/req %.4f, %.4f  %s\n",
		s.Suite.Name, cpuPhase.Rate(), client.CPU.PerRequest(client.CPU.Samples), server.CPU.PerRequest(server.CPU.Samples),
		client.Allocs.PerRequest(client.Allocs.Objects()), server.Allocs.PerRequest(server.Allocs.Objects()), dir)
	return err
}
