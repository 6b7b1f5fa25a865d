package page

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
)

// spread is a histogram of 1 to n milliseconds, one each.
func spread(n int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(int64(time.Millisecond), int64(2*time.Second), 3)
	for i := range n {
		if err := h.RecordValue((i + 1) * int64(time.Millisecond)); err != nil {
			panic(err)
		}
	}
	return h
}

// ran is a run in which little went wrong.
func ran() *load.Result {
	n := load.Counts{Sent: 1000, Replied: 998, Timeouts: 2, Late: 2}
	return &load.Result{
		Open: true, Targets: []string{"host:1"}, InFlight: 1, Started: time.Unix(1e9, 0), Measured: 10 * time.Second,
		Total: load.Figures{Counts: n, Response: spread(1000), Service: spread(100), Queue: spread(10), Lag: spread(1), Late: spread(0)},
		Kinds: []load.Figures{
			{Name: "<echo>", Counts: load.Counts{Sent: 800, Replied: 800}, Response: spread(800), Service: spread(8)},
			{Name: "CA", Counts: load.Counts{Sent: 200, Replied: 200, Refused: 2}, Response: spread(0), Service: spread(0)},
		},
		Codes:      []load.Code{{Name: "00", OK: true, Count: 996, Response: spread(9)}, {Name: "68", Count: 2, Response: spread(0)}},
		Conns:      load.Conns{Opened: 1, Errors: map[string]uint64{"connect: refused": 3}},
		Violations: n,
	}
}

var (
	nothing = spread(0)
	spreads = func() (all []*hdrhistogram.Histogram) {
		for n := range int64(50) {
			all = append(all, spread(50+n))
		}
		return all
	}()
)

// seconds are those of a run of n, with a second in the middle in which nothing came.
func seconds(n int) *Points {
	var p Points
	var s load.Snapshot
	for i := range n {
		s.At = time.Duration(i+1) * time.Second
		s.Counts.Sent += 100
		s.Conns, s.InFlight = 4, i%7
		s.Response = nothing
		if i != n/2 {
			s.Counts.Replied += 98
			s.Counts.Timeouts += 2
			s.Response = spreads[i%50]
		}
		p.Add(s)
	}
	return &p
}

func written(t *testing.T, res *load.Result, p *Points, thresholds ...string) string {
	var o report.Options
	for _, text := range thresholds {
		th, err := report.ParseThreshold(text, nil)
		require.NoError(t, err)
		o.Thresholds = append(o.Thresholds, th)
	}
	var b bytes.Buffer
	require.NoError(t, Write(&b, report.NewDocument(res, report.Summarize(res, o), o), res, p))
	return b.String()
}

// wellFormed demands that every element is closed, in XML's sense: the page is that, too.
func wellFormed(t *testing.T, page string) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if !assert.NoError(t, err) {
			return
		}
	}
}

func TestThePageTellsTheVerdictFirstAndAllFigures(t *testing.T) {
	res := ran()
	page := written(t, res, seconds(60), "p99<5ms", "error_rate<1%", "late.p99<1s")
	wellFormed(t, page)
	body := page[strings.Index(page, "<body>"):]
	assert.True(t, strings.HasPrefix(body, "<body>\n<h1>2 of 3 thresholds not met <small>(exit 99)"), body[:80])
	for _, want := range []string{
		"host:1", "<td>998</td>", "<td>p99&lt;5ms</td><td>990ms</td><td><b>not met</b>",
		"<td>error_rate&lt;1%</td><td>0.2%</td><td>met</td>", "<td>no value</td>",
		"&lt;echo&gt;", "<td>68</td><td>refused</td><td>2</td>", "<td>connect: refused</td><td>3</td>",
	} {
		assert.Contains(t, page, want)
	}
	for _, title := range []string{"Requests a second", "Response", "Errors a second", "In flight, connections", "Latency by percentile"} {
		assert.Contains(t, page, "<h2>"+title+"</h2>\n<svg ")
	}
	assert.Contains(t, written(t, res, seconds(60)), `<h1 class="met">ok`)
}

