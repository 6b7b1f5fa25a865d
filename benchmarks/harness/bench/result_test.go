package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rates makes a cell that answered so many requests a second in each round; 0
// is a round that did not run.
func rates(name string, api API, perSecond ...uint64) *cell {
	c := &cell{Case: Case{Target: &Target{Name: name}, API: api, Callers: 16, PayloadBytes: 16, Conns: 1},
		latencies: newHistogram(), lags: newHistogram()}
	for _, n := range perSecond {
		var m *measurement
		if n > 0 {
			m = &measurement{requests: n, elapsed: time.Second, cpu: time.Millisecond, mallocs: 2 * n}
		}
		c.rounds = append(c.rounds, m)
	}
	return c
}

func TestRatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	ours := rates(Ringwire, Blocking, 100, 400, 900)
	cells := []*cell{ours, rates(Anet, Blocking, 100, 100, 300), rates(Anet, Batch, 1, 1, 1)}
	r := summarize(cells, false)
	require.NotNil(t, r.Rows[0].RatioToAnet)
	assert.InDelta(t, 3, *r.Rows[0].RatioToAnet, 1e-9, "of 1, 4 and 3; the ratio of the medians would be 4")
	assert.Nil(t, r.Rows[1].RatioToAnet)
}

func TestRatioOfAnAPIThatAnetLacksIsToItsFastest(t *testing.T) {
	cells := []*cell{rates(Ringwire, Callback, 600), rates(Anet, Blocking, 100), rates(Anet, Batch, 300)}
	r := summarize(cells, false)
	assert.InDelta(t, 2, *r.Rows[0].RatioToAnet, 1e-9)
}

func TestRatioSkipsRoundsThatAnetDidNotRun(t *testing.T) {
	cells := []*cell{rates(Ringwire, Blocking, 100, 100), rates(Anet, Blocking, 50, 0), rates(Anet, Batch, 1, 1)}
	r := summarize(cells, true)
	assert.InDelta(t, 2, *r.Rows[0].RatioToAnet, 1e-9)
	assert.True(t, r.Partial)
}

func TestRatioIsToTheHarderBaseline(t *testing.T) {
	cells := []*cell{rates(Ringwire, Blocking, 600, 600),
		rates(AnetV1, Blocking, 200, 300), rates(AnetV0, Blocking, 100, 400)}
	r := summarize(cells, false)
	row := r.Rows[0]
	assert.InDeltaMapValues(t, map[string]float64{AnetV1: 2.5, AnetV0: 3.75}, row.Ratios, 1e-9)
	assert.InDelta(t, 2.5, *row.RatioToAnet, 1e-9)
	for _, baseline := range r.Rows[1:] {
		assert.Empty(t, baseline.Ratios, "%s is not compared with the other", baseline.System)
	}
	assert.Equal(t, "No row is slower than anet. "+
		"Closest: ringwire blocking with 16 callers, 2.50x of anet-v1.0.0.", r.lossNote())
}

func TestLossesAreNamedTheWorstFirst(t *testing.T) {
	cells := []*cell{rates(Ringwire, Blocking, 90), rates(Ringwire, Batch, 50),
		rates(Ringwire, Callback, 900), rates(AnetV1, Blocking, 100), rates(AnetV1, Batch, 100),
		rates(AnetV0, Blocking, 300)}
	r := summarize(cells, false)
	assert.Equal(t, "SLOWER than anet: ringwire batch with 16 callers, 0.17x of anet-v0.3.0; "+
		"ringwire blocking with 16 callers, 0.30x of anet-v0.3.0.", r.lossNote())
	assert.Empty(t, (&Result{Rows: r.Rows[3:]}).lossNote(), "nothing was compared")
	var table bytes.Buffer
	require.NoError(t, r.WriteTable(&table, false))
	_, notes, _ := strings.Cut(table.String(), "\n\n")
	assert.True(t, strings.HasPrefix(notes, "SLOWER than anet: "), notes)
}

func TestALossThatTheTableRoundsAwayIsNone(t *testing.T) {
	r := summarize([]*cell{rates(Ringwire, Blocking, 996), rates(AnetV1, Blocking, 1000)}, false)
	assert.Contains(t, r.lossNote(), "No row is slower than anet")
}

func TestEachBaselinesLineHasAColourOfItsOwn(t *testing.T) {
	seen := make(map[int]string)
	for _, system := range []string{Ringwire, AnetV1, AnetV0} {
		for _, api := range APIs() {
			row := Row{System: system, API: api}
			assert.Empty(t, seen[colour(&row)], "%s %s", system, api)
			seen[colour(&row)] = system
		}
	}
}

