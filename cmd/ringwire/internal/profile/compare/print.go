package compare

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Write prints the report.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	linef := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	for _, rate := range r.Rates {
		linef("%s: %.0f requests/s before, %.0f after (%+.1f %%)", rate.Suite, rate.Before, rate.After, percent(rate.Before, rate.After))
	}
	linef("")
	if len(r.Changes) == 0 {
		linef("Nothing became slower, faster, or started or stopped allocating, beyond noise and limits.")
	} else {
		linef("suite\tprocess\t\t\tbefore\tafter\tper request\tchange\tnoise\t")
		for _, c := range r.Changes {
			linef("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s",
				c.Suite, c.Process, c.Verdict, c.What, figure(c.Before), figure(c.After), c.Unit, c.change(), noise(c.Noise), c.Name)
		}
	}
	if len(r.Notes) > 0 {
		linef("")
	}
	for _, note := range r.Notes {
		linef("Note: %s.", note)
	}
	return w.Flush()
}

// change is the difference in percent; from nothing there is none.
func (c *Change) change() string {
	switch {
	case c.Before == 0:
		return "new"
	case c.After == 0:
		return "gone"
	}
	return fmt.Sprintf("%+.0f %%", percent(c.Before, c.After))
}

func percent(before, after float64) float64 {
	if before == 0 {
		return 0
	}
	return 100 * (after - before) / before
}

func noise(v float64) string {
	if v == 0 {
		return "-"
	}
	return figure(v)
}

func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1 || v == 0:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.4f", v)
}