// No script, no style on an element, no address: so it looks the same where they are forbidden.
func TestThePageNeedsNothingElse(t *testing.T) {
	page := written(t, ran(), seconds(3600))
	for _, no := range []string{"<script", "style=", "http:", "https:", "url(", "src=", "href=", "NaN", "Inf", "%!"} {
		assert.NotContains(t, page, no)
	}
	assert.Less(t, len(page), 400<<10, "an hour")
	assert.Equal(t, page, written(t, ran(), seconds(3600))[:len(page)], "the same run gives the same page")
}

func TestARunOfNothingHasAPage(t *testing.T) {
	res := &load.Result{Targets: []string{"nowhere:1"}, Conns: load.Conns{Errors: map[string]uint64{"dial": 5}},
		Total: load.Figures{Response: spread(0), Service: spread(0), Queue: spread(0), Lag: spread(0), Late: spread(0)}}
	page := written(t, res, new(Points))
	wellFormed(t, page)
	assert.Contains(t, page, "no connection")
	assert.NotContains(t, page, "<svg")
	for _, n := range []int{1, 2} {
		wellFormed(t, written(t, ran(), seconds(n)))
	}
}

func TestLongRunsKeepFewPointsAndAllCounts(t *testing.T) {
	for _, n := range []int{1, pointsMax, pointsMax + 1, 5*pointsMax + 3} {
		p := seconds(n)
		require.LessOrEqual(t, len(p.all), pointsMax)
		for _, points := range [][]point{p.all, p.drawn(pointsDrawn), p.drawn(1)} {
			var sent, failed uint64
			var took time.Duration
			var highest int64
			for _, at := range points {
				sent, failed, took = sent+at.sent, failed+at.failed, took+at.took
				highest = max(highest, at.highest)
			}
			assert.EqualValues(t, 100*n, sent)
			assert.EqualValues(t, 2*(n-1), failed, "%d", n)
			assert.Equal(t, time.Duration(n)*time.Second, took)
			assert.Equal(t, time.Duration(n)*time.Second, points[len(points)-1].at)
			if n > 100 {
				assert.InDelta(t, 99*time.Millisecond, highest, 1e6)
			}
		}
		assert.LessOrEqual(t, len(p.drawn(pointsDrawn)), pointsDrawn)
	}
}

func TestALineIsInterruptedWhereItHasNoValue(t *testing.T) {
	c := &chart{Title: "a < b", xs: []float64{0, 1, 2, 3, 4, 5}, x: number, y: number, log: true,
		lines: []line{{"l", []float64{1, 10, math.NaN(), 0, 100, math.NaN()}}}}
	svg := string(c.SVG())
	assert.Contains(t, svg, "<title>a &lt; b</title>")
	// 1 is at the bottom and 100 at the top, 10 halfway; the last one stands alone.
	middle := float64(top) + float64(height-top-bottom)/2
	step := float64(width-left-right) / 5
	assert.Contains(t, svg, fmt.Sprintf(`d="M%d.0 %d.0L%.1f %.1fM%.1f %d.0h1"`, left, height-bottom, left+step, middle, left+4*step, top))
	assert.Empty(t, (&chart{lines: []line{{"l", []float64{math.NaN()}}}, xs: []float64{1}}).SVG())
}

func TestTicksAreRoundAndWithin(t *testing.T) {
	assert.Equal(t, []float64{0, 20, 40, 60}, linearTicks(0, 63, 5))
	assert.Equal(t, []float64{5, 10, 15}, linearTicks(1, 18, 5))
	assert.Len(t, linearTicks(0, 3600, 8), 8)
	for text, v := range map[string]float64{"0": 0, "1": 1, "1.5k": 1500, "20M": 2e7, "0.25": 0.25} {
		assert.Equal(t, text, number(v))
	}
}
