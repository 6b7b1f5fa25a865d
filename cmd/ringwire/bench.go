package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/engine"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// aboutBaselines says what the baselines' rows have in common, and what not.
const aboutBaselines = " (multiplex) in both; server as named, v1.0.0's with a constant it lacks"

// Groups of rows.
const (
	groupBest     = "best"
	groupEveryday = "everyday"
)

// benchFlags are the flags of "ringwire bench".
type benchFlags struct {
	callers    []int
	apis       []string
	payload    int
	rounds     int
	slice      time.Duration
	conns      int
	loops      int
	busyPoll   time.Duration
	quick      bool
	baseline   string
	groups     []string
	thresholds []string
	json, svg  string
	markdown   string
	noProgress bool
	tls        tlsFlags
}

func newBench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency beside anet",
		Long: `bench starts an echo server of ringwire and two of anet's, that of v1.0.0 and
that of v0.3.0, as processes of their own and sends requests to them over loopback.
The ratio is to the harder of anet's two. Every combination of system, API
and number of callers, a row, runs once per round for a short slice, in an order
that changes, so that a noisy machine is equally noisy for all; the table shows
medians over the rounds. Every reply is compared with its request.

APIs: blocking is a goroutine per caller; callback sends the next request from
the last one's callback; batch submits one request per caller and waits for all.

That is the group best: nobody bounds a call, the server answers on its event loops,
both ends poll, there is one connection. The group everyday takes these away, one at a
time, for blocking callers: a deadline for each call, one context for all, a timeout,
workers, no polling, 4 connections, 4 servers; and it compares the processor time of
an idle pair, of 100 requests a second, and of handlers that take 5 ms. Both run, in
the same rounds. With a load that is named, by --callers or --apis, only the group best
runs, unless --groups says otherwise.

With --tls-cert and --tls-key the connections of ringwire are secured, with --tls-ca
mutually; the same certificate serves both ends, so its extended key usage must allow
both then. Those of anet stay plain: it has no TLS.

The default takes about twelve minutes, --quick 90 seconds; the group best alone five
minutes and half a minute. Ctrl-C prints what was measured until then, marked partial.
bench fails when a reply is wrong, lost or doubled, and when a row has no successful
request.`,
		Example: `  ringwire bench --quick
  ringwire bench --json results.json --markdown results.md --svg comparison.svg
  ringwire bench --quick --groups everyday
  ringwire bench --callers 256 --apis blocking --threshold 'ratio>=5'
  ringwire bench --baseline none --payload 1024 --conns 2 --threshold 'p99<5ms'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, f) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&f.callers, "callers", []int{1, 16, 64, 256, 1024}, "requests in flight, a list (quick: 1,64,256)")
	flags.StringSliceVar(&f.apis, "apis", []string{"blocking", "callback", "batch"}, "APIs to measure, a list")
	flags.IntVar(&f.payload, "payload", 64, "bytes of a request and of its reply, at least 8")
	flags.IntVar(&f.rounds, "rounds", 10, "how often every row runs (quick: 3)")
	flags.DurationVar(&f.slice, "slice", 600*time.Millisecond, "measured time per row and round (quick: 300ms)")
	flags.IntVar(&f.conns, "conns", 1, "connections per client")
	flags.IntVar(&f.loops, "loops", 0, "event loops of ringwire's server; 0 is its default")
	flags.DurationVar(&f.busyPoll, "busy-poll", 0, "how long ringwire's client and server poll before they sleep; 0 is the default, negative never")
	flags.BoolVar(&f.quick, "quick", false, "fewer callers, three shorter rounds")
	flags.StringSliceVar(&f.groups, "groups", []string{groupBest, groupEveryday},
		"groups of rows to measure, a list")
	flags.StringVar(&f.baseline, "baseline", "anet", "system to compare with: anet or none")
	flags.StringArrayVar(&f.thresholds, "threshold", nil,
		"condition on every row of ringwire in the group best, such as 'ratio>=5', "+
			"'req_per_s>100k' or 'p99<2ms'; repeatable; exit 99 when not met")
	flags.StringVar(&f.json, "json", "", "write the result to this file as JSON")
	flags.StringVar(&f.markdown, "markdown", "", "write the result to this file as Markdown")
	flags.StringVar(&f.svg, "svg", "", "draw the group best into this file")
	f.tls.registerClient(cmd, aboutSameCert, "name that the server's certificate must have (default the first that it has)")
	flags.BoolVar(&f.noProgress, "no-progress", false, "do not show how far the run is")
	return cmd
}

// config checks the flags and makes the benchmark's configuration of them.
// Flags that were given win over what --quick sets.
func (f *benchFlags) config(cmd *cobra.Command) (bench.Config, []bench.Threshold, error) {
	cfg := bench.Config{Callers: f.callers, PayloadBytes: f.payload, Conns: f.conns, Rounds: f.rounds, Slice: f.slice}
	if f.quick {
		given := cmd.Flags().Changed
		if !given("callers") {
			cfg.Callers = []int{1, 64, 256}
		}
		if !given("rounds") {
			cfg.Rounds = 3
		}
		if !given("slice") {
			cfg.Slice = 300 * time.Millisecond
		}
	}
	for _, api := range f.apis {
		cfg.APIs = append(cfg.APIs, bench.API(api))
	}
	if err := cfg.Validate(); err != nil {
		return cfg, nil, &exitError{exitUsage, err}
	}
	for _, group := range f.groups {
		if group != groupBest && group != groupEveryday {
			return cfg, nil, usageError("--groups %q: must be %s or %s", group, groupBest, groupEveryday)
		}
	}
	if len(f.groups) == 0 {
		return cfg, nil, usageError("--groups: name %s or %s", groupBest, groupEveryday)
	}
	if f.loops < 0 {
		return cfg, nil, usageError("--loops %d: must be 0, for the server's default, or more", f.loops)
	}
	if f.busyPoll > engine.MaxBusyPoll {
		return cfg, nil, usageError("--busy-poll %v: must be at most %v", f.busyPoll, engine.MaxBusyPoll)
	}
	if f.baseline != bench.Anet && f.baseline != "none" {
		return cfg, nil, usageError("--baseline %q: must be anet or none", f.baseline)
	}
	var thresholds []bench.Threshold
	for _, text := range f.thresholds {
		t, err := bench.ParseThreshold(text)
		if err != nil {
			return cfg, nil, &exitError{exitUsage, err}
		}
		if t.NeedsBaseline() && f.baseline == "none" {
			return cfg, nil, usageError("--threshold %q needs a baseline: leave out --baseline none", text)
		}
		thresholds = append(thresholds, t)
	}
	return cfg, thresholds, nil
}

// has tells whether the group is measured. A user who names the load of the group best,
// by --callers or --apis, wants that group and no more.
func (f *benchFlags) has(cmd *cobra.Command, group string) bool {
	given := cmd.Flags().Changed
	if (given("callers") || given("apis")) && !given("groups") {
		return group == groupBest
	}
	return slices.Contains(f.groups, group)
}

func runBench(cmd *cobra.Command, f benchFlags) error {
	cfg, thresholds, err := f.config(cmd)
	if err != nil {
		return err
	}
	secure, err := f.tls.benchClient()
	if err != nil {
		return err
	}
	files, err := createOutputs(f.json, f.markdown, f.svg)
	if err != nil {
		return err
	}
	defer func() { _ = files.close() }()
	ctx, stop := untilSignal()
	defer stop()
	// A second Ctrl-C ends the program at once; the servers then see their
	// standard input close.
	context.AfterFunc(ctx, stop)

	metadata := bench.Describe(cfg, commit, commandLine())
	metadata.Secured = f.tls.secured()
	servers := &servers{ctx: ctx, flags: f, secure: secure}
	defer servers.stop()
	plan, err := planOf(cmd, cfg, servers)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	progress := newProgress(cmd.ErrOrStderr(), f.noProgress)
	result, err := bench.RunPlan(ctx, plan, progress.Show)
	progress.Done()
	if result == nil {
		return err
	}
	result.Metadata = metadata
	if f.baseline == bench.Anet {
		result.Metadata.Baseline = "client " + bench.AnetVersion() + aboutBaselines
	}
	outErr := errors.Join(
		result.WriteTable(cmd.OutOrStdout(), useColour(cmd.OutOrStdout())),
		files.write(result))
	switch {
	case err != nil:
		return errors.Join(interruptedOr(ctx, err), outErr)
	case outErr != nil:
		return outErr
	}
	return checkThresholds(cmd, thresholds, result)
}

// everydaySlice is that of the group everyday in a quick run.
const everydaySlice = 200 * time.Millisecond

// planOf starts the servers and lists what is measured with them.
func planOf(cmd *cobra.Command, cfg bench.Config, s *servers) (bench.Plan, error) {
	targets, err := s.targets(cfg)
	if err != nil {
		return bench.Plan{}, err
	}
	plan := bench.Plan{Rounds: cfg.Rounds, Slice: cfg.Slice}
	if s.flags.has(cmd, groupBest) {
		plan = cfg.Plan(targets)
	}
	if !s.flags.has(cmd, groupEveryday) {
		return plan, nil
	}
	everyday := bench.Everyday{Targets: targets, Start: s.start, BusyPoll: s.flags.busyPoll, TLS: s.secure}
	if s.flags.quick && !cmd.Flags().Changed("slice") {
		everyday.Slice = everydaySlice
	}
	return plan, plan.AddEveryday(&cfg, everyday)
}

// interruptedOr is err, or the error for an interrupted run when ctx has ended
// and err is nothing worse than that.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return &exitError{exitInterrupted, errors.New("interrupted: the result is partial")}
	}
	return err
}

func checkThresholds(cmd *cobra.Command, thresholds []bench.Threshold, result *bench.Result) error {
	failed := 0
	for _, t := range thresholds {
		for _, line := range t.Check(result.Rows) {
			failed++
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "threshold not met: "+line)
		}
	}
	if failed > 0 {
		return &exitError{exitThreshold, fmt.Errorf("thresholds not met in %d rows", failed)}
	}
	return nil
}

// newProgress shows progress on w unless that was switched off.
func newProgress(w io.Writer, off bool) *bench.Progress {
	if off {
		return bench.NewProgress(io.Discard, false, 0, false)
	}
	width := 0
	if f, ok := w.(*os.File); ok {
		width, _, _ = term.GetSize(int(f.Fd()))
	}
	return bench.NewProgress(w, isTerminal(w), width, useColour(w))
}

// useColour follows https://no-color.org.
func useColour(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

// commandLine is how this run can be repeated.
func commandLine() []string {
	return append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
}
