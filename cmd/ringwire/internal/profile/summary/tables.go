package summary

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

// Bounds of the tables; the JSON holds more.
const (
	rowsMax  = 20
	rolesMax = 6
	// cumPartMin is the least percentage a function has in the second table.
	cumPartMin = 2.0
)

// WriteTables prints the summary for people, as Markdown.
func (s *Summary) WriteTables(out io.Writer, m *profile.Metadata) error {
	w := &writer{Writer: bufio.NewWriter(out)}
	w.linef("# Profile of %s\n", s.Suite.Name)
	w.linef("%s, %d in flight, %d-byte payload, %d connection(s). Taken %s by `%s`.\n",
		s.Suite.API, s.Suite.Callers, s.Suite.Payload, m.Conns, m.Time.Format("2006-01-02 15:04:05 MST"), code(strings.Join(m.Command, " ")))
	w.linef("%s\n", text(m.Machine()))
	w.phases(s.Phases)
	w.linef("Only the phase `cpu` is undisturbed: in the others every allocation or wait is recorded.")
	for i := range s.Processes {
		p := &s.Processes[i]
		w.linef("\n## %s\n", title(p.Name))
		w.cpu(&p.CPU)
		w.allocs(&p.Allocs)
		w.contention(p)
		w.goroutines(p.Goroutines)
	}
	return w.Flush()
}

// writer writes lines; the error is Flush's.
type writer struct{ *bufio.Writer }

