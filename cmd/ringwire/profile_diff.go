package main

import (
	"fmt"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/compare"
	"github.com/spf13/cobra"
)

func newProfileDiff() *cobra.Command {
	var limits compare.Limits
	var fail bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Name what got slower, or began to allocate, from run A to run B",
		Long: `diff compares two folders that "ringwire profile" wrote or "ringwire profile keep"
kept, or one suite's folder of each. Processor time is compared by function, role
and group, in nanoseconds per request, so that runs of different length or rate are
comparable.

A change of time is reported when it exceeds both --min percent of what the process
takes per request and the noise: three standard deviations, of the sampling (a count
of n samples varies by the square root of n) and of what the slices of one run
differed by. A machine that is slower as a whole for a minute is not in that: when
all takes longer but is divided among the groups as before, a note says so.

Allocations are counted, not sampled. Waiting is reported for locks of the library
that hardly any goroutine waited for in the other run.`,
		Example: `  ringwire profile diff profiles/summaries/RUN-A profiles/raw/RUN-B
  ringwire profile diff --min 10 --fail RUN-A RUN-B`,
		Args: exactArgs(2, "A and B, two folders that ringwire profile wrote"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limits.Percent < 0 || limits.Percent > 100 {
				return usageError("--min %v: must be 0 to 100", limits.Percent)
			}
			if limits.Allocs <= 0 {
				return usageError("--min-allocs %v: must be above 0", limits.Allocs)
			}
			return diffProfiles(cmd, args[0], args[1], limits, fail)
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&limits.Percent, "min", compare.PercentMin, "least change of time, in percent of the process's time per request")
	flags.Float64Var(&limits.Allocs, "min-allocs", compare.AllocsMin, "least change of objects allocated per request")
	flags.BoolVar(&fail, "fail", false, "exit with 98 when something got slower or allocates more")
	return cmd
}

func diffProfiles(cmd *cobra.Command, pathA, pathB string, limits compare.Limits, fail bool) error {
	a, err := compare.Load(pathA)
	if err != nil {
		return err
	}
	b, err := compare.Load(pathB)
	if err != nil {
		return err
	}
	report, err := compare.Runs(a, b, limits)
	if err != nil {
		return err
	}
	if err := report.Write(cmd.OutOrStdout()); err != nil {
		return err
	}
	if n := report.Worse(); fail && n > 0 {
		return &exitError{exitRegression, fmt.Errorf("%d regressions", n)}
	}
	return nil
}

// exactArgs demands n arguments, what they are, as a usage error.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError("%d arguments given, %d needed: %s", len(args), n, what)
		}
		return nil
	}
}