func TestRowAddsUpTheRounds(t *testing.T) {
	r := summarize([]*cell{rates(Ringwire, Blocking, 100, 300, 0)}, false)
	row := r.Rows[0]
	assert.Equal(t, 2, row.Rounds)
	assert.EqualValues(t, 400, row.Requests)
	assert.InDelta(t, 200, row.ReqPerSec, 1e-9)
	assert.InDelta(t, 2, row.AllocsPerReq, 1e-9)
	assert.InDelta(t, (1e4+1e6/300.0)/2, *row.CPUPerReq, 1e-6, "median of the rounds")
}

func TestRowWithoutARoundIsLeftOut(t *testing.T) {
	assert.Empty(t, summarize([]*cell{rates(Ringwire, Blocking, 0)}, true).Rows)
}

func TestMedianAndSpread(t *testing.T) {
	assert.InDelta(t, 2, Median([]float64{3, 1, 2}), 1e-9)
	assert.InDelta(t, 2.5, Median([]float64{4, 1, 2, 3}), 1e-9)
	assert.InDelta(t, 2.0/3, Spread([]float64{1, 2, 3, 4, 5}), 1e-9)
	assert.Zero(t, Spread([]float64{7}))
}

func TestParseThreshold(t *testing.T) {
	for text, bound := range map[string]float64{
		"ratio>=5": 5, "req_per_s>100k": 1e5, "req_per_s > 1.5m": 1.5e6, "p99<2ms": 2e6,
		"p999<=250us": 2.5e5, "allocs_per_req==0": 0, "errors==0": 0, "cpu_ns_per_req<900": 900,
	} {
		got, err := ParseThreshold(text)
		require.NoError(t, err, text)
		assert.InDelta(t, bound, got.bound, 1e-9, text)
		assert.Equal(t, text, got.String())
	}
	for _, text := range []string{"", "ratio", "ratio=5", "ratio>", "speed>5", "p99<2", "ratio>5x", "req_per_s>1.2.3", "p99<2k", "ratio>=5;"} {
		_, err := ParseThreshold(text)
		assert.Error(t, err, text)
	}
}

func TestThresholdHoldsForEveryRowOfRingwire(t *testing.T) {
	ratio := 4.0
	rows := []Row{
		{System: Ringwire, API: Blocking, Callers: 1, ReqPerSec: 50, P99: 900, RatioToAnet: &ratio},
		{System: Ringwire, API: Batch, Callers: 16, ReqPerSec: 70, P99: 1100, RatioToAnet: &ratio},
		{System: Anet, API: Blocking, Callers: 1, ReqPerSec: 1, P99: 5000},
	}
	for text, broken := range map[string]int{
		"req_per_s>=50": 0, "req_per_s>50": 1, "req_per_s<50": 2, "req_per_s<=50": 1, "req_per_s==70": 1,
		"p99<1us": 1, "ratio>=4": 0, "ratio>4": 2, "errors==0": 0, "cpu_ns_per_req<1m": 2,
	} {
		threshold, err := ParseThreshold(text)
		require.NoError(t, err)
		assert.Len(t, threshold.Check(rows), broken, text)
	}
	threshold, _ := ParseThreshold("p99<1us")
	assert.Equal(t, []string{"p99<1us: batch with 16 callers has 1.1µs"}, threshold.Check(rows))
}

func TestTextsKeepThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 9.5: "9.50", 999: "999", 999.6: "1.00k", 12_345: "12.3k", 999_499: "999k", 999_500: "1.00M", 12_345_678: "12.3M"} {
		assert.Equal(t, want, RateText(v), "%v", v)
	}
	for v, want := range map[int64]string{7: "7.00ns", 850: "850ns", 1_000: "1.00us", 31_250: "31.2us", 1_250_000: "1.25ms", 2_500_000_000: "2.50s"} {
		assert.Equal(t, want, LatencyText(v), "%v", v)
	}
}

func sample() *Result {
	cells := []*cell{rates(Ringwire, Blocking, 200_000, 220_000), rates(Ringwire, Callback, 3_000_000, 2_000_000), rates(Anet, Blocking, 90_000, 80_000)}
	for _, c := range cells {
		for i := range 2000 {
			_ = c.latencies.RecordValue(int64(1000 + i))
		}
	}
	r := summarize(cells, false)
	r.Metadata = Describe(small(Blocking), "abc123", []string{"ringwire", "bench", "--threshold", "ratio>=5 & \"x\""})
	r.Metadata.Load = nil
	r.Metadata.Baseline = "client v1.0.0, server v0.3.0"
	return r
}

