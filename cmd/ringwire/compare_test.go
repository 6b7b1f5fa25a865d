package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/compare"
	"github.com/ringwire/ringwire/load/quantile"
	"github.com/ringwire/ringwire/load/report"
)

// compared runs "ringwire compare" and reads its result.
func compared(t *testing.T, args ...string) (outcome, comparison) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "result.json")
	got := execute(t, "", binary, append([]string{"compare", "--json", path}, args...)...)
	var c comparison
	if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
		require.NoError(t, json.Unmarshal(data, &c), "%s", data)
	}
	return got, c
}

func TestCompareFindsTheSlowerSide(t *testing.T) {
	// So slow that the lag of a generator on a busy machine is a small part of it.
	fast, _ := startServe(t, "--latency", "60ms")
	slow, _ := startServe(t, "--latency", "180ms")
	lines := filepath.Join(t.TempDir(), "rounds.txt")
	got, c := compared(t, "-r", "200", "-d", "300ms", "-c", "2", "--inflight", "64", "--max-regression", "30%", "--max-rounds", "20", "--benchstat", lines, fast, slow)
	require.Equal(t, exitRegression, got.code, got.stdout+got.stderr)
	assert.Equal(t, got.code, c.ExitCode)
	require.Len(t, c.Measures, 3, "the open loop's rate is no measure")
	p50 := c.Measures[0]
	assert.Equal(t, "p50", p50.Name)
	assert.Equal(t, compare.Worse, p50.Meaning)
	assert.Greater(t, p50.Ratio, 1.5)
	assert.Greater(t, p50.Low, 1.0)
	assert.Equal(t, compare.Over, p50.Decision)
	assert.InDelta(t, 0.9883, p50.Confidence, 1e-3, "of the first of two looks")
	require.Len(t, p50.Measure.A, 10)
	assert.GreaterOrEqual(t, p50.Measure.A[0], 6e7)
	assert.GreaterOrEqual(t, p50.Measure.B[0], 18e7)
	assert.Contains(t, got.stdout, "10 rounds, in turn")
	assert.Contains(t, got.stdout, "98.8 % interval")

	text, err := os.ReadFile(lines)
	require.NoError(t, err)
	form := regexp.MustCompile(`(?m)^BenchmarkLoad/side=[AB]\t60\t\d+ p50-ns\t\d+ p99-ns$`)
	assert.Len(t, form.FindAll(text, -1), 20, string(text))

	got, c = compared(t, "-n", "30", "-d", "10s", "-c", "15", slow, fast)
	require.Zero(t, got.code, got.stdout+got.stderr)
	require.Len(t, c.Measures, 4)
	assert.Equal(t, "rate", c.Measures[3].Name)
	assert.Equal(t, compare.Better, c.Measures[3].Meaning)
	assert.Equal(t, compare.Better, c.Measures[0].Meaning)
	assert.Equal(t, compare.Same, c.Measures[2].Meaning, "both answer all")
	assert.Contains(t, got.stdout, "B is not worse (exit 0)")
}

func TestARoundThatFailsEndsTheComparison(t *testing.T) {
	fine, _ := startServe(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	got, _ := compared(t, "-n", "5", fine, gone.Addr().String())
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stderr, "round 1, side B: no connection")
	got, _ = compared(t, "-n", "5", "--expect", "equal:x", fine, fine)
	assert.Equal(t, 3, got.code)
	assert.Contains(t, got.stderr, "round 1, side A: wrong replies")
}

// judged is what a comparison of rounds says.
func judged(t *testing.T, limit float64, limited int, ratio func(measure string, round int) float64) *comparison {
	t.Helper()
	c := &comparison{Rounds: 10, Limit: limit}
	c.measures(false)
	for round := range 10 {
		of := func(b bool) *report.Summary {
			r := func(name string) float64 {
				if b {
					return ratio(name, round)
				}
				return 1
			}
			s := &report.Summary{Response: &quantile.Percentiles{P50: int64(1e6 * r("p50")), P99: int64(5e6 * r("p99"))},
				ErrorRate: 1 - 0.9*r("success"), Rate: 1000 * r("rate")}
			if s.GeneratorLimited = limited > 0; limited > 0 {
				limited--
			}
			return s
		}
		c.add(0, of(false))
		c.add(1, of(true))
	}
	_, err := c.look(1, true)
	require.NoError(t, err)
	c.judge()
	return c
}

