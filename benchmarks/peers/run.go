package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/suite"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// runFlags are the flags of "peers run".
type runFlags struct {
	suite.Options
	quick                bool
	json, svgs, markdown string
	from                 string
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure ringwire and its peers, print tables, write results and charts",
		Long: `run starts every system's server as a process of its own and measures the rows
of a section interleaved: in each round every row runs once, for a short slice,
in an order that changes. Tables show medians over rounds, ratios are taken
within a round, and every reply is checked.

The default takes some half an hour, --quick some six minutes. Ctrl-C prints what
was measured until then. A row that fails is left out of later rounds and said
so; the exit code is 1 then.`,
		Example: `  peers run --quick
  peers run --json peers.json --svg-dir charts --markdown peers.md
  peers run --peers anet,rueidis --sections throughput --callers 64,256
  peers run --sections light,handlers,polling --clients 10,10000
  peers run --sections tls,tls-window --peers rueidis,grpc-go
  peers run --from peers.json --svg-dir charts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSuite(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Peers, "peers", nil, "peers to measure beside ringwire, a list of "+
		strings.Join(slices.Concat(suite.PeerNames(), suite.ServerNames()), ", ")+" (default all)")
	flags.StringSliceVar(&f.Sections, "sections", nil, "sections to run, a list of "+strings.Join(suite.SectionNames(), ", ")+" (default all)")
	flags.IntSliceVar(&f.Callers, "callers", []int{1, 16, 64, 256, 1024}, "blocking callers of the section throughput, a list (quick: 1,64,1024)")
	flags.IntSliceVar(&f.Clients, "clients", suite.DefaultClients(false), "clients of the section light, a list (quick: 10,100,1000)")
	flags.IntVar(&f.Rounds, "rounds", 10, "how often every row runs (quick: 3)")
	flags.DurationVar(&f.Slice, "slice", 500*time.Millisecond, "measured time per row and round (quick: 250ms)")
	flags.BoolVar(&f.quick, "quick", false, "fewer callers and clients, three shorter rounds")
	flags.StringVar(&f.Programs, "bin", "", "folder of ringwire, anet-v1-baseline-server and anet-baseline-server "+
		"(default: where this program lies)")
	flags.StringVar(&f.json, "json", "", "write the raw results to this file")
	flags.StringVar(&f.svgs, "svg-dir", "", "draw the charts into this folder")
	flags.StringVar(&f.markdown, "markdown", "", "write the table of targets to this file")
	flags.StringVar(&f.from, "from", "", "measure nothing: read the raw results of an earlier run from this file")
	return cmd
}

// quicken applies --quick where no flag says otherwise.
func (f *runFlags) quicken(given func(string) bool) {
	if !f.quick {
		return
	}
	if !given("callers") {
		f.Callers = []int{1, 64, 1024}
	}
	if !given("clients") {
		f.Clients = suite.DefaultClients(true)
	}
	if !given("rounds") {
		f.Rounds = 3
	}
	if !given("slice") {
		f.Slice = 250 * time.Millisecond
	}
}

func runSuite(cmd *cobra.Command, f runFlags) error {
	f.quicken(cmd.Flags().Changed)
	report, err := f.report(cmd)
	if report == nil {
		return err
	}
	return errors.Join(err, report.WriteTables(cmd.OutOrStdout()), f.write(report))
}

// report measures, or reads what was measured earlier.
func (f *runFlags) report(cmd *cobra.Command) (*suite.Report, error) {
	if f.from != "" {
		in, err := os.Open(f.from)
		if err != nil {
			return nil, err
		}
		defer func() { _ = in.Close() }()
		return suite.Read(in)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	command := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	metadata := bench.Describe(bench.Config{Slice: f.Slice, Rounds: f.Rounds}, commit, command)
	progress := newProgress(cmd.ErrOrStderr())
	report, err := suite.Run(cmd.Context(), f.Options, metadata, progress)
	return report, err
}

// newProgress shows progress on w.
func newProgress(w io.Writer) suite.Progress {
	terminal, width := false, 0
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		terminal = true
		width, _, _ = term.GetSize(int(file.Fd()))
	}
	line := bench.NewProgress(w, terminal, width, false)
	say := func(text string) {
		line.Done()
		_, _ = fmt.Fprintln(w, text)
	}
	return suite.Progress{Section: func(title string) {
		say(title)
		line = bench.NewProgress(w, terminal, width, false)
	}, Status: func(s bench.Status) { line.Show(s) }, Note: say}
}

// write writes the files that were asked for.
func (f *runFlags) write(r *suite.Report) error {
	var err error
	if f.json != "" {
		err = errors.Join(err, writeFile(f.json, r.WriteJSON))
	}
	if f.markdown != "" {
		err = errors.Join(err, writeFile(f.markdown, r.WriteMarkdown))
	}
	if f.svgs != "" {
		err = errors.Join(err, os.MkdirAll(f.svgs, 0o755))
		for _, c := range r.Charts() {
			err = errors.Join(err, writeFile(filepath.Join(f.svgs, c.Name+".svg"), c.Figure.WriteSVG))
		}
	}
	return err
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
