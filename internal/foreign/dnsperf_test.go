//go:build linux

package foreign

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/report"
)

// Without them the comparison is one round of a moment each, which is no figure.
var (
	rounds = flag.Int("rounds", 0, "rounds of the comparison with dnsperf; 0: one of 200 ms, without a table")
	lasts  = flag.Duration("each", 3*time.Second, "how long each run of a round lasts")
)

const (
	// Of both: connections, and queries in flight on all of them.
	clients     = 4
	outstanding = 100

	fixedRate = 20_000
	slowRate  = 2_000
)

// measured is what a run gave.
type measured struct {
	rate           float64 // replies a second
	mean, p50, p99 float64 // of the service time, in microseconds
}

// queries writes a file of whole frames, which both read.
func queries(t *testing.T) (file string) {
	t.Helper()
	var frames []byte
	for i := range 1000 {
		q := binary.BigEndian.AppendUint16(nil, uint16(i))
		q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
		q = append(append(append(q, 7), fmt.Sprintf("h%06d", i)...), "\x07example\x00\x00\x01\x00\x01"...)
		frames = append(binary.BigEndian.AppendUint16(frames, uint16(len(q))), q...)
	}
	file = filepath.Join(t.TempDir(), "queries")
	require.NoError(t, os.WriteFile(file, frames, 0o644))
	return file
}

// ours runs ringwire load; rate 0 is the closed loop.
func ours(t *testing.T, addr, file string, rate int, d time.Duration) measured {
	t.Helper()
	args := []string{"--framing", "dns-tcp", "--frames", file, "-c", strconv.Itoa(clients), "--inflight", strconv.Itoa(outstanding / clients),
		"-d", d.String(), "--status", "off=4,len=2", "--ok", "0x8500", "--expect", "repeats:off=10"}
	if rate > 0 {
		args = append(args, "-r", strconv.Itoa(rate))
	}
	doc, _, out := loadQuietly(t, append(args, addr)...)
	s := doc.Summary
	right := report.Summary{Sent: s.Sent, Replied: s.Sent, Unsent: s.Unsent, ErrorRate: s.ErrorRate, ExitCode: s.ExitCode, Verdict: counts(s).Verdict}
	require.Equal(t, right, counts(s), out)
	require.NotNil(t, s.Service)
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return measured{s.Rate, us(s.Service.Mean), us(s.Service.P50), us(s.Service.P99)}
}

var (
	ofLatency = regexp.MustCompile(`(?m)^> NOERROR .* ([0-9.]+)$`)
	ofSummary = regexp.MustCompile(`Queries sent: +([0-9]+)\n +Queries completed: +([0-9]+) [^\n]*\n +Queries lost: +([0-9]+) ` +
		`(?s:.*)Queries per second: +([0-9.]+)\n\n +Average Latency \(s\): +([0-9.]+) `)
)

// theirs runs dnsperf; rate 0 is as fast as it can. Percentiles are of the lines that it has for
// each query, if each is wanted.
func theirs(t *testing.T, program, addr, file string, rate int, d time.Duration, each bool) (m measured) {
	t.Helper()
	host, port := hostPort(addr)
	args := []string{"-B", "-d", file, "-s", host, "-p", port, "-m", "tcp", "-c", strconv.Itoa(clients), "-q", strconv.Itoa(outstanding),
		"-l", strconv.FormatFloat(d.Seconds(), 'f', -1, 64)}
	if rate > 0 {
		args = append(args, "-Q", strconv.Itoa(rate))
	}
	if each {
		args = append(args, "-v")
	}
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	require.NoError(t, err, "dnsperf %s", shell(args))
	f := ofSummary.FindSubmatch(out)
	require.NotNil(t, f, "%s", out)
	require.Equal(t, []string{string(f[1]), "0"}, []string{string(f[2]), string(f[3])}, "completed as many as sent, none lost")
	m.rate, m.mean = number(t, f[4]), number(t, f[5])*1e6
	if !each {
		return m
	}
	var all []float64
	for _, line := range ofLatency.FindAllSubmatch(out, -1) {
		all = append(all, number(t, line[1])*1e6)
	}
	require.Equal(t, string(f[1]), strconv.Itoa(len(all)), "a line for each query")
	m.p50, m.p99 = percentile(all, 50), percentile(all, 99)
	return m
}

func number(t *testing.T, text []byte) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(string(text), 64)
	require.NoError(t, err)
	return v
}

// percentile is the smallest value that so many percent do not exceed.
func percentile(all []float64, percent float64) float64 {
	slices.Sort(all)
	return all[max(int(math.Ceil(percent/100*float64(len(all)))), 1)-1]
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// The rows C7 and C8: knot behind both, in turns, with the same file, connections and window.
// Only what became of the queries is required; the figures are printed.
func TestBesideDnsperf(t *testing.T) {
	program := found(t, "dnsperf")
	addr, file := knot(t), queries(t)
	n, d := *rounds, *lasts
	if n == 0 {
		n, d = 1, 200*time.Millisecond
	}
	rows := []struct {
		name string
		rate int
		of   func(measured) float64
		unit string
		our  []float64
		them []float64
	}{
		{name: "20,000/s: rate", rate: fixedRate, of: func(m measured) float64 { return m.rate }, unit: "/s"},
		{name: "20,000/s: mean service", rate: fixedRate, of: func(m measured) float64 { return m.mean }, unit: "µs"},
		{name: "unlimited: rate", of: func(m measured) float64 { return m.rate }, unit: "/s"},
		{name: "2,000/s: p50", rate: slowRate, of: func(m measured) float64 { return m.p50 }, unit: "µs"},
		{name: "2,000/s: p99", rate: slowRate, of: func(m measured) float64 { return m.p99 }, unit: "µs"},
	}
	for round := range n {
		got := map[int][2]measured{}
		for _, rate := range []int{fixedRate, 0, slowRate} {
			var pair [2]measured
			for side := range 2 {
				if (side+round)%2 == 0 { // which side goes first changes
					pair[0] = ours(t, addr, file, rate, d)
				} else {
					pair[1] = theirs(t, program, addr, file, rate, d, rate == slowRate)
				}
			}
			got[rate] = pair
		}
		for i := range rows {
			r := &rows[i]
			r.our = append(r.our, r.of(got[r.rate][0]))
			r.them = append(r.them, r.of(got[r.rate][1]))
		}
	}
	for _, r := range rows {
		assert.Positive(t, median(r.our), r.name)
		assert.Positive(t, median(r.them), r.name)
	}
	if *rounds == 0 {
		return
	}
	fmt.Printf("\nbeside dnsperf: knot, %d connections, %d in flight, %d rounds of %v each, medians\n\n", clients, outstanding, n, d)
	fmt.Printf("| what | ringwire load | dnsperf | ratio | from | to |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		var ratios []float64
		for i := range r.our {
			ratios = append(ratios, r.our[i]/r.them[i])
		}
		fmt.Printf("| %s | %.0f %s | %.0f %s | %.3f | %.3f | %.3f |\n", r.name, median(r.our), r.unit, median(r.them), r.unit,
			median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
	fmt.Println()
}
