package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/screen"
	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/hlog"
	"github.com/ringwire/ringwire/load/page"
	"github.com/ringwire/ringwire/load/quantile"
	"github.com/ringwire/ringwire/load/report"
)

// loadOutputs are the files that a run goes to. They are created before anything is
// dialled, so that a path that cannot be written is known before minutes have passed.
type loadOutputs struct {
	json, hlog, html *os.File     // nil when not asked for
	log              *hlog.Writer // to hlog
	dump             *os.File     // of failures
	points           *page.Points // for html
}

func createLoadOutputs(jsonPath, hlogPath, htmlPath, dumpPath string) (*loadOutputs, error) {
	var o loadOutputs
	taken := make(map[string]string)
	for _, want := range []struct {
		flag, path string
		file       **os.File
	}{{"--json", jsonPath, &o.json}, {"--hlog", hlogPath, &o.hlog}, {"--html", htmlPath, &o.html}, {"--dump-failures", dumpPath, &o.dump}} {
		if want.path == "" {
			continue
		}
		if other := taken[want.path]; other != "" {
			o.close()
			return nil, usageError("%s and %s %s: must be two files", other, want.flag, want.path)
		}
		taken[want.path] = want.flag
		create := os.Create
		if want.file == &o.dump {
			create = createPrivate
		}
		var err error
		if *want.file, err = create(want.path); err != nil {
			*want.file = nil
			o.close()
			return nil, usageError("%s: %w", want.flag, err)
		}
	}
	if o.hlog != nil {
		var err error
		if o.log, err = hlog.NewWriter(o.hlog, time.Now()); err != nil {
			o.close()
			return nil, usageError("--hlog: %w", err)
		}
	}
	if o.html != nil {
		o.points = new(page.Points)
	}
	return &o, nil
}

// follow has the run write to the files that get what happens while it lasts, and be shown.
func (o *loadOutputs) follow(cfg *load.Config, show func() (observe func(load.Snapshot), end func())) (end func()) {
	if o.log != nil {
		cfg.Log = o.log.Interval
	}
	if o.dump != nil {
		cfg.Dump = o.dump
	}
	observe, end := show()
	switch {
	case o.points == nil:
		cfg.Observe = observe
	case observe == nil:
		cfg.Observe = o.points.Add
	default:
		cfg.Observe = func(s load.Snapshot) { o.points.Add(s); observe(s) }
	}
	return end
}

// write writes what is not written, and closes the files.
func (o *loadOutputs) write(res *load.Result, s *report.Summary, options report.Options) error {
	var errs []error
	d := report.NewDocument(res, s, options)
	d.Revision = revision()
	if res.DumpError != nil {
		errs = append(errs, fmt.Errorf("--dump-failures: %w", res.DumpError))
	}
	if o.html != nil {
		if err := errors.Join(page.Write(o.html, d, res, o.points), o.html.Close()); err != nil {
			errs = append(errs, fmt.Errorf("--html: %w", err))
		}
		o.html = nil
	}
	if o.json != nil {
		errs = append(errs, d.Write(o.json), o.json.Close())
		o.json = nil
	}
	if o.hlog != nil {
		if err := errors.Join(o.log.Close(res), o.hlog.Close()); err != nil {
			errs = append(errs, fmt.Errorf("--hlog: %w", err))
		}
		o.hlog = nil
	}
	return errors.Join(errs...)
}

// close closes what is still open.
func (o *loadOutputs) close() {
	for _, f := range []*os.File{o.json, o.hlog, o.html, o.dump} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// show returns a function that tells a person how the run goes, nil if nobody is there, and
// one that ends the display. The display calls quit when the person asks for the run's end.
func (f *loadFlags) show(cmd *cobra.Command, cfg *load.Config, quit func()) (observe func(load.Snapshot), end func()) {
	in, out, stderr := cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	switch {
	case f.progress, isTerminal(stderr) && !f.noProgress && !(isTerminal(in) && isTerminal(out)):
		return progressLine(stderr), func() {}
	case f.noProgress || !isTerminal(in) || !isTerminal(out):
		return nil, func() {}
	}
	loop := "closed loop"
	if cfg.Schedule != nil {
		loop = "open loop"
	}
	s := screen.Open(in, out, screen.Run{
		Targets: strings.Join(cmd.Flags().Args(), ", "), Loop: loop,
		Duration: planned(cfg), InFlight: max(cfg.InFlight, 1) * max(cfg.Conns, 1),
	}, quit)
	return s.Observe, s.Close
}

// planned is how long a run is to take, 0 if that is not bounded by time.
func planned(cfg *load.Config) time.Duration {
	if cfg.Schedule == nil {
		return cfg.Duration
	}
	total := time.Duration(0)
	for _, stage := range cfg.Schedule.Stages {
		total += stage.For
	}
	return total
}

// progressLine returns what writes a line a second: what the second before had.
func progressLine(w io.Writer) func(load.Snapshot) {
	var last load.Snapshot
	return func(s load.Snapshot) {
		seconds := max(s.At-last.At, time.Millisecond).Seconds()
		errs := failed(&s) - min(failed(&last), failed(&s))
		latency := "no reply"
		if h := s.Response; h.TotalCount() > 0 {
			latency = fmt.Sprintf("p50 %s  p99 %s", report.Duration(quantile.At(h, 50)), report.Duration(quantile.At(h, 99)))
		}
		_, _ = fmt.Fprintf(w, "%4.0fs  sent %.0f/s  replied %.0f/s  %s  errors %d  in flight %d  backlog %d  connections %d\n",
			s.At.Seconds(), float64(s.Counts.Sent-min(last.Counts.Sent, s.Counts.Sent))/seconds,
			float64(s.Counts.Replied-last.Counts.Replied)/seconds, latency, errs, s.InFlight, s.Backlog, s.Conns)
		last = s
	}
}

// failed is how many requests had an outcome that is no success, and how many replies
// belong to none.
func failed(s *load.Snapshot) uint64 {
	c := &s.Counts
	return c.Timeouts + c.ConnLost + c.Replied - c.OK() + s.Replies.Duplicate + s.Replies.UnknownID
}
