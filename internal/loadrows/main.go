//go:build unix

// Command loadrows measures the timed rows of the acceptance table of the load generator:
// whether what "ringwire load" says of time is true. Each row starts its own backend, runs the
// command as a user would, and prints what is required and what was measured.
//
// What a busy machine makes of a row is no fault of the generator's. So each row also says how
// much of the machine others used meanwhile, and one that is missed beside them is
// machine-limited instead of SHORT. Counts are never excused.
//
// Exit codes: 0 all rows are ok, 1 one is SHORT or failed, 2 usage, 4 one is machine-limited or
// could not be run here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	exitShort   = 1
	exitUsage   = 2
	exitLimited = 4
)

func main() {
	var s suite
	names := flag.String("rows", "", "measure these rows, such as C1,C4; all unless it is given")
	flag.StringVar(&s.root, "root", filepath.Join("..", ".."), "directory of the repository; bin/ringwire in it is what is measured")
	flag.BoolVar(&s.short, "short", false, "measure for seconds instead of minutes: shows that a row works, not that its figure holds")
	flag.DurationVar(&s.long, "long", 30*time.Minute, "how long the run of row C19 lasts, whose memory must not grow")
	flag.Parse()
	chosen, err := choose(*names)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("arguments %q: there are none: -rows says which", flag.Args())
	}
	if err == nil && (s.long < 10*time.Second || s.long > 24*time.Hour) {
		err = fmt.Errorf("-long %v: must be 10s to 24h", s.long)
	}
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadrows:", err)
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := s.run(ctx, os.Stdout, chosen)
	stop()
	_ = os.RemoveAll(s.dir)
	os.Exit(code)
}

// choose returns the rows that are named, all if none is.
func choose(names string) ([]row, error) {
	if names == "" {
		return rows, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(rows, func(r row) bool { return strings.EqualFold(r.name, strings.TrimSpace(name)) })
		if i < 0 {
			var all []string
			for _, r := range rows {
				all = append(all, r.name)
			}
			return nil, fmt.Errorf("-rows %q: must be of %s", name, strings.Join(all, ","))
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// suite is what rows are measured with.
type suite struct {
	root, dir string // of the repository; of temporary files
	binary    string
	short     bool
	long      time.Duration
	commit    string
}

func (s *suite) prepare() (err error) {
	if s.binary, err = filepath.Abs(filepath.Join(s.root, "bin", "ringwire")); err != nil {
		return err
	}
	if _, err = os.Stat(s.binary); err != nil {
		return errors.Join(err, errors.New("build it first: make build"))
	}
	s.commit = version(s.binary)
	s.dir, err = os.MkdirTemp("", "loadrows-")
	return err
}

// of returns the length of a measurement: the full one, or that of a short run.
func of[T any](s *suite, full, short T) T {
	if s.short {
		return short
	}
	return full
}
