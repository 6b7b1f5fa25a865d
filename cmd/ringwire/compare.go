package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/compare"
	"github.com/ringwire/ringwire/load/report"
	"github.com/spf13/cobra"
)

// compareDuration is how long each side of a round lasts when nothing says so.
const compareDuration = 2 * time.Second

// compareFlags are the flags of "ringwire compare": its own and those of load.
type compareFlags struct {
	load          loadFlags
	rounds        int
	maxRounds     int
	maxRegression string
	benchstat     string
}

// notOfCompare are flags of load that make no sense here.
var notOfCompare = []string{"listen", "start-at", "threshold", "hlog", "html", "dump-failures", "find-max", "find-range", "find-within", "check", "progress", "no-progress"}

func newCompare() *cobra.Command {
	f := compareFlags{load: loadFlags{profile: loadProfile{fallback: compareDuration}}}
	cmd := &cobra.Command{
		Use:   "compare [flags] A B",
		Short: "Say whether backend B is slower than backend A, and by how much",
		Long: `compare puts the same load on two backends in turn, round after round, and compares the
rounds: what disturbs the machine for a while disturbs both. A and B are targets as of
"ringwire load", and so are all flags that say what is sent and how.

Compared are p50 and p99 of the response, the part of the requests that were successful,
and in the closed loop the rate. The response counts from when the generator had come to the
request: its own lag would be in both sides, and hide what they differ by. For each the
rounds' ratio B/A is shown (the estimate of Hodges and Lehmann), and an interval that has the
true ratio in it with at least 95 % (of Wilcoxon's signed ranks), however often it was looked
at. If 1 is in it there is no difference that these rounds show.

--max-regression 5% fails with 98 when B is worse by more than that and the interval says
that this is no chance. While the limit lies in an interval nothing is decided, and as many
rounds are added as there were, up to --max-rounds: a round takes both sides' --duration, so
40 of 2s are under three minutes. What is undecided then is said and does not fail. Exit
codes otherwise: those of "ringwire load"; a round of a side that fails ends the comparison,
and with --max-regression it is inconclusive, 4, when no regression is found and the
generator, which hides differences then, was the limit in half of the runs.`,
		Example: `  ringwire compare old:9000 new:9000
  ringwire compare -r 5k --inflight 64 -c 4 --rounds 20 --max-regression 5% old:9000 new:9000
  ringwire compare -f scenario.yaml --benchstat rounds.txt hsm1:1500 hsm2:1500; benchstat -col /side rounds.txt`,
		Args: exactArgs(2, "A and B, two targets"),
		RunE: func(cmd *cobra.Command, args []string) error { return runCompare(cmd, &f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.rounds, "rounds", compare.RoundsMin, fmt.Sprintf("rounds, %d or more", compare.RoundsMin))
	flags.IntVar(&f.maxRounds, "max-rounds", 0, "with --max-regression: rounds at most, while they do not decide (default four times --rounds)")
	flags.StringVar(&f.maxRegression, "max-regression", "", "by how much B may be worse, such as 5%; exit 98 when it is worse than that")
	flags.StringVar(&f.benchstat, "benchstat", "", "write a line for each run to this file, for 'benchstat -col /side'")
	f.load.register(cmd)
	for _, name := range notOfCompare {
		_ = flags.MarkHidden(name) // it exists
	}
	return cmd
}

// config makes the configurations of both sides.
func (f *compareFlags) config(cmd *cobra.Command, args []string) (sides [2]load.Config, limit float64, err error) {
	for _, name := range notOfCompare {
		if cmd.Flags().Changed(name) {
			return sides, 0, fmt.Errorf("--%s: is not for compare", name)
		}
	}
	if f.rounds < compare.RoundsMin || f.rounds > compare.RoundsMax {
		return sides, 0, fmt.Errorf("--rounds %d: must be %d to %d", f.rounds, compare.RoundsMin, compare.RoundsMax)
	}
	if limit, err = parsePercent(f.maxRegression); err != nil {
		return sides, 0, fmt.Errorf("--max-regression %w", err)
	}
	if err = f.bound(cmd.Flags().Changed("max-rounds"), limit >= 0); err != nil {
		return sides, 0, err
	}
	// One of them may be secured and the other not; the TLS flags are read for that one.
	one, other := 0, 1
	if strings.HasPrefix(args[1], "tls://") {
		one, other = 1, 0
	}
	if sides[one], _, err = f.load.config(cmd, args[one:one+1]); err != nil {
		return sides, 0, err
	}
	if f.load.listen != "" { // of a scenario
		_ = sides[one].Listener.Close()
		return sides, 0, errors.New("--listen: is not for compare")
	}
	sides[one].LeaveOutLag = true
	sides[other] = sides[one]
	t, err := load.ParseTarget(args[other])
	if err != nil {
		return sides, 0, err
	}
	sides[other].Targets = []load.Target{t}
	return sides, limit, sides[other].Validate()
}

// bound sets how many rounds there are at most.
func (f *compareFlags) bound(given, hasLimit bool) error {
	switch {
	case given && !hasLimit:
		return fmt.Errorf("--max-rounds %d: there is nothing to decide without --max-regression: --rounds says how many", f.maxRounds)
	case given && (f.maxRounds < f.rounds || f.maxRounds > compare.RoundsMax):
		return fmt.Errorf("--max-rounds %d: must be %d, the --rounds, to %d", f.maxRounds, f.rounds, compare.RoundsMax)
	case !hasLimit:
		f.maxRounds = f.rounds
	case !given:
		f.maxRounds = min(4*f.rounds, compare.RoundsMax)
	}
	return nil
}

// parsePercent reads 5% as 0.05; nothing is negative.
func parsePercent(text string) (float64, error) {
	if text == "" {
		return -1, nil
	}
	digits, ok := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(v >= 0 && v <= 1000) {
		return 0, fmt.Errorf("%q: must be 0%% to 1000%%, such as 5%%", text)
	}
	return v / 100, nil
}

func runCompare(cmd *cobra.Command, f *compareFlags, args []string) error {
	sides, limit, err := f.config(cmd, args)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var files [2]*os.File
	for i, path := range []string{f.load.json, f.benchstat} {
		if path == "" {
			continue
		}
		if files[i], err = os.Create(path); err != nil {
			return usageError("--%s: %w", []string{"json", "benchstat"}[i], err)
		}
		defer func() { _ = files[i].Close() }()
	}
	ctx, stop := untilSignal()
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	c := comparison{A: args[0], B: args[1], SchemaVersion: 1, Limit: limit}
	if err := c.run(ctx, cmd, sides, f); err != nil {
		return err
	}
	c.judge()
	err = c.text(cmd.OutOrStdout())
	if files[0] != nil {
		err = errors.Join(err, writeJSON(files[0], &c), files[0].Close())
	}
	if files[1] != nil {
		err = errors.Join(err, c.writeBenchstat(files[1]))
	}
	if c.ExitCode != exitOK {
		return &exitError{c.ExitCode, errors.Join(errors.New(c.Verdict), err)}
	}
	return err
}

// run makes rounds until they decide, or there are as many as there may be.
func (c *comparison) run(ctx context.Context, cmd *cobra.Command, sides [2]load.Config, f *compareFlags) error {
	c.measures(sides[0].Schedule != nil)
	looks := compare.Looks(f.rounds, f.maxRounds)
	for i, upTo := range looks {
		for c.Rounds < upTo {
			if err := c.round(ctx, cmd, sides, f.load.allowLost); err != nil {
				return err
			}
			if stderr := cmd.ErrOrStderr(); isTerminal(stderr) {
				_, _ = fmt.Fprintf(stderr, "round %d of %d\n", c.Rounds, upTo)
			}
		}
		decided, err := c.look(len(looks), i == len(looks)-1)
		if err != nil {
			return &exitError{exitFailed, err}
		}
		if decided {
			return nil
		}
	}
	return nil
}

// round measures both sides. Which one is first changes from round to round, or what one
// leaves behind would always be the other's.
func (c *comparison) round(ctx context.Context, cmd *cobra.Command, sides [2]load.Config, allowLost bool) error {
	o := report.Options{AllowLost: allowLost, Compared: true}
	for turn := range 2 {
		side := (c.Rounds + turn) % 2
		res, err := load.Run(ctx, sides[side])
		if err != nil {
			return &exitError{exitUsage, err}
		}
		s := report.Summarize(res, o)
		switch {
		case s.ExitCode == report.ExitInterrupted:
			return &exitError{s.ExitCode, errors.New("interrupted: nothing is compared")}
		case s.ExitCode != report.ExitOK:
			err := report.Text(cmd.OutOrStdout(), res, s, o)
			return &exitError{s.ExitCode, errors.Join(fmt.Errorf("round %d, side %s: %s", c.Rounds+1, "AB"[side:side+1], s.Verdict), err)}
		}
		c.add(side, s)
	}
	c.Rounds++
	return nil
}
