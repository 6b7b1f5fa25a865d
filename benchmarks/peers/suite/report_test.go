package suite

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// row has the given requests per second by round, and everything else of the
// same size.
func row(system string, api bench.API, callers int, perSecond ...float64) bench.Row {
	cpu := 1e9 / perSecond[0]
	r := bench.Row{System: system, API: api, Callers: callers, PayloadBytes: payload, Conns: 1, Rounds: len(perSecond),
		ReqPerSec: bench.Median(perSecond), ReqPerSecRounds: perSecond, CPUPerReq: &cpu, LatencySamples: 1, P50: 1000, P99: 2000}
	for _, v := range perSecond {
		r.P99Rounds = append(r.P99Rounds, 1e9/v)
		r.CPUPerReqRounds = append(r.CPUPerReqRounds, 1e9/v)
	}
	return r
}

// sample is a report in which ringwire is ten times as fast as anet and half as
// fast as Redis.
func sample() *Report {
	r := &Report{SchemaVersion: SchemaVersion,
		Metadata: bench.Describe(bench.Config{Rounds: 2}, "abc123", []string{"peers", "run"}),
		Systems:  []System{{Name: bench.Anet, Version: "v1.0.0"}, {Name: "rueidis", Missing: "redis-server is not installed"}},
		Sections: []Section{{Name: "throughput", Title: "Callers", Rows: []bench.Row{
			row(bench.Ringwire, bench.Blocking, 64, 1000, 3000),
			row(bench.Anet, bench.Blocking, 64, 100, 300),
			row("rueidis", bench.Blocking, 64, 2000, 6000),
			row("arpc", bench.Blocking, 64, 500, 1000),
			row(bench.AnetV0, bench.Blocking, 64, 50, 150),
			{System: "grpc-go", API: bench.Blocking, Callers: 64, PayloadBytes: payload, Conns: 1, Failure: "connect: refused\nmore"},
		}}},
		Memory: []Memory{{System: bench.Ringwire, Conns: memoryConns, BytesPerConn: []float64{900, 1000, 2000}}},
	}
	r.Sections[0].Rows[1].Note = "multiplexed | really"
	r.Goals = r.goals()
	return r
}

func goal(t *testing.T, r *Report, against, metric string) Goal {
	t.Helper()
	for _, g := range r.Goals {
		if g.Against == against && g.Metric == metric {
			return g
		}
	}
	require.Failf(t, "no such goal", "%s %s in %v", against, metric, r.Goals)
	return Goal{}
}

func TestGoalsCompareRoundByRound(t *testing.T) {
	r := sample()
	for _, c := range []struct {
		against, metric string
		median          float64
		met             bool
	}{
		{bench.Anet, throughput, 10, false}, // 12 is wanted
		{bench.Anet, p99, 0.1, true},        // an eighth
		{"rueidis", throughput, 0.5, false},
		{"arpc", throughput, 2.5, true}, // of 2 and 3
		{"memory of our server", "memory", 1000, true},
	} {
		g := goal(t, r, c.against, c.metric)
		assert.InDelta(t, c.median, g.Median, 1e-9, "%s %s", c.against, c.metric)
		assert.Equal(t, c.met, g.Met, "%s %s", c.against, c.metric)
	}
	assert.Len(t, r.Goals, 5, "what was not measured has no goal, nor has anet's older server")
}

func TestGoalsTellTheQuietRoundsApart(t *testing.T) {
	ours, theirs := row(bench.Ringwire, bench.Blocking, 64, 100, 500, 900), row(bench.Anet, bench.Blocking, 64, 100, 100, 100)
	r := &Report{Sections: []Section{{Name: "throughput", Rows: []bench.Row{ours, theirs}}}}
	rows := r.Sections[0].Rows
	for name, c := range map[string]struct {
		ours, theirs []float64
		want         string
	}{
		"not known":     {nil, nil, "-"},
		"of one only":   {[]float64{0, 0, 0}, nil, "-"},
		"all quiet":     {[]float64{0, 0.01, 0}, []float64{0, 0, 0}, "5x (3)"},
		"ours stolen":   {[]float64{0.02, 0, 0.5}, []float64{0, 0, 0}, "5x (1)"},
		"theirs stolen": {[]float64{0, 0, 0}, []float64{0, 0.2, 0}, "5x (2)"},
		"all stolen":    {[]float64{1, 0, 0}, []float64{0, 1, 1}, "-"},
	} {
		rows[0].StolenRounds, rows[1].StolenRounds = c.ours, c.theirs
		r.Goals = r.goals()
		g := goal(t, r, bench.Anet, throughput)
		assert.Equal(t, c.want, g.quietText(), name)
		assert.InDelta(t, 5, g.Median, 1e-9, "%s: the verdict is that of all rounds", name)
	}
}

