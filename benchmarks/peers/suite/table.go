package suite

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// WriteTables prints every section for a person, and the goals after them.
func (r *Report) WriteTables(w io.Writer) error {
	for i := range r.Sections {
		if err := r.Sections[i].write(w); err != nil {
			return err
		}
	}
	if err := r.writeMemory(w); err != nil {
		return err
	}
	if err := r.writeGoals(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, strings.Join(r.provenance(), "\n"))
	return err
}

// aligned writes lines of tab-separated cells in columns, names to the left.
func aligned(w io.Writer, lines []string) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(columns, line); err != nil {
			return err
		}
	}
	return columns.Flush()
}

func (s *Section) write(w io.Writer) error {
	if len(s.Everyday) > 0 {
		return s.writeEveryday(w)
	}
	lines := []string{"\n" + s.Title, "", strings.Join(s.head(), "\t")}
	for i := range s.Rows {
		row := &s.Rows[i]
		if i > 0 && (row.Callers != s.Rows[i-1].Callers || row.Handler != s.Rows[i-1].Handler) {
			lines = append(lines, "")
		}
		lines = append(lines, s.line(row))
	}
	if err := aligned(w, lines); err != nil {
		return err
	}
	_, err := io.WriteString(w, s.footnotes())
	return err
}

// head names the cells of a line.
func (s *Section) head() []string {
	names := []string{"callers", "system", "api", "payload", "conns", "req/s", "spread", "p50", "p99",
		"cpu/req", s.ratioName(), "errors"}
	if s.paced() {
		names = append(names, "lag p50", "lag p99", "unsent")
	}
	return names
}

// ratioName heads the column of ratios.
func (s *Section) ratioName() string {
	if s.Beside == "" {
		return "ours/theirs"
	}
	return "beside " + s.Beside
}

// paced reports whether the rows have a rate, and with it the pacer's part in latency.
func (s *Section) paced() bool {
	return slices.ContainsFunc(s.Rows, func(row bench.Row) bool { return row.Rate > 0 })
}

// line is a row's cells with tabs in between.
func (s *Section) line(row *bench.Row) string {
	api := string(row.API)
	if row.Rate > 0 {
		api += " at " + bench.RateText(row.Rate) + "/s"
	}
	if row.Handler > 0 {
		api += fmt.Sprintf(", %v handlers", row.Handler)
	}
	cells := []string{strconv.Itoa(row.Callers), row.System, api, bytesText(row.PayloadBytes), strconv.Itoa(row.Conns)}
	if row.Rounds == 0 {
		return strings.Join(append(cells, "failed: "+firstLine(row.Failure)), "\t")
	}
	p50, p99Text, cpu, ratio := "-", "-", "-", "-"
	if row.LatencySamples > 0 {
		p50, p99Text = bench.LatencyText(row.P50), bench.LatencyText(row.P99)
	}
	if row.CPUPerReq != nil {
		cpu = bench.LatencyText(int64(*row.CPUPerReq))
	}
	if ratios := s.shown(row); len(ratios) > 0 {
		ratio = fmt.Sprintf("%.2fx", bench.Median(ratios))
	}
	cells = append(cells, bench.RateText(row.ReqPerSec), fmt.Sprintf("%.0f%%", 100*bench.Spread(row.ReqPerSecRounds)),
		p50, p99Text, cpu, ratio, strconv.FormatUint(row.Errors, 10))
	if s.paced() {
		cells = append(cells, lagText(row.LagP50), lagText(row.LagP99), strconv.FormatInt(row.Unsent, 10))
	}
	return strings.Join(cells, "\t")
}

// lagText is "-" where an older program measured, which did not know its lag.
func lagText(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return bench.LatencyText(ns)
}

// shown are the ratios of the row's line: of ringwire's row to it, or of it to that of
// the system that all are compared with.
func (s *Section) shown(row *bench.Row) []float64 {
	if s.Beside == "" {
		return s.ratios(row, throughput)
	}
	if row.System == s.Beside {
		return nil
	}
	return bench.Ratios(row.ReqPerSecRounds, metricRounds(s.blockingRow(s.Beside, row.Callers), throughput))
}

// ratios of ringwire's row under the same load to the row; nil for ringwire
// itself and where there is none. Beside an API of which there is no row of ringwire's are its callbacks.
func (s *Section) ratios(row *bench.Row, metric string) []float64 {
	if strings.HasPrefix(row.System, bench.Ringwire) {
		return nil
	}
	by := func(match func(bench.API) bool) *bench.Row {
		return s.row(func(r *bench.Row) bool {
			return r.System == bench.Ringwire && r.Callers == row.Callers && r.PayloadBytes == row.PayloadBytes &&
				r.Conns == row.Conns && r.Rate == row.Rate && r.Handler == row.Handler && match(r.API)
		})
	}
	ours := by(func(api bench.API) bool { return api == row.API || row.API == bench.Native })
	if ours == nil {
		ours = by(func(api bench.API) bool { return api == bench.Callback })
	}
	return bench.Ratios(metricRounds(ours, metric), metricRounds(row, metric))
}