func (w *writer) linef(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

// table writes a Markdown table; columns whose heading begins with a space are
// aligned to the right.
func (w *writer) table(heading []string, rows [][]string) {
	rule := make([]string, len(heading))
	for i, h := range heading {
		rule[i] = "---"
		if strings.HasPrefix(h, " ") {
			rule[i] = "---:"
		}
		heading[i] = strings.TrimSpace(h)
	}
	for _, row := range append([][]string{heading, rule}, rows...) {
		w.linef("| %s |", strings.Join(row, " | "))
	}
	w.linef("")
}

func (w *writer) phases(phases []profile.Phase) {
	var rows [][]string
	for i := range phases {
		p := &phases[i]
		rows = append(rows, []string{p.Name, fmt.Sprintf("%.2f", p.Elapsed.Seconds()),
			fmt.Sprint(p.Requests), fmt.Sprint(p.Errors), fmt.Sprintf("%.0f", p.Rate())})
	}
	w.table([]string{"phase", " seconds", " requests", " errors", " requests/s"}, rows)
}

func (w *writer) cpu(c *CPU) {
	w.linef("### Processor time\n")
	w.linef("%.0f ns per request in %d samples (± %.0f, two standard deviations)%s. %d samples of the profiler's own are left out.\n",
		c.PerRequest(c.Samples), c.Samples, 2*c.Deviation(c.Samples), clockNote(c), c.Profiler)
	if c.Samples == 0 {
		return
	}
	w.split(c)
	w.functions("Functions by their own time (flat)", c, slices.DeleteFunc(slices.Clone(c.Functions), func(f Function) bool {
		return f.Flat == 0
	}))
	// What other packages only pass on would fill the table with one chain of calls.
	byCum := slices.DeleteFunc(slices.Clone(c.Functions), func(f Function) bool {
		return c.Part(f.Cum) < cumPartMin || f.Owner == stack.Other && f.Flat == 0
	})
	slices.SortStableFunc(byCum, func(a, b Function) int { return cmp.Compare(b.Cum, a.Cum) })
	w.functions(fmt.Sprintf("Functions with what they call (cumulative), from %.0f %%", cumPartMin), c, byCum)
}

func clockNote(c *CPU) string {
	if c.Clock == 0 {
		return ""
	}
	return fmt.Sprintf("; %.0f ns by the kernel's clock, with a spread of %.1f %% between slices", c.Clock, 100*c.Spread)
}

// split is the table of groups by role.
func (w *writer) split(c *CPU) {
	w.linef("Nanoseconds per request by what the processor did, and by role:\n")
	roles := c.Roles()
	rest := roles[min(len(roles), rolesMax):]
	roles = roles[:len(roles)-len(rest)]
	heading := []string{"", " %", " all"}
	total := []string{"**all**", "100", ns(c.PerRequest(c.Samples))}
	for _, role := range roles {
		heading = append(heading, " "+text(role.Name))
		total = append(total, ns(c.PerRequest(role.Samples)))
	}
	rows := [][]string{total}
	for _, group := range c.Groups() {
		row := []string{text(group.Name), percent(c.Part(group.Samples)), ns(c.PerRequest(group.Samples))}
		for _, role := range roles {
			row = append(row, ns(c.PerRequest(c.cell(role.Name, group.Name))))
		}
		rows = append(rows, row)
	}
	w.table(heading, rows)
	for _, role := range rest {
		w.linef("Role %s, not in the table: %s ns.\n", text(role.Name), ns(c.PerRequest(role.Samples)))
	}
}

func (w *writer) functions(name string, c *CPU, functions []Function) {
	var rows [][]string
	for _, f := range functions[:min(len(functions), rowsMax)] {
		noise := ""
		if f.Flat > 0 {
			noise = "± " + ns(2*c.Deviation(f.Flat))
		}
		rows = append(rows, []string{ns(c.PerRequest(f.Flat)), noise, percent(c.Part(f.Flat)),
			ns(c.PerRequest(f.Cum)), percent(c.Part(f.Cum)), "`" + code(f.Name) + "`"})
	}
	w.linef("%s:\n", name)
	w.table([]string{" flat ns", " ", " %", " cum ns", " %", "function"}, rows)
}

// allocsShown is the least number of objects per request that is shown as a site:
// one in ten thousand requests.
const allocsShown = 1e-4

func (w *writer) allocs(a *Allocs) {
	w.linef("### Allocations\n")
	w.linef("%.4f objects per request, %d in %d requests; the load's own %d and the profiler's %d are left out.\n",
		a.PerRequest(a.Objects()), a.Objects(), a.Requests, a.Harness, a.Profiler)
	var rows [][]string
	for _, s := range a.Sites {
		if len(rows) == rowsMax || a.PerRequest(s.Objects) < allocsShown {
			break
		}
		rows = append(rows, []string{fmt.Sprintf("%.4f", a.PerRequest(s.Objects)), fmt.Sprint(s.Objects), fmt.Sprint(s.Bytes),
			"`" + code(s.Function) + "`", caller(s.Caller)})
	}
	if len(rows) == 0 {
		w.linef("No place allocates for one request in ten thousand.\n")
		return
	}
	w.table([]string{" per request", " objects", " bytes", "function", "for"}, rows)
}

// waitsShown is the least number of events per request that is shown, of waits
// that are no contention of the library's locks.
const waitsShown = 1e-4

func (w *writer) contention(p *Process) {
	w.linef("### Contention\n")
	own := chosen(slices.Concat(p.Mutex, p.Block), func(wait Wait) bool { return wait.Contended() })
	if len(own) == 0 {
		w.linef("No goroutine waited for a lock of the library.\n")
	} else {
		w.linef("Locks of the library that goroutines waited for:\n")
		w.waits(own)
	}
	often := func(wait Wait) bool { return wait.Count >= waitsShown }
	if mutex := chosen(p.Mutex, often); len(mutex) > 0 {
		w.linef("Contended locks of all packages (mutex profile):\n")
		w.waits(mutex)
	}
	if block := chosen(p.Block, often); len(block) > 0 {
		w.linef("What goroutines waited for (block profile); a caller waits for its reply by design:\n")
		w.waits(block)
	}
}

func chosen(all []Wait, choose func(Wait) bool) []Wait {
	return slices.DeleteFunc(slices.Clone(all), func(w Wait) bool { return !choose(w) })
}

func (w *writer) waits(waits []Wait) {
	var rows [][]string
	for _, wait := range waits[:min(len(waits), rowsMax/2)] {
		rows = append(rows, []string{fmt.Sprintf("%.5f", wait.Count), ns(wait.Delay), wait.Kind, "`" + code(wait.Site) + "`"})
	}
	w.table([]string{" events per request", " ns per request", "for", "in"}, rows)
}

func (w *writer) goroutines(all []Goroutine) {
	w.linef("### Goroutines under load\n")
	var rows [][]string
	for _, g := range all[:min(len(all), rowsMax)] {
		rows = append(rows, []string{fmt.Sprint(g.Count), text(g.Role), g.State, "`" + code(g.At) + "`"})
	}
	w.table([]string{" count", "role", "state", "in"}, rows)
}

// ns is a time or a rate of events to three significant digits.
func ns(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func percent(v float64) string { return fmt.Sprintf("%.1f", v) }

func caller(name string) string {
	if name == "" {
		return ""
	}
	return "`" + code(name) + "`"
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// code makes a name fit for a code span in a table.
func code(s string) string { return strings.NewReplacer("`", "'", "|", `\|`, "\n", " ").Replace(s) }

// text makes a name fit for a table cell.
func text(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ", "`", "'").Replace(s)
}
