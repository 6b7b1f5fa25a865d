package chart

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func plain(v float64) string { return fmt.Sprintf("%.2f", v) }

// draw returns the picture, which must be well-formed and self-contained.
func draw(t *testing.T, f Figure) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, f.WriteSVG(&b))
	picture := b.String()
	assert.NotContains(t, picture, "NaN")
	assert.NotContains(t, picture, "Inf")
	assert.NotContains(t, strings.Replace(picture, `xmlns="http://www.w3.org/2000/svg"`, "", 1), "http", "nothing from elsewhere")
	in := xml.NewDecoder(strings.NewReader(picture))
	for {
		if _, err := in.Token(); errors.Is(err, io.EOF) {
			return picture
		} else {
			require.NoError(t, err)
		}
	}
}

func TestLinesNameEachLineWithItsLastValue(t *testing.T) {
	l := &Lines{Title: "a < b", XTitle: "steps", Steps: []string{"1", "2"}, Format: plain}
	for i := range 14 {
		l.Lines = append(l.Lines, Line{Name: fmt.Sprintf("line %d &", i), Class: i, Bold: i == 0, Dashed: i == 1,
			Points: []Point{{Step: 1, Value: 100, Low: 90, Up: 110}, {Step: 0, Value: 1, Low: 1, Up: 1}}})
	}
	picture := draw(t, Figure{Title: "T", Subtitle: "S", Notes: []string{"note"}, Panels: []Panel{l}})
	for i := range 14 {
		assert.Contains(t, picture, fmt.Sprintf(">line %d &amp; 100.00</text>", i))
	}
	assert.Contains(t, picture, "a &lt; b")
	assert.Equal(t, tallHeight, l.height(), "many labels need height")
}

func TestLinesLeaveOutWhatALogarithmicAxisCannotShow(t *testing.T) {
	l := &Lines{Steps: []string{"1"}, Format: plain, Lines: []Line{
		{Name: "zero", Points: []Point{{Value: 0}}}, {Name: "one", Points: []Point{{Value: 1, Low: 1, Up: 1}}}}}
	picture := draw(t, Figure{Panels: []Panel{l, &Lines{Format: plain}}})
	assert.NotContains(t, picture, "zero")
	assert.Contains(t, picture, "one 1.00")
}

func TestSpreadKeepsLabelsApartAndWithinBounds(t *testing.T) {
	ys := spread([]float64{10, 11, 12, 300}, 0, 300)
	for i := 1; i < len(ys); i++ {
		assert.GreaterOrEqual(t, ys[i]-ys[i-1], float64(labelSpacing))
	}
	ys = spread([]float64{295, 298, 300}, 0, 300)
	assert.Equal(t, []float64{270, 285, 300}, ys)
}

func TestBarsShowValuesMarksAndTheirAbsence(t *testing.T) {
	p := &Bars{Title: "ratios", Log: true, Origin: 1, Bars: []Bar{
		{Name: "worse", Text: "0.5x", Value: 0.5, Mark: 2}, {Name: strings.Repeat("long ", 30), Text: "10x", Value: 10}}}
	picture := draw(t, Figure{Panels: []Panel{p}})
	assert.Contains(t, picture, ">0.5x</text>")
	assert.Equal(t, 1, strings.Count(picture, `class="mark"`))
	assert.Contains(t, picture, "…</text>")
	assert.Contains(t, draw(t, Figure{Panels: []Panel{&Bars{Empty: "none at all"}}}), "none at all")
	draw(t, Figure{Panels: []Panel{&Bars{Bars: []Bar{{Name: "same"}, {Name: "same"}}}}})
}

func TestBarsOnALogarithmicAxisGoBothWaysFromTheirOrigin(t *testing.T) {
	p := &Bars{Log: true, Origin: 1, Bars: []Bar{{Value: 0.1}, {Value: 10}}}
	x := p.axis(rect{left: 0, width: 100})
	assert.InDelta(t, 0, x(0.1), 1e-9)
	assert.InDelta(t, 50, x(1), 1e-9)
	assert.InDelta(t, 100, x(10), 1e-9)
	linear := (&Bars{Bars: []Bar{{Value: 5}}}).axis(rect{left: 10, width: 100})
	assert.InDelta(t, 10, linear(0), 1e-9)
	assert.InDelta(t, 110, linear(5), 1e-9)
}

func TestTimelinesLieBelowEachOtherAndShowWhatHappened(t *testing.T) {
	rate := &Timeline{Title: "rate", Step: 0.1, Format: plain, Marks: []Mark{{At: 0.1, Text: "kill <b>"}}, Series: []Series{
		{Name: "a", Values: []float64{100, 50, math.NaN(), 100}}, {Name: "b", Values: []float64{0, 0, 0, 0}}}}
	p99 := &Timeline{Title: "p99", Step: 0.1, Log: true, Format: plain, Series: []Series{{Name: "c", Values: []float64{0.1, 0, 100}}}}
	picture := draw(t, Figure{Stacked: true, Panels: []Panel{rate, p99, &Timeline{Format: plain}}})
	assert.Contains(t, picture, "kill &lt;b&gt;")
	assert.Equal(t, 5, strings.Count(picture, "<polyline"), "two pieces, a whole line, two dots")
	figure := Figure{Stacked: true, Panels: []Panel{rate, p99}}
	assert.InDelta(t, figure.area(0, 0).top+timelineHeight+stackGap, figure.area(1, 0).top, 1e-9)
	assert.InDelta(t, 0.5, tick(5, 12), 1e-9)
	assert.InDelta(t, 5000, tick(20000, 4), 1e-9)
}

func TestLongNotesAreCut(t *testing.T) {
	picture := draw(t, Figure{Notes: []string{strings.Repeat("x", noteRunes+1)}})
	assert.Contains(t, picture, strings.Repeat("x", noteRunes)+"…<")
}