func TestGoalOfGrowingPayloadsCountsBytes(t *testing.T) {
	small, large := row(bench.Ringwire, bench.Blocking, growthPayloadCallers, 1000), row(bench.Ringwire, bench.Blocking, growthPayloadCallers, 125)
	large.PayloadBytes = 1 << 10
	r := &Report{Sections: []Section{{Name: "growth", Rows: []bench.Row{small, large}}}}
	r.Goals = r.goals()
	g := goal(t, r, oursBefore, "bytes per second")
	assert.InDelta(t, 2, g.Median, 1e-9, "an eighth of the requests with sixteen times the bytes")
	assert.True(t, g.Met)

	r.Sections[0].Rows[0].StolenRounds, r.Sections[0].Rows[1].StolenRounds = []float64{0}, []float64{0}
	r.Goals = r.goals()
	g = goal(t, r, oursBefore, "bytes per second")
	assert.Equal(t, "2x (1)", g.quietText())
}

func TestNativeRowsAreComparedWithRingwiresOfTheSameWindow(t *testing.T) {
	r := &Report{Sections: []Section{{Name: "limits", Rows: []bench.Row{
		row(bench.Ringwire, bench.Callback, window, 600), row(bench.Ringwire, bench.Batch, window, 500),
		row("prebuilt frames", bench.Native, window, 1000), row("redis-benchmark", bench.Native, window, 100),
		row(bench.Ringwire, bench.Blocking, 1, 90), row("net.Conn ping-pong", bench.Native, 1, 100)}}}}
	r.Goals = r.goals()
	var medians []float64
	for _, g := range r.Goals {
		assert.True(t, g.Met, g.Against)
		medians = append(medians, g.Median)
	}
	assert.Equal(t, []float64{6, 5, 0.6, 0.9}, medians)
}

func TestTablesTellRatiosNotesFailuresAndWhatIsMissing(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteTables(&b))
	for _, want := range []string{"10.00x", "0.50x", "MISSED", "met", "failed: connect: refused", "FAILED grpc-go with 64 callers after 0 rounds",
		"anet: multiplexed | really.", "rueidis was not measured: redis-server is not installed", "commit abc123", "1000"} {
		assert.Contains(t, b.String(), want)
	}
}

func TestMarkdownRowsHaveAsManyCellsAsTheirHeads(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	r.Sections[0].Rows = r.Sections[0].Rows[:4]
	r.Sections = append(r.Sections, Section{Name: "rate", Rows: slices.Clone(r.Sections[0].Rows)})
	r.Sections[1].Rows[0].Rate = rateAnet
	require.NoError(t, r.WriteMarkdown(&b))
	cells := 0
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := strings.Count(line, "|")
		if cells == 0 {
			cells = n
		}
		assert.Equal(t, cells, n, line)
	}
	assert.Contains(t, b.String(), "**missed**")
	assert.Contains(t, b.String(), `multiplexed \| really`)
}

func TestPacedRowsShowThePacersLag(t *testing.T) {
	paced := row(bench.Ringwire, bench.Blocking, rateCallers, rateAnet)
	paced.Rate, paced.LagP50, paced.LagP99, paced.Unsent = rateAnet, 16_000, 130_000, 7
	old := row(bench.Anet, bench.Blocking, rateCallers, rateAnet)
	old.Rate = rateAnet
	r := &Report{Sections: []Section{{Name: "rate", Title: "Rate", Rows: []bench.Row{paced, old}},
		{Name: "throughput", Title: "Callers", Rows: sample().Sections[0].Rows[:1]}}}
	var table, markdown bytes.Buffer
	require.NoError(t, r.WriteTables(&table))
	require.NoError(t, r.WriteMarkdown(&markdown))
	assert.Regexp(t, `errors +lag p50 +lag p99 +unsent\n.* 16.0us +130us +7\n.* - +- +0\n`, table.String())
	assert.Regexp(t, `ours/theirs +errors\n.* 0\n`, table.String(), "rows without a rate have none")
	assert.Contains(t, markdown.String(), "| errors | lag p50 | lag p99 | unsent |")
	assert.Contains(t, markdown.String(), "| 0 | 16.0us | 130us | 7 |")
	assert.Equal(t, 1, strings.Count(table.String(), lagNote))
}

func TestJSONIsReadBackWithTheSameGoals(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	require.NoError(t, r.WriteJSON(&b))
	read, err := Read(&b)
	require.NoError(t, err)
	assert.Equal(t, r.Goals, read.Goals)
	assert.Equal(t, r.Sections, read.Sections)
	_, err = Read(strings.NewReader(`{"schema_version": 99}`))
	require.ErrorContains(t, err, "version 99")
}