// lagNote is what a reader of paced rows must know.
const lagNote = "lag: the pacer's own part in the latency, from when a request was due until it was sent, " +
	"without the wait for a free caller. Where it is much of the latency, the row tells of this machine and " +
	"of the pacer, not of the system. unsent: due for over a second, and left out."

// footnotes are the notes of the systems and the failures.
func (s *Section) footnotes() string {
	var b strings.Builder
	if s.paced() {
		b.WriteString(lagNote + "\n")
	}
	for _, note := range s.Notes {
		b.WriteString(note + ".\n")
	}
	var told []string
	rows := s.all()
	for i := range rows {
		row := &rows[i]
		if row.Note != "" && !slices.Contains(told, row.System) {
			told = append(told, row.System)
			fmt.Fprintf(&b, "%s: %s.\n", row.System, row.Note)
		}
		if row.Failure != "" {
			fmt.Fprintf(&b, "FAILED %s with %d callers%s after %d rounds: %s\n",
				row.System, row.Callers, inBrackets(circumstance(row)), row.Rounds, row.Failure)
		}
	}
	return b.String()
}

// circumstance is what sets a row apart from others with as many callers.
func circumstance(row *bench.Row) string {
	if row.Handler > 0 {
		return fmt.Sprintf("%v handlers", row.Handler)
	}
	return row.Condition
}

// inBrackets is text to put after other text.
func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// all are the rows without a condition and those with one.
func (s *Section) all() []bench.Row { return slices.Concat(s.Rows, s.Everyday) }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func (r *Report) writeMemory(w io.Writer) error {
	if len(r.Memory) == 0 {
		return nil
	}
	lines := []string{"\n" + memoryTitle, "", "system\tconnections\tbytes per connection\tby round"}
	for _, m := range r.Memory {
		if len(m.BytesPerConn) > 0 {
			lines = append(lines, fmt.Sprintf("%s\t%d\t%.0f\t%.0f", m.System, m.Conns, bench.Median(m.BytesPerConn), m.BytesPerConn))
		}
	}
	return aligned(w, lines)
}

func (r *Report) writeGoals(w io.Writer) error {
	if len(r.Goals) == 0 {
		return nil
	}
	lines := []string{"\nTargets", "", "against\tat\tmetric\twanted\tmeasured\tspread\tquiet rounds\t"}
	for i := range r.Goals {
		g := &r.Goals[i]
		lines = append(lines, strings.Join([]string{g.Against, g.At, g.Metric, g.wantText(), g.text(g.Median),
			fmt.Sprintf("%.0f%%", 100*g.Spread), g.quietText(), g.verdict()}, "\t"))
	}
	return aligned(w, lines)
}

func (g *Goal) verdict() string {
	switch {
	case g.Want == 0:
		return ""
	case g.Met:
		return "met"
	}
	return "MISSED"
}

func (g *Goal) wantText() string {
	if g.Want == 0 {
		return "-"
	}
	return g.Op + " " + g.text(g.Want)
}

func (g *Goal) text(v float64) string {
	if g.Unit == "B" {
		return fmt.Sprintf("%.0f B", v)
	}
	return fmt.Sprintf("%.3gx", v)
}

// provenance says where the figures come from.
func (r *Report) provenance() []string {
	m := &r.Metadata
	lines := []string{"",
		fmt.Sprintf("%d rounds of %s slices, all rows of a section interleaved; medians over rounds, ratios taken within a round.", m.Rounds, m.Slice),
		"Client and server in separate processes on this machine, loopback TCP; replies are checked unless a note says otherwise.",
		m.Machine(), m.Time.Format("2006-01-02 15:04 MST") + "; $ " + strings.Join(m.Command, " ")}
	if busy := m.BusyNote(); busy != "" {
		lines = append(lines, busy)
	}
	if stolen := bench.StolenNote(r.rows()); stolen != "" {
		lines = append(lines, stolen+" Quiet rounds: it took at most 1 % from both rows; in brackets how many.")
	}
	lines = append(lines, "Versions: "+strings.Join(r.versions(), ", ")+".")
	for _, s := range r.Systems {
		if s.Missing != "" {
			lines = append(lines, s.Name+" was not measured: "+s.Missing+".")
		}
	}
	return lines
}

// rows are those of all sections.
func (r *Report) rows() []bench.Row {
	var all []bench.Row
	for i := range r.Sections {
		all = append(all, r.Sections[i].all()...)
	}
	return all
}

// versions of the peers' modules, and of the other half of some.
func (r *Report) versions() []string {
	var all []string
	for _, s := range r.Systems {
		if s.Version != "" {
			all = append(all, s.Name+" "+s.Version)
		}
	}
	return all
}
