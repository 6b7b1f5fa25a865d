package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	pprof "github.com/google/pprof/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/capture"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/flame"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
	"github.com/spf13/cobra"
)

// writeSuite writes a suite's recordings, and what is made of them, into dir.
func writeSuite(dir string, suite profile.Suite, captured *capture.Captured, m profile.Metadata) (*summary.Summary, error) {
	if err := captured.Write(dir); err != nil {
		return nil, err
	}
	s, err := summary.Build(suite, captured)
	if err != nil {
		return nil, err
	}
	return s, errors.Join(
		writeFile(dir, profile.MetadataFile, func(w io.Writer) error { return writeJSON(w, m) }),
		writeFile(dir, profile.SummaryFile, s.Write),
		writeFile(dir, profile.TablesFile, func(w io.Writer) error { return s.WriteTables(w, &m) }),
		writeFile(dir, profile.FlameFile, func(w io.Writer) error { return drawFlame(w, suite, captured, &m) }))
}

func drawFlame(w io.Writer, suite profile.Suite, captured *capture.Captured, m *profile.Metadata) error {
	g := flame.Graph{Title: "Processor time of " + suite.Name, Machine: m.Machine()}
	for _, name := range []string{profile.Client, profile.Server} {
		p, err := pprof.ParseData(captured.Recordings[name][record.CPU])
		if err != nil {
			return err
		}
		g.Processes = append(g.Processes, flame.Process{Name: name, Profile: p, Requests: captured.Phase(record.CPU).Requests})
	}
	return flame.Write(w, g)
}

// writeFile creates a file and lets write fill it.
func writeFile(dir, name string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// keptFlameMax is the largest flame graph that is kept: it is convenient, but the
// tables are the evidence.
const keptFlameMax = 300 << 10

func newProfileKeep() *cobra.Command {
	to := filepath.Join("profiles", "summaries")
	cmd := &cobra.Command{
		Use:   "keep RUN",
		Short: "Copy a run's summaries to where they are committed",
		Long: fmt.Sprintf(`keep copies what is small and worth keeping of a run's folder: of each suite the
tables, the summary for "profile diff", the metadata, and the flame graph if it has
at most %d KiB. The recordings stay where they are.`, keptFlameMax>>10),
		Example: "  ringwire profile keep profiles/raw/20260102T150405Z-0123456789ab",
		Args:    exactArgs(1, "RUN, a folder that ringwire profile wrote"),
		RunE:    func(cmd *cobra.Command, args []string) error { return keepRun(cmd.OutOrStdout(), args[0], to) },
	}
	cmd.Flags().StringVar(&to, "to", to, "folder for the copy")
	return cmd
}

func keepRun(out io.Writer, run, to string) error {
	summaries, err := filepath.Glob(filepath.Join(run, "*", profile.SummaryFile))
	if err != nil {
		return err
	}
	if len(summaries) == 0 {
		return fmt.Errorf("%s holds no folder with a %s: give a folder that 'ringwire profile' wrote", run, profile.SummaryFile)
	}
	kept := filepath.Join(to, filepath.Base(filepath.Clean(run)))
	for _, path := range summaries {
		from := filepath.Dir(path)
		dir := filepath.Join(kept, filepath.Base(from))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := keepSuite(out, from, dir); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "kept in %s: git add it with the change that it is evidence for\n", kept)
	return err
}

func keepSuite(out io.Writer, from, to string) error {
	for _, name := range []string{profile.MetadataFile, profile.SummaryFile, profile.TablesFile, profile.FlameFile} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if name == profile.FlameFile && len(data) > keptFlameMax {
			_, _ = fmt.Fprintf(out, "not kept: %s has %d KiB, more than %d\n", filepath.Join(from, name), len(data)>>10, keptFlameMax>>10)
			continue
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
