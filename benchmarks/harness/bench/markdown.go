package bench

import (
	"io"
	"strings"
)

// WriteMarkdown prints the result as tables, best case and everyday use first, with
// the notes of the table for a person.
func (r *Result) WriteMarkdown(w io.Writer) error {
	parts := append(r.summary(), part{"Every combination of callers and API:", r.table(), tableText})
	return r.writeMarkdown(w, parts, append(r.everydayNotes(), r.notes()...))
}

// WriteEverydayMarkdown is WriteEveryday as Markdown.
func (r *Result) WriteEverydayMarkdown(w io.Writer) error {
	return r.writeMarkdown(w, r.summary(), r.everydayNotes())
}

func (r *Result) writeMarkdown(w io.Writer, parts []part, notes []string) error {
	var b strings.Builder
	for _, note := range r.verdicts() {
		if note != "" {
			b.WriteString(escapeCell(note) + "\n\n")
		}
	}
	for _, part := range parts {
		if part.table != nil {
			b.WriteString(part.title + "\n\n")
			markdownTable(&b, part.table, part.left)
			b.WriteString("\n")
		}
	}
	for _, note := range notes {
		// A line that begins with space goes on with the one before.
		if text := strings.TrimSpace(note); strings.HasPrefix(note, " ") {
			b.WriteString("  " + escapeCell(text) + "\n")
		} else {
			b.WriteString("- " + escapeCell(text) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownTable begins with its head. The columns named are aligned to the left.
func markdownTable(b *strings.Builder, table [][]string, left []int) {
	rule := make([]string, len(table[0]))
	for i := range rule {
		rule[i] = "---:"
	}
	for _, i := range left {
		rule[i] = "---"
	}
	for n, line := range table {
		cells := make([]string, len(line))
		for i, text := range line {
			cells[i] = escapeCell(text)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		if n == 0 {
			b.WriteString("|" + strings.Join(rule, "|") + "|\n")
		}
	}
}

// escapeCell keeps text from ending its cell.
func escapeCell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
