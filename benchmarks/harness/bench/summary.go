package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// compared is one row of ours beside the harder baseline's.
type compared struct {
	ours   *Row
	base   *Row   // nil without a baseline
	name   string // the baseline's
	factor float64
	best   float64 // the factor of the best case with the same callers; 0: there is none
}

func (c *compared) loses() bool { return c.base != nil && c.factor < 1 }

// Worse is a row of ours that is worse than the baseline's beside it.
type Worse struct {
	Row       *Row
	Condition string // the row's, or that it has none
	Baseline  string
	Factor    float64 // below 1
	CPU       bool    // it is processor time that is compared
}

// Worse lists the rows of best case and everyday use in which ringwire is worse, the
// worst first; those of processor time come after the others.
func (r *Result) Worse() []Worse {
	var all []Worse
	for _, cpu := range []bool{false, true} {
		for _, c := range r.sides(cpu) {
			if c.loses() {
				all = append(all, Worse{c.ours, c.ours.conditionText(), c.name, c.factor, cpu})
			}
		}
	}
	return all
}

// compare finds what the row was compared with.
func (r *Result) compare(row *Row, ratios map[string]float64) compared {
	c := compared{ours: row}
	c.name, c.factor = hardest(ratios)
	rows := r.Everyday
	if row.Beside == "" {
		rows = r.Rows
	}
	at := slices.IndexFunc(rows, func(o Row) bool {
		return o.System == c.name && o.Condition == row.Beside &&
			o.API == row.API && o.Callers == row.Callers
	})
	if at >= 0 {
		c.base = &rows[at]
	}
	return c
}

// sides lists our rows of the best case that conditions are compared with and of
// everyday use, those that lose first, the worst of them at the top. Either those
// compared by rate or those compared by processor time. Those that failed in their first
// round have nothing to compare.
func (r *Result) sides(cpu bool) []compared {
	if len(r.Everyday) == 0 {
		return nil
	}
	var all []compared
	best := make(map[int]float64)
	for i := range r.Rows {
		row := &r.Rows[i]
		if cpu || row.System != Ringwire || row.API != Blocking || row.Rounds == 0 ||
			!slices.Contains(bestCallers, row.Callers) {
			continue
		}
		c := r.compare(row, row.Ratios)
		best[row.Callers] = c.factor
		all = append(all, c)
	}
	for i := range r.Everyday {
		row := &r.Everyday[i]
		if row.System != Ringwire || row.comparesCPU() != cpu || row.Rounds == 0 {
			continue
		}
		ratios := row.Ratios
		if cpu {
			ratios = row.CPURatios
		}
		c := r.compare(row, ratios)
		if !cpu {
			c.best = best[row.Callers]
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b compared) int {
		switch {
		case a.loses() && b.loses():
			return cmp.Compare(a.factor, b.factor)
		case a.loses():
			return -1
		case b.loses():
			return 1
		}
		return 0
	})
	return all
}

// comparesCPU tells whether the row is one of processor time.
func (r *Row) comparesCPU() bool {
	return slices.ContainsFunc(conditions, func(c condition) bool {
		return c.name == r.Condition && c.cpu
	})
}

// conditionText names the row's condition.
func (r *Row) conditionText() string { return cmp.Or(r.Condition, "best case") }

var (
	rateHead = []string{"condition", "callers", "ringwire", "anet", "anet's server", "factor",
		"best case", "p99", "anet's p99", "errors"}
	cpuHead = []string{"condition", "callers", "ringwire", "anet", "anet's server", "factor",
		"req/s", "anet's req/s", "errors"}
)

// rateTable is the summary's table of rates; nil when there is no everyday row.
func (r *Result) rateTable() [][]string {
	var table [][]string
	for _, c := range r.sides(false) {
		anet, anetP99 := "-", "-"
		if c.base != nil {
			anet, anetP99 = RateText(c.base.ReqPerSec), LatencyText(c.base.P99)
		}
		table = append(table, []string{c.ours.conditionText(), strconv.Itoa(c.ours.Callers),
			RateText(c.ours.ReqPerSec), anet, c.server(), factorText(c.factor), factorText(c.best),
			LatencyText(c.ours.P99), anetP99, c.errors()})
	}
	return withHead(rateHead, table)
}

// cpuTable is the summary's table of processor times.
func (r *Result) cpuTable() [][]string {
	var table [][]string
	for _, c := range r.sides(true) {
		anet, anetRate := "-", "-"
		if c.base != nil {
			anet, anetRate = c.base.cpuText(), RateText(c.base.ReqPerSec)
		}
		table = append(table, []string{c.ours.conditionText(), strconv.Itoa(c.ours.Callers),
			c.ours.cpuText(), anet, c.server(), factorText(c.factor),
			RateText(c.ours.ReqPerSec), anetRate, c.errors()})
	}
	return withHead(cpuHead, table)
}

func withHead(head []string, lines [][]string) [][]string {
	if len(lines) == 0 {
		return nil
	}
	return append([][]string{head}, lines...)
}

// server is the version of the baseline's server.
func (c *compared) server() string {
	if c.base == nil {
		return "-"
	}
	if c.name == Anet {
		return strings.TrimPrefix(AnetV1, Anet+"-")
	}
	return strings.TrimPrefix(c.name, Anet+"-")
}

// errors are the failed requests of both.
func (c *compared) errors() string {
	failed := c.ours.Errors
	if c.base != nil {
		failed += c.base.Errors
	}
	return strconv.FormatUint(failed, 10)
}

