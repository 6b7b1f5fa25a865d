package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// Duration shows nanoseconds with three digits.
func Duration(ns int64) string {
	switch d := time.Duration(ns); {
	case d < time.Microsecond:
		return fmt.Sprintf("%dns", ns)
	case d < time.Millisecond:
		return threeDigits(float64(ns)/1e3) + "µs"
	case d < time.Second:
		return threeDigits(float64(ns)/1e6) + "ms"
	default:
		return threeDigits(float64(ns)/1e9) + "s"
	}
}

func threeDigits(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Text writes the report for people.
func Text(w io.Writer, r *load.Result, s *Summary, o Options) error {
	var b strings.Builder
	head(&b, r)
	if !r.Started.IsZero() {
		outcomes(&b, r, s)
		tables(&b, r)
		generatorLine(&b, r, s)
	}
	connections(&b, r)
	thresholds(&b, r, s, o)
	fmt.Fprintf(&b, "\nverdict      %s (exit %d)\n", s.Verdict, s.ExitCode)
	_, err := io.WriteString(w, b.String())
	return err
}

func head(b *strings.Builder, r *load.Result) {
	loop := fmt.Sprintf("closed loop, %d in flight per connection", r.InFlight)
	if r.Open {
		loop = "open loop"
	}
	fmt.Fprintf(b, "%s   %s   %.1f s", strings.Join(r.Targets, ", "), loop, r.Measured.Seconds())
	if r.Warmup > 0 {
		fmt.Fprintf(b, " after %v of warm-up", r.Warmup)
	}
	if r.Interrupted {
		b.WriteString("   PARTIAL: interrupted")
	}
	b.WriteString("\n\n")
}

func outcomes(b *strings.Builder, r *load.Result, s *Summary) {
	fmt.Fprintf(b, "requests     sent %d  replied %d (%.1f/s)  timeouts %d  connection lost %d", s.Sent, s.Replied, s.Rate, s.Timeouts, s.ConnLost)
	if s.Abandoned > 0 {
		fmt.Fprintf(b, "  abandoned %d", s.Abandoned)
	}
	if r.Open {
		fmt.Fprintf(b, "  unsent %d", s.Unsent)
	}
	fmt.Fprintf(b, "\nwrong        lost %d  late %d  duplicate %d  unknown ID %d  mismatch %d  truncated %d  refused %d\n",
		s.Lost, s.Late, s.Duplicate, s.UnknownID, s.Mismatch, s.Truncated, s.Refused)
	if s.PeerRequests > 0 {
		fmt.Fprintf(b, "peer         %d requests of its own, %d answered\n", s.PeerRequests, s.PeerAnswered)
	}
	if h := &r.Beats; h.Sent > 0 {
		fmt.Fprintf(b, "heartbeats   sent %d  answered %d  missed %d\n", h.Sent, h.Answered, h.Missed)
	}
	fmt.Fprintf(b, "error rate   %.4g %%\n", 100*s.ErrorRate)
}

// row writes a row of percentiles.
func row(w io.Writer, name string, h *hdrhistogram.Histogram) {
	p := quantile.Of(h)
	if p == nil {
		return
	}
	fmt.Fprintf(w, "%s", name)
	for _, v := range []int64{p.P50, p.P75, p.P90, p.P95, p.P99, p.P999, p.P9999, p.Max, p.Mean} {
		fmt.Fprintf(w, "\t%s", Duration(v))
	}
	fmt.Fprintf(w, "\t%d\n", p.Count)
}

func tables(b *strings.Builder, r *load.Result) {
	table := func(title string, rows func(w io.Writer)) {
		b.WriteString("\n")
		w := tabwriter.NewWriter(b, 12, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\tp50\tp75\tp90\tp95\tp99\tp99.9\tp99.99\tmax\tmean\tn\n", title)
		rows(w)
		_ = w.Flush() // to memory
	}
	table("latency", func(w io.Writer) {
		row(w, "response", r.Total.Response)
		row(w, "service", r.Total.Service)
		if r.Open {
			row(w, "queue", r.Total.Queue)
			row(w, "lag", r.Total.Lag)
		}
		row(w, "late", r.Total.Late)
		row(w, "heartbeat", r.Beats.Service)
	})
	if r.Open {
		b.WriteString("response: from when a request was due; service: from when it was sent; queue: in between; lag: the generator's own part of that\n")
	} else {
		b.WriteString("closed loop: nothing is sent while replies are late, so stalls are under-represented; --rate measures them\n")
	}
	if len(r.Stages) > 1 {
		table("stage", func(w io.Writer) {
			for _, s := range r.Stages {
				row(w, s.Name, s.Response)
			}
		})
	}
	if len(r.Kinds) > 0 {
		table("request", func(w io.Writer) {
			for _, k := range r.Kinds {
				row(w, k.Name, k.Response)
			}
		})
	}
	if len(r.Steps) > 0 {
		table("step, service", func(w io.Writer) {
			for _, k := range r.Steps {
				row(w, k.Name, k.Service)
			}
		})
	}
	if len(r.Codes) > 0 {
		table("status", func(w io.Writer) {
			for _, c := range r.Codes {
				name := c.Name
				if c.OK {
					name += " ok"
				}
				row(w, name, c.Response)
			}
		})
	}
}

func generatorLine(b *strings.Builder, r *load.Result, s *Summary) {
	b.WriteString("\ngenerator    ")
	if r.Generator.CPU >= 0 {
		fmt.Fprintf(b, "CPU %.0f %%  ", 100*r.Generator.CPU)
	}
	if r.Generator.Stolen >= 0 {
		fmt.Fprintf(b, "stolen %.1f %%  ", 100*r.Generator.Stolen)
	}
	fmt.Fprintf(b, "wait for a processor p99 %s  longest GC pause %s\n",
		Duration(int64(r.Generator.SchedP99)), Duration(int64(r.Generator.PauseMax)))
	if l := &r.Little; l.Samples > 0 {
		fmt.Fprintf(b, "self-check   %.4g in flight seen, %.4g by Little's law (rate × time in flight)\n", l.Sampled, l.ByLaw)
	}
	if s.SlotBound() {
		b.WriteString("             half of the response and more is the wait for a free slot: --inflight and --conns make more\n")
	}
	if s.GeneratorLimited {
		fmt.Fprintf(b, "             figures may be the generator's own: %s\n", s.GeneratorWhy)
	}
}

// SlotBound reports whether the wait for a free slot, which is queue without lag, is most
// of the response.
func (s *Summary) SlotBound() bool {
	return s.Queue != nil && s.Response != nil && 2*(s.Queue.P99-s.Lag.P99) > s.Response.P99
}

func connections(b *strings.Builder, r *load.Result) {
	c := &r.Conns
	fmt.Fprintf(b, "connections  opened %d  lost %d  replaced %d\n", c.Opened, c.Lost, c.Replaced)
	for _, text := range slices.Sorted(maps.Keys(c.Errors)) {
		fmt.Fprintf(b, "             %d × %s\n", c.Errors[text], text)
	}
}

func thresholds(b *strings.Builder, r *load.Result, s *Summary, o Options) {
	for i, t := range o.Thresholds {
		title := ""
		if i == 0 {
			title = "thresholds"
		}
		o := t.Outcome(r, s)
		met := "met"
		if !o.Met {
			met = "NOT MET"
		}
		fmt.Fprintf(b, "%-12s %s  %s: %s\n", title, t, met, o.Shown)
	}
}

// shown is the value of the threshold's outcome as people read it.
func (t Threshold) shown(o Outcome) string {
	switch {
	case o.Value == nil:
		return "no value"
	case t.isLatency():
		return Duration(int64(*o.Value))
	case t.of == "code", t.metric == "error_rate":
		return fmt.Sprintf("%.4g%%", 100**o.Value)
	}
	return fmt.Sprintf("%.6g", *o.Value)
}
