package suite

import (
	"fmt"
	"io"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// WriteMarkdown prints the table of targets, what was measured in each section
// and where it comes from.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	r.markdownGoals(&b)
	for i := range r.Sections {
		r.Sections[i].markdown(&b)
	}
	r.markdownMemory(&b)
	b.WriteString("\n")
	for _, line := range r.provenance() {
		if line != "" {
			b.WriteString("- " + escapeCell(line) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) markdownGoals(b *strings.Builder) {
	if len(r.Goals) == 0 {
		return
	}
	b.WriteString("| against | at | what | target | measured | spread | quiet rounds | |\n|---|---|---|---|---|---|---|---|\n")
	for i := range r.Goals {
		g := &r.Goals[i]
		verdict := g.verdict()
		if verdict == "MISSED" {
			verdict = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %.0f %% | %s | %s |\n", escapeCell(g.Against), escapeCell(g.At), g.Metric,
			escapeCell(g.wantText()), g.text(g.Median), 100*g.Spread, g.quietText(), verdict)
	}
}

func (s *Section) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n", s.Title)
	if len(s.Everyday) > 0 {
		s.markdownEveryday(b)
		return
	}
	head := s.head()
	b.WriteString("| " + strings.Join(head, " | ") + " |\n")
	b.WriteString("|---:|---|---|" + strings.Repeat("---:|", len(head)-3) + "\n")
	for i := range s.Rows {
		b.WriteString("| " + strings.ReplaceAll(escapeCell(s.line(&s.Rows[i])), "\t", " | ") + " |\n")
	}
	s.markdownNotes(b)
}

// markdownNotes is a list of the footnotes.
func (s *Section) markdownNotes(b *strings.Builder) {
	if notes := s.footnotes(); notes != "" {
		b.WriteString("\n")
		for line := range strings.Lines(notes) {
			b.WriteString("- " + escapeCell(strings.TrimSpace(line)) + "\n")
		}
	}
}

func (r *Report) markdownMemory(b *strings.Builder) {
	if len(r.Memory) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n| system | connections | bytes per connection |\n|---|---:|---:|\n", memoryTitle)
	for _, m := range r.Memory {
		if len(m.BytesPerConn) > 0 {
			fmt.Fprintf(b, "| %s | %d | %.0f |\n", m.System, m.Conns, bench.Median(m.BytesPerConn))
		}
	}
}

// escapeCell keeps text from ending its cell.
func escapeCell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