func TestTableHasARowPerCellAndSaysHow(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	require.NoError(t, r.WriteTable(&b, false))
	assert.NotContains(t, b.String(), "\x1b")
	assert.NotContains(t, b.String(), "PARTIAL")
	lines := strings.Split(b.String(), "\n")
	assert.Equal(t, []string{"callers", "system", "api", "req/s", "spread", "p50", "p99", "p99.9", "cpu/req", "allocs/req", "vs", "anet", "errors"}, strings.Fields(lines[0]))
	assert.Equal(t, []string{"16", "ringwire", "blocking", "210k"}, strings.Fields(lines[1])[:4])
	assert.Contains(t, lines[1], "2.49x")
	assert.Contains(t, b.String(), "commit abc123")

	r.Partial = true
	r.Rows[0].LatencySamples = p999SamplesMin - 1
	b.Reset()
	require.NoError(t, r.WriteTable(&b, true))
	assert.Contains(t, b.String(), "PARTIAL")
	assert.Contains(t, b.String(), "\x1b[1m")
	assert.Equal(t, "-", strings.Fields(strings.Split(b.String(), "\n")[1])[7], "too few latencies for a 99.9th percentile")
}

func TestABusyMachineIsMentioned(t *testing.T) {
	idle, busy := 0.49, 3.0
	r := sample()
	r.Metadata.Cores = 2
	for load, want := range map[*float64]bool{nil: false, &idle: false, &busy: true} {
		r.Metadata.Load = load
		var table, picture bytes.Buffer
		require.NoError(t, r.WriteTable(&table, false))
		require.NoError(t, r.WriteSVG(&picture))
		assert.Equal(t, want, strings.Contains(table.String(), "busy before the run: load average 3.0"))
		assert.Equal(t, want, strings.Contains(picture.String(), "busy before the run: load average 3.0"))
	}
}

func TestSVGIsWellFormedAndSaysWhereItComesFrom(t *testing.T) {
	for name, r := range map[string]*Result{"full": sample(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, r.WriteSVG(&b))
			in := xml.NewDecoder(&b)
			var text strings.Builder
			for {
				token, err := in.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				if chars, ok := token.(xml.CharData); ok {
					text.Write(chars)
				}
			}
			assert.NotContains(t, text.String(), "NaN")
			if name == "full" {
				for _, want := range []string{"ringwire callback 2.50M", "anet blocking 85.0k", "commit abc123",
					`'ratio>=5 & "x"'`, "2 rounds", "prefers-color-scheme:dark", "anet: client v1.0.0"} {
					assert.Contains(t, text.String(), want)
				}
			}
		})
	}
}

func TestJSONRowsHaveTheDocumentedFields(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteJSON(&b))
	var got struct {
		SchemaVersion int              `json:"schema_version"`
		Partial       *bool            `json:"partial"`
		Metadata      map[string]any   `json:"metadata"`
		Rows          []map[string]any `json:"rows"`
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	assert.Equal(t, SchemaVersion, got.SchemaVersion)
	assert.NotNil(t, got.Partial)
	require.Len(t, got.Rows, 3)
	for _, field := range []string{"system", "api", "callers", "window", "payload_bytes", "conns", "rounds", "requests", "errors",
		"req_per_s", "req_per_s_rounds", "latency_samples", "p50_ns", "p99_ns", "p999_ns", "cpu_ns_per_req", "allocs_per_req", "ratio_to_anet"} {
		assert.Contains(t, got.Rows[0], field)
	}
	assert.NotContains(t, got.Rows[2], "ratio_to_anet", "anet is not compared with itself")
	for _, field := range []string{"time", "go_version", "os", "arch", "cores", "gomaxprocs", "commit", "command", "slice", "rounds"} {
		assert.Contains(t, got.Metadata, field)
	}
}

func TestProgressRedrawsOnATerminalOnly(t *testing.T) {
	var b bytes.Buffer
	status := Status{Done: 1, Total: 4, Round: 1, Rounds: 2, System: Anet, API: Batch, Callers: 64, ReqPerSec: 12_345, Elapsed: time.Second}
	p := NewProgress(&b, true, 40, false)
	p.Show(status)
	assert.True(t, strings.HasPrefix(b.String(), "\r\x1b[K"))
	assert.Less(t, len(b.String()), 40+len("\r\x1b[K"))
	p.Done()
	assert.True(t, strings.HasSuffix(b.String(), "\r\x1b[K"))

	b.Reset()
	p = NewProgress(&b, false, 0, false)
	p.Show(status)
	assert.Empty(t, b.String(), "no line before five seconds have passed")
	status.Elapsed, status.Done = 6*time.Second, 2
	p.Show(status)
	assert.Equal(t, "round 1/2   50%  6s left  anet batch, 64 callers: 12.3k req/s\n", b.String())
	p.Show(status)
	p.Done()
	assert.Equal(t, 1, strings.Count(b.String(), "\n"))
}

func TestStolenNoteTellsMedianAndMost(t *testing.T) {
	assert.Empty(t, StolenNote(nil))
	assert.Empty(t, StolenNote([]Row{{}, {StolenRounds: []float64{0, 0}}}), "nothing was stolen")
	assert.Equal(t, "The host took this machine's processors away for 2.0 % of the time (median of the slices; at most 40 %).",
		StolenNote([]Row{{StolenRounds: []float64{0.01, 0.4}}, {StolenRounds: []float64{0.02}}}))
}