// svgText is the text in a picture, which must be well-formed.
func svgText(t *testing.T, c Chart) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, c.Figure.WriteSVG(&b))
	assert.NotContains(t, b.String(), "NaN", c.Name)
	assert.NotContains(t, b.String(), "Inf", c.Name)
	in := xml.NewDecoder(&b)
	var text strings.Builder
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		require.NoError(t, err, c.Name)
		if chars, ok := token.(xml.CharData); ok {
			text.Write(chars)
			text.WriteByte('\n')
		}
	}
}

func TestChartsShowEverySystemAndEveryLoss(t *testing.T) {
	charts := sample().Charts()
	texts := make(map[string]string)
	for _, c := range charts {
		texts[c.Name] = svgText(t, c)
		assert.Contains(t, texts[c.Name], "commit abc123", c.Name)
		assert.Contains(t, texts[c.Name], "anet v1.0.0", c.Name)
	}
	require.Len(t, charts, 4)
	assert.Contains(t, texts["throughput"], "ringwire 2.00k")
	assert.Contains(t, texts["throughput"], "rueidis + Redis 4.00k")
	assert.NotContains(t, texts["throughput"], "grpc-go", "it failed")
	assert.Contains(t, texts["latency"], "99th percentile latency")
	assert.Contains(t, texts["cpu"], "under full load, 64 blocking callers")
	assert.Contains(t, texts["losses"], "rueidis, 64 blocking callers: 0.5x, wanted >= 2.8x")
	assert.Contains(t, texts["losses"], "anet, 64 blocking callers: 10x, wanted >= 12x")
	assert.NotContains(t, texts["losses"], "arpc")
}

func TestAnAdvantageIsMoreThanOneWhereWeAreBetter(t *testing.T) {
	for want, g := range map[float64]Goal{
		3:   {Op: ">=", Unit: "x", Median: 3},
		4:   {Op: "<=", Unit: "x", Median: 0.25},
		0.5: {Op: "<=", Unit: "B", Want: 1024, Median: 2048},
	} {
		assert.InDelta(t, want, g.advantage(), 1e-9)
	}
	bar := (&Goal{Op: "<=", Unit: "x", Median: 2, Want: 0.5}).bar()
	assert.InDelta(t, 0.5, bar.Value, 1e-9)
	assert.InDelta(t, 2, bar.Mark, 1e-9)
}

func TestAReportWithoutALossSaysSo(t *testing.T) {
	r := &Report{Goals: []Goal{{Against: "arpc", Op: ">", Want: 1, Unit: "x", Rounds: []float64{2}, Median: 2, Met: true, Metric: throughput}}}
	charts := r.Charts()
	require.Len(t, charts, 1)
	assert.Contains(t, svgText(t, charts[0]), "Nowhere")
}

func TestRowsThatLoseWithoutATargetAreShown(t *testing.T) {
	r := &Report{Sections: []Section{{Name: "throughput", Rows: []bench.Row{
		row(bench.Ringwire, bench.Blocking, 1, 80), row("net.Conn", bench.Blocking, 1, 100)}}}}
	bars := r.slowerRows()
	require.Len(t, bars, 1)
	assert.Equal(t, "net.Conn, 1 blocking caller", bars[0].Name)
	assert.InDelta(t, 0.8, bars[0].Value, 1e-9)
}

func TestOptionsNameWhatTheyDoNotKnow(t *testing.T) {
	ok := Options{Peers: []string{"anet"}, Sections: []string{"memory"}, Callers: []int{1}, Clients: []int{1},
		Rounds: 1, Slice: bench.SliceMin}
	require.NoError(t, ok.Validate())
	for want, change := range map[string]func(*Options){
		`no peer "x"`:                     func(o *Options) { o.Peers = []string{"x"} },
		`no section "x"`:                  func(o *Options) { o.Sections = []string{"x"} },
		"callers 0":                       func(o *Options) { o.Callers = []int{0} },
		"light clients: bench: callers 0": func(o *Options) { o.Clients = []int{0} },
		"rounds 0":                        func(o *Options) { o.Rounds = 0 },
		"slice 0s":                        func(o *Options) { o.Slice = 0 },
	} {
		o := ok
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
	assert.True(t, ok.wants(bench.Ringwire))
	assert.True(t, ok.wants(peer.RingwireTwoLoops().Name))
	assert.True(t, ok.wants("anet"))
	assert.False(t, ok.wants("arpc"))
}
