// Command backends shows what calls meet when servers die, hang, are slow, come and go. It starts
// processes, asks them at a rate, draws what happens over time, and exits with 1 if something does
// not hold that has to.
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

	"github.com/ringwire/ringwire/benchmarks/harness/backends"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// errFaults says that something does not hold; it was told.
var errFaults = errors.New("not all of it holds")

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveHTTP {
		exit(serve(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "backends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// scenario is one picture.
type scenario struct {
	name string
	run  func(ctx context.Context) (*backends.Result, error)
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("backends", flag.ContinueOnError)
	ringwire := flags.String("server", "bin/ringwire", "the ringwire command")
	out := flags.String("out", "bin/backends", "write the pictures to this folder")
	only := flags.String("only", "", "run these scenarios, separated by commas (default: all)")
	commit := flags.String("commit", bench.Revision(), "what was built, for the pictures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	all := []scenario{
		{"failover", backends.Failover{Binary: *ringwire, Rate: 20_000, Pause: 11 * time.Second}.Run},
		{"slow", backends.Slow{Binary: *ringwire, Rate: 2000, Pause: 10 * time.Second}.Run},
		{"reconnect", backends.Reconnect{Binary: *ringwire, Clients: 1000, Away: 2 * time.Second}.Run},
		{"failing", backends.Failing{Binary: *ringwire, Rate: 2000, Pause: 10 * time.Second}.Run},
		{"http", backends.HTTP{Command: []string{self, serveHTTP}, Rate: 1000, Pause: 8 * time.Second}.Run},
		{"roundtripper", comparison{server: []string{self, serveHTTP}, rounds: 12, slice: time.Second, callers: 16}.run},
	}
	chosen, err := choose(all, *only)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	var faults error
	for _, s := range chosen {
		meta := bench.Describe(bench.Config{}, *commit, []string{"make", "backends"})
		result, err := s.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		result.Figure.Notes = append(slices.Clone(result.Facts), meta.Notes()...)
		if err := draw(filepath.Join(*out, "backends-"+s.name+".svg"), result); err != nil {
			return err
		}
		fmt.Println(s.name)
		for _, fact := range result.Facts {
			verdict := "  "
			if slices.Contains(result.Faults, fact) {
				verdict, faults = "! ", errFaults
			}
			fmt.Println(verdict + fact)
		}
	}
	return faults
}

// choose returns the scenarios that are named.
func choose(all []scenario, names string) (chosen []scenario, err error) {
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if at < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("-only: there is no scenario %q; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}

// draw writes the picture of a result.
func draw(path string, result *backends.Result) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(result.Figure.WriteSVG(f), f.Close())
}
