package suite

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// under is a row of a condition. ours has the ratio to anet's that a run would find.
func under(condition, beside string, r bench.Row, ratio float64) bench.Row {
	r.Condition, r.Beside = condition, beside
	if ratio > 0 {
		r.Ratios, r.RatioToAnet = map[string]float64{bench.Anet: ratio}, &ratio
	}
	return r
}

// busy is a row of processor time, in milliseconds a second.
func busy(condition, beside, system string, ms, ratio float64) bench.Row {
	r := row(system, bench.Blocking, 1, 100)
	r.Condition, r.Beside = condition, beside
	ns := ms * 1e6
	r.CPUPerSecond, r.CPUPerSecondRounds = &ns, []float64{ns}
	if ratio > 0 {
		r.CPURatios = map[string]float64{bench.Anet: ratio}
	}
	return r
}

// everydaySample is sample with a section in which ringwire loses one row by rate and
// one by processor time.
func everydaySample() *Report {
	r := sample()
	r.Sections = append(r.Sections, Section{Name: "everyday", Title: "As people use it",
		Rows: []bench.Row{under("", "", row(bench.Ringwire, bench.Blocking, 16, 1000), 10),
			row(bench.Anet, bench.Blocking, 16, 100)},
		Everyday: []bench.Row{
			under("deadline", "deadline", row(bench.Ringwire, bench.Blocking, 16, 800), 4),
			under("deadline", "deadline", row(bench.Anet, bench.Blocking, 16, 200), 0),
			under("no polling", "", row(bench.Ringwire, bench.Blocking, 16, 50), 0.5),
			{System: bench.Anet, API: bench.Blocking, Callers: 16, Condition: "4 servers", Failure: "refused"},
			busy("idle", "idle", bench.Ringwire, 8, 0.25), busy("idle", "idle", bench.Anet, 2, 0),
			busy("idle, no polling", "idle", bench.Ringwire, 1, 2),
		}})
	return r
}

func TestEverydayTablesShowConditionsBesideWhatTheyAreComparedWith(t *testing.T) {
	var table, markdown bytes.Buffer
	r := everydaySample()
	require.NoError(t, r.WriteTables(&table))
	require.NoError(t, r.WriteMarkdown(&markdown))
	for _, want := range []string{
		`deadline +16 +800 +200 +v1.0.0 +4.00x +10.00x`,
		`no polling +16 +50.0 +100 +v1.0.0 +0.50x +10.00x`, // beside anet's best case
		`idle +1 +8.00ms/s +2.00ms/s +v1.0.0 +0.25x`,
		`idle, no polling +1 +1.00ms/s +2.00ms/s +v1.0.0 +2.00x`, // beside anet's idle row
	} {
		assert.Regexp(t, `(?m)^`+want, table.String())
	}
	for _, want := range []string{
		"\n### As people use it\n",
		"| deadline | 16 | 800 | 200 | v1.0.0 | 4.00x | 10.00x |",
		"| idle | 1 | 8.00ms/s | 2.00ms/s | v1.0.0 | 0.25x |",
	} {
		assert.Contains(t, markdown.String(), want)
	}
	for _, text := range []string{table.String(), markdown.String()} {
		assert.Contains(t, text, "SLOWER than anet: ringwire blocking with 16 callers (no polling), 0.50x of anet.")
		assert.Contains(t, text, "MORE PROCESSOR TIME than anet: idle, 4.00x of anet.")
		assert.Contains(t, text, "FAILED anet with 16 callers (4 servers) after 0 rounds: refused")
	}
}

func TestEverydayRowsThatLoseAreLossesAndInNoOtherPicture(t *testing.T) {
	texts := make(map[string]string)
	for _, c := range everydaySample().Charts() {
		texts[c.Name] = svgText(t, c)
	}
	assert.Contains(t, texts["losses"], "anet, 16 blocking callers, no polling: 0.5x, no target")
	assert.Contains(t, texts["losses"], "anet, idle, processor time: 0.25x, no target")
	assert.Contains(t, texts["losses"], "rueidis, 64 blocking callers", "those of other sections stay")
	assert.NotContains(t, texts["losses"], "deadline", "it is faster")
	assert.NotContains(t, texts["losses"], "idle, no polling")
	for _, c := range sample().Charts() {
		if c.Name != "losses" {
			assert.Equal(t, svgText(t, c), texts[c.Name], "%s is as without everyday use", c.Name)
		}
	}
	assert.Equal(t, sample().Goals, everydaySample().goals(), "there are no goals for it")
}

func TestEverydayAloneHasAPictureOfLosses(t *testing.T) {
	r := everydaySample()
	r.Sections, r.Goals = r.Sections[1:], nil
	charts := r.Charts()
	require.Len(t, charts, 1)
	assert.Contains(t, svgText(t, charts[0]), "no polling: 0.5x")
}

func TestJSONKeepsEverydayRows(t *testing.T) {
	var b bytes.Buffer
	r := everydaySample()
	require.NoError(t, r.WriteJSON(&b))
	assert.Equal(t, 1, bytes.Count(b.Bytes(), []byte(`"everyday":`)), "other sections have no such field")
	read, err := Read(&b)
	require.NoError(t, err)
	assert.Equal(t, r.Sections, read.Sections)
}

func TestServersAreStartedAsTheirSetupSays(t *testing.T) {
	assert.Empty(t, setupArgs(bench.Setup{Number: 3}))
	assert.Equal(t, []string{"--workers", "64", "--busy-poll", "-1ns", "--latency", "5ms"},
		setupArgs(bench.Setup{Workers: 64, NoPolling: true, Latency: 5 * time.Millisecond}))
}

// Results that are kept were written before there was a section of everyday use.
func TestTheCommittedResultIsRead(t *testing.T) {
	in, err := os.Open("../../../docs/peers/peers.json")
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	r, err := Read(in)
	require.NoError(t, err)
	require.NotNil(t, r.section("throughput"))
	assert.NotEmpty(t, r.Goals)
	for _, g := range r.Goals {
		assert.Positive(t, g.Median, "%s, %s, %s", g.Against, g.At, g.Metric)
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteTables(&b))
	require.NoError(t, r.WriteMarkdown(&b))
	assert.Contains(t, b.String(), "ours/theirs")
	for _, c := range r.Charts() {
		svgText(t, c)
	}
}