func TestTheLimitDecidesWhatIsARegression(t *testing.T) {
	all := func(name string, by float64) func(string, int) float64 {
		return func(n string, round int) float64 {
			if n != name {
				return 1
			}
			return 1 + by + 0.001*float64(round)
		}
	}
	wild := func(n string, round int) float64 {
		if n != "p99" {
			return 1
		}
		return 1 + 0.5*float64(round%2*2-1)
	}
	for _, c := range []struct {
		limit   float64
		limited int
		ratio   func(string, int) float64
		code    int
		says    string
	}{
		{-1, 0, all("p99", 0.2), 0, "B is worse: p99"},
		{0.05, 0, all("p99", 0.2), 98, "B is worse by more than 5 %: p99"},
		{0.3, 0, all("p99", 0.2), 0, "B is worse, not by more than 30 %: p99"},
		{0, 0, all("rate", -0.2), 98, "more than 0 %: rate"},
		{0.05, 0, all("success", -0.5), 98, "success"},
		{0.05, 0, all("p50", -0.5), 0, "B is not worse"},
		{0.05, 0, all("rate", 0.5), 0, "B is not worse"},
		{0.05, 20, all("p99", 0.2), 98, "p99"},
		{0.05, 10, all("p99", 0.04), 4, "the generator was the limit in 10 of 20 runs"},
		{0.05, 10, all("p99", 0), 4, "inconclusive"},
		{0.05, 9, all("p99", 0), 0, "B is worse, not by more than 5 %"},
		{0.05, 0, wild, 0, "B is not shown to be worse by more than 5 %, and may be: p99, by 5"},
		{0.05, 10, wild, 4, "inconclusive"},
		{-1, 20, all("p99", 0.2), 0, "B is worse: p99"},
	} {
		got := judged(t, c.limit, c.limited, c.ratio)
		assert.Equal(t, c.code, got.ExitCode, c.says)
		assert.Contains(t, got.Verdict, c.says)
	}
}

// Rounds go on while the limit is undecided, and only then.
func TestALookDecidesWhenNoMeasureIsOpen(t *testing.T) {
	even := func(string, int) float64 { return 1 }
	wild := func(n string, round int) float64 {
		if n != "p99" {
			return 1
		}
		return 0.5 + 0.7*float64(round%2)
	}
	worse := func(n string, round int) float64 {
		if n == "p50" {
			return 1.2
		}
		return wild(n, round)
	}
	for i, c := range []struct {
		limit float64
		ratio func(string, int) float64
		want  bool
	}{{0.05, even, true}, {0.05, wild, false}, {-1, wild, true}, {0.05, worse, true}} {
		j := judged(t, c.limit, 0, c.ratio)
		decided, err := j.look(3, false)
		require.NoError(t, err)
		assert.Equal(t, c.want, decided, i)
	}
}

func TestCompareRefusesNonsenseBeforeItDials(t *testing.T) {
	addr := accepting(t, func(net.Conn) { t.Error("dialled") })
	for args, want := range map[string]string{
		addr:                                   "1 arguments given, 2 needed",
		addr + " here":                         `target "here": must be host:port`,
		addr + " " + addr + " --rounds 9":      "--rounds 9: must be 10 to 1000",
		addr + " " + addr + " --rounds 1001":   "must be 10 to 1000",
		addr + " " + addr + " --max-rounds 50": "--max-rounds 50: there is nothing to decide without --max-regression",
		addr + " " + addr + " --max-regression 5% --max-rounds 9":    "--max-rounds 9: must be 10, the --rounds, to 1000",
		addr + " " + addr + " --max-regression 5% --max-rounds 1001": "to 1000",
		addr + " " + addr + " --rate 0":                              "--rate 0: must be above 0",
		addr + " " + addr + " --threshold p<1":                       "--threshold: is not for compare",
		addr + " " + addr + " --listen :0":                           "--listen: is not for compare",
		addr + " " + addr + " --max-regression 5":                    `--max-regression "5": must be 0% to 1000%`,
		addr + " " + addr + " --max-regression -5%":                  "must be 0% to 1000%",
		addr + " " + addr + " --json /nonexistent/x":                 "--json: ",
		addr + " " + addr + " --benchstat /nonexistent/x":            "--benchstat: ",
		addr + " tls://" + addr + " --tls-ca /nonexistent":           "--tls-ca: ",
	} {
		var out strings.Builder
		code := run(append([]string{"compare"}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}