// factorText is "-" for 0: nothing to compare with.
func factorText(factor float64) string {
	if factor == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", factor)
}

// cpuText is the processor time per second; "-" when unknown.
func (r *Row) cpuText() string {
	if r.CPUPerSecond == nil {
		return "-"
	}
	return LatencyText(int64(*r.CPUPerSecond)) + "/s"
}

// part is a table with what is above it.
type part struct {
	title string
	table [][]string // nil: nothing to print
	left  []int      // columns that hold text
}

// summary is the best case and everyday use side by side.
func (r *Result) summary() []part {
	return []part{{rateTitle, r.rateTable(), summaryText}, {cpuTitle, r.cpuTable(), summaryText}}
}

// WriteEveryday prints no more than the summary, what is worse than anet, and what the
// conditions are, for reports that tell of the machine elsewhere.
func (r *Result) WriteEveryday(w io.Writer) error {
	var b strings.Builder
	for _, note := range r.verdicts() {
		b.WriteString(note + "\n")
	}
	r.writeSummary(&b, false)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) writeSummary(b *strings.Builder, colour bool) {
	for _, part := range r.summary() {
		if part.table == nil {
			continue
		}
		b.WriteString("\n" + part.title + "\n")
		widths := widthsOf(part.table)
		for n, line := range part.table {
			writeLine(b, line, widths, colour && n == 0, part.left)
		}
	}
	if len(r.Everyday) > 0 {
		b.WriteString("\n")
		for _, note := range r.everydayNotes() {
			b.WriteString(note + "\n")
		}
		b.WriteString("\n")
	}
}

const (
	rateTitle = "Best case and everyday use, blocking, requests per second:"
	cpuTitle  = "Processor time per second, client and server together:"
)

// everydayNotes say what the conditions are; nil when there is no everyday row.
func (r *Result) everydayNotes() []string {
	if len(r.Everyday) == 0 {
		return nil
	}
	beside := "the harder of anet's servers"
	if slices.ContainsFunc(r.Everyday, func(row Row) bool { return row.System == Anet }) {
		beside = "anet" // the only one
	}
	notes := []string{
		"factor    above 1 ringwire is better: median of the rounds' ratios to",
		"          " + beside + ". Losses come first.",
		"          best case: the factor without the condition.",
		"Same on both sides: deadline (context.WithTimeout(1s) per call, cancelled by the caller),",
		"          shared cancel (one context for all calls), 4 connections, 4 servers (processes,",
		"          a connection or pool each), handlers that take 5 ms.",
		"          call timeout: engine.Call{Timeout: 1s} beside anet's ReadTimeout of 1s.",
		"Ours only: 64 workers (anet starts a goroutine per request), no polling at either end (anet",
		"          has none); beside anet's rows without that setting. Other rows poll, the default.",
	}
	if slice := r.Everyday[0].Slice; slice != "" {
		notes = append(notes, "Slices of everyday use: "+slice+", of an idle pair twice that.")
	}
	return notes
}

// loss is a row's ratio and how it is named.
type loss struct {
	ratio float64
	text  string
}

// slowerBelow is the ratio below which two digits after the point show a loss.
const slowerBelow = 0.995

// lossNote names every row that is slower than a baseline, the worst first, or else
// the row that comes closest to that; "" when nothing was compared.
func (r *Result) lossNote() string {
	all := losses(slices.Concat(r.Rows, r.Everyday),
		func(row *Row) map[string]float64 { return row.Ratios },
		func(row *Row, name string, ratio float64) string {
			return fmt.Sprintf("%s, %.2fx of %s", row.name(), ratio, name)
		})
	return verdict(all, "No row is slower than anet. Closest: ", "SLOWER than anet: ")
}

// cpuLossNote is lossNote for processor time.
func (r *Result) cpuLossNote() string {
	all := losses(r.Everyday, func(row *Row) map[string]float64 { return row.CPURatios },
		func(row *Row, name string, ratio float64) string {
			return fmt.Sprintf("%s, %.2fx of %s", row.Condition, 1/ratio, name)
		})
	return verdict(all, "No row uses more processor time than anet. Closest: ",
		"MORE PROCESSOR TIME than anet: ")
}

// losses lists the rows' ratios to their harder baseline, the worst first.
func losses(
	rows []Row, ratios func(*Row) map[string]float64, text func(*Row, string, float64) string,
) []loss {
	var all []loss
	for i := range rows {
		if name, ratio := hardest(ratios(&rows[i])); name != "" {
			all = append(all, loss{ratio, text(&rows[i], name, ratio)})
		}
	}
	slices.SortStableFunc(all, func(a, b loss) int { return cmp.Compare(a.ratio, b.ratio) })
	return all
}

func verdict(all []loss, none, some string) string {
	if len(all) == 0 {
		return ""
	}
	if all[0].ratio >= slowerBelow {
		return none + all[0].text + "."
	}
	var worse []string
	for _, l := range all {
		if l.ratio < slowerBelow {
			worse = append(worse, l.text)
		}
	}
	return some + strings.Join(worse, "; ") + "."
}

func (r *Row) name() string {
	text := fmt.Sprintf("%s %s with %s", r.System, r.API, count(r.Callers, "caller"))
	if r.Condition != "" {
		text += " (" + r.Condition + ")"
	}
	return text
}
