// Package chart draws diagrams as self-contained SVG: no scripts, no fonts and
// nothing else from elsewhere, readable on light and on dark pages, with what
// is needed to repeat the measurement written below.
package chart

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Geometry in pixels.
const (
	width         = 1115
	margin        = 24
	headHeight    = 96 // title, subtitle and the panels' titles
	footLine      = 16 // one note
	footMargin    = 20
	axisHeight    = 44 // labels below a panel
	stackGap      = 62 // between panels that lie below each other: axis and title
	valueWidth    = 52 // labels left of a panel
	labelSpacing  = 15 // least distance of two lines' labels
	noteRunes     = 165
	figureHeight  = 290
	tallHeight    = 470
	tallLinesFrom = 9 // lines from which a panel needs more height for its labels
)

// style colours by class, so that the same picture is readable on a light and
// on a dark page. Twelve classes, c0 to c11.
const style = `
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;font-size:12px;fill:#24292f}
.bg{fill:#ffffff}.title{font-size:17px;font-weight:600}.sub{font-size:13px}.small{font-size:10.5px;fill:#57606a}
.grid{stroke:#d8dee4;stroke-width:1}.mark{stroke:#24292f;stroke-width:1.5;stroke-dasharray:3 3}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.bold{stroke-width:3.25}.base{stroke-dasharray:6 4}
.thin{stroke-width:1.5}.leader{stroke-width:.75;opacity:.6}
` + palette + `
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.bg{fill:#0d1117}.small{fill:#9198a1}.grid{stroke:#30363d}.mark{stroke:#e6edf3}
` + darkPalette + `
}`

// Figure is a picture of one or two panels side by side, or of any number below each other.
type Figure struct {
	Title, Subtitle string
	Label           string   // what the picture shows, for a reader who cannot see it
	Notes           []string // machine, command, versions; one line each, cut when too long
	Panels          []Panel
	Stacked         bool // the panels lie below each other
}

// Panel is one diagram.
type Panel interface {
	// height the panel would like to have, without title and axis.
	height() int
	// draw draws into the area from left and top.
	draw(b *strings.Builder, area rect)
}

// rect is where a panel's plot lies; labels of lines lie to its right, up to
// labels wide.
type rect struct{ left, top, width, height, labels float64 }

// WriteSVG draws the figure.
func (f *Figure) WriteSVG(w io.Writer) error {
	plot := 0 // from the first panel's top to the last one's bottom
	for _, p := range f.Panels {
		if f.Stacked && plot > 0 {
			plot += stackGap
		}
		if f.Stacked {
			plot += p.height()
		} else {
			plot = max(plot, p.height())
		}
	}
	height := headHeight + plot + axisHeight + footMargin + footLine*len(f.Notes)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		width, height, width, height, escape(f.Label))
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"bg\" width=\"100%%\" height=\"100%%\" rx=\"8\"/>\n", style)
	text(&b, margin, 32, "title", f.Title)
	text(&b, margin, 54, "sub", f.Subtitle)
	for i, p := range f.Panels {
		p.draw(&b, f.area(i, plot))
	}
	for i, note := range f.Notes {
		text(&b, margin, float64(headHeight+plot+axisHeight+footMargin+footLine*i), "small", cut(note, noteRunes))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// area divides the width, or the height, among the panels.
func (f *Figure) area(i, plot int) rect {
	if f.Stacked {
		top := headHeight
		for _, p := range f.Panels[:i] {
			top += p.height() + stackGap
		}
		one := Figure{Panels: f.Panels[i : i+1]}
		area := one.area(0, f.Panels[i].height())
		area.top = float64(top)
		return area
	}
	column := float64(width-margin) / float64(len(f.Panels))
	labels := 175.0
	return rect{
		left: margin + float64(i)*column + valueWidth - 16, top: headHeight,
		width: column - valueWidth - labels, height: float64(plot), labels: labels,
	}
}

func text(b *strings.Builder, x, y float64, class, content string) {
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, y, escape(content))
}

func anchored(b *strings.Builder, x, y float64, class, anchor, content string) {
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", class, x, y, anchor, escape(content))
}

func segment(b *strings.Builder, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

// cut keeps the first runes of a text that is longer.
func cut(s string, runes int) string {
	if all := []rune(s); len(all) > runes {
		return string(all[:runes]) + "…"
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
