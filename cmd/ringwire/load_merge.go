package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/hlog"
	"github.com/ringwire/ringwire/load/report"
	"github.com/spf13/cobra"
)

// mergeFlags are the flags of "ringwire load merge".
type mergeFlags struct {
	thresholds []string
	allowLost  bool
	json       string
}

func newMerge() *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge [flags] FILE.hlog...",
		Short: "Add up the logs of several runs, and judge the sum",
		Long: `merge adds up the logs that "ringwire load --hlog" wrote, on one machine or on many, and
reports the sum as if one generator had made it: percentiles of all requests together, not
means of percentiles. Thresholds and exit codes are those of "ringwire load", and hold for
the sum. The rate is over the time in which any of the runs measured, so the clocks of the
machines should agree. A generator that was the limit makes the sum inconclusive. A log
without its end, of a run that was killed, makes it partial.`,
		Example: `  ringwire load merge a.hlog b.hlog
  ringwire load merge --threshold 'p99<5ms' --threshold 'rate>50k' --json sum.json *.hlog`,
		RunE: func(cmd *cobra.Command, args []string) error { return runMerge(cmd, &f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.thresholds, "threshold", nil, "condition on the sum, as of load; repeatable; exit 99 when not met")
	flags.BoolVar(&f.allowLost, "allow-lost", false, "requests without a reply are timeouts and no violation")
	flags.StringVar(&f.json, "json", "", "write the report to this file as JSON")
	return cmd
}

func runMerge(cmd *cobra.Command, f *mergeFlags, args []string) error {
	res, err := mergeLogs(args)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	options := report.Options{AllowLost: f.allowLost}
	var names []string
	for _, k := range res.Kinds {
		names = append(names, k.Name)
	}
	if options.Thresholds, err = parseThresholds(f.thresholds, names); err != nil {
		return &exitError{exitUsage, err}
	}
	files, err := createLoadOutputs(f.json, "", "", "")
	if err != nil {
		return err
	}
	defer files.close()
	s := report.Summarize(res, options)
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "sum of %d logs\n", len(args))
	return loadExit(s, errors.Join(err, report.Text(cmd.OutOrStdout(), res, s, options), files.write(res, s, options)))
}

// mergeLogs adds up the logs of files, each of which may be named once: a pattern beside a
// name would count it twice.
func mergeLogs(names []string) (*load.Result, error) {
	if len(names) == 0 {
		return nil, errors.New("no log: name files that ringwire load --hlog wrote")
	}
	var m hlog.Merger
	var seen []os.FileInfo
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		for i, other := range seen {
			if err == nil && os.SameFile(info, other) {
				err = fmt.Errorf("is the same file as %s, and would count twice", names[i])
			}
		}
		seen = append(seen, info)
		var res *load.Result
		if err == nil {
			res, err = hlog.Read(file)
		}
		if err == nil {
			err = m.Add(res)
		}
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return m.Result(), nil
}
