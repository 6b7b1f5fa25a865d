package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// p999SamplesMin is how many latencies a 99.9th percentile needs to mean
// anything.
const p999SamplesMin = 1000

// WriteTable prints the result for a person, with notes that say how each
// column came about. colour allows ANSI escapes.
func (r *Result) WriteTable(w io.Writer, colour bool) error {
	table := r.table()
	widths := widthsOf(table)
	var b strings.Builder
	callers := ""
	for n, line := range table {
		if n > 1 && line[0] != callers {
			b.WriteByte('\n')
		}
		callers = line[0]
		writeLine(&b, line, widths, colour && n == 0, tableText)
	}
	b.WriteByte('\n')
	for _, note := range r.verdicts() {
		b.WriteString(note + "\n")
	}
	r.writeSummary(&b, colour)
	for _, note := range r.notes() {
		b.WriteString(note + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table has a line for each row without a condition, and a head.
func (r *Result) table() [][]string {
	table := [][]string{{"callers", "system", "api", "req/s", "spread", "p50", "p99", "p99.9",
		"cpu/req", "allocs/req", "vs anet", "errors"}}
	for i := range r.Rows {
		table = append(table, r.Rows[i].cells())
	}
	return table
}

// Columns that hold text.
var (
	tableText   = []int{1, 2}
	summaryText = []int{0, 4}
)

func widthsOf(table [][]string) []int {
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, text := range line {
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	return widths
}

// writeLine aligns texts to the left and numbers to the right.
func writeLine(b *strings.Builder, line []string, widths []int, bold bool, left []int) {
	var texts []string
	for i, text := range line {
		pad := strings.Repeat(" ", widths[i]-len([]rune(text)))
		if slices.Contains(left, i) {
			texts = append(texts, text+pad)
		} else {
			texts = append(texts, pad+text)
		}
	}
	joined := strings.TrimRight(strings.Join(texts, "  "), " ")
	if bold {
		joined = "\x1b[1m" + joined + "\x1b[0m"
	}
	b.WriteString(joined + "\n")
}

func (r *Row) cells() []string {
	cpu, ratio, p999 := "-", "-", "-"
	if r.CPUPerReq != nil {
		cpu = LatencyText(int64(*r.CPUPerReq))
	}
	if r.RatioToAnet != nil {
		ratio = fmt.Sprintf("%.2fx", *r.RatioToAnet)
	}
	if r.LatencySamples >= p999SamplesMin {
		p999 = LatencyText(r.P999)
	}
	return []string{
		strconv.Itoa(r.Callers), r.System, string(r.API), RateText(r.ReqPerSec),
		fmt.Sprintf("%.0f%%", 100*Spread(r.ReqPerSecRounds)),
		LatencyText(r.P50), LatencyText(r.P99), p999, cpu,
		fmt.Sprintf("%.2f", r.AllocsPerReq), ratio, strconv.FormatUint(r.Errors, 10),
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// RateText keeps three digits: 31.2k, 1.23M.
func RateText(v float64) string {
	switch {
	case v >= 999_500:
		return threeDigits(v/1e6) + "M"
	case v >= 999.5:
		return threeDigits(v/1e3) + "k"
	default:
		return threeDigits(v)
	}
}

// LatencyText keeps three digits: 850ns, 31.2us, 1.25ms.
func LatencyText(ns int64) string {
	v := float64(ns)
	switch {
	case v >= 999.5*float64(time.Millisecond):
		return threeDigits(v/1e9) + "s"
	case v >= 999.5*float64(time.Microsecond):
		return threeDigits(v/1e6) + "ms"
	case v >= 999.5:
		return threeDigits(v/1e3) + "us"
	default:
		return threeDigits(v) + "ns"
	}
}

func threeDigits(v float64) string {
	decimals := 2
	if v > 0 {
		decimals = 2 - int(math.Floor(math.Log10(v)+1e-9))
	}
	return strconv.FormatFloat(v, 'f', min(max(decimals, 0), 2), 64)
}

// verdicts are what must not be overlooked.
func (r *Result) verdicts() []string {
	var notes []string
	if r.Partial {
		notes = append(notes, "PARTIAL: the run ended early; rows have fewer rounds than asked for, or are missing.", "")
	}
	for _, losses := range []string{r.lossNote(), r.cpuLossNote()} {
		if losses != "" {
			notes = append(notes, losses)
		}
	}
	return notes
}

func (r *Result) notes() []string {
	m := &r.Metadata
	var notes []string
	load := ""
	if len(r.Rows) > 0 {
		load = fmt.Sprintf("payload %d B, %s, ", r.Rows[0].PayloadBytes, count(r.Rows[0].Conns, "connection"))
	}
	notes = append(notes, fmt.Sprintf("%s%s of %s slices; client and server in separate processes on this machine, loopback TCP.",
		load, count(m.Rounds, "round"), m.Slice))
	notes = append(notes, m.Machine())
	if busy := m.BusyNote(); busy != "" {
		notes = append(notes, busy)
	}
	if stolen := StolenNote(slices.Concat(r.Rows, r.Everyday)); stolen != "" {
		notes = append(notes, stolen)
	}
	if m.Baseline != "" {
		notes = append(notes, "anet: "+m.Baseline+".")
	}
	if m.Secured != "" {
		notes = append(notes, "ringwire: "+m.Secured+"; connections of all others are plain.")
	}
	return append(notes,
		"req/s     median over rounds; in each round every row runs once, in a different order. Warm-up is not counted.",
		"spread    interquartile range of the rounds, in percent of the median.",
		"p50...    latency under this load. One request in 2^n is timed in the same slices, about "+strconv.Itoa(samplesPerSlice)+
			" a slice at most, so that clocks take no throughput. batch: from the start of its batch.",
		"cpu/req   processor time of client and server processes together (median); '-' where the system does not tell.",
		"vs anet   median of the rounds' ratios of req/s, so not the quotient of two medians above.",
		"          To the same api of anet, or to its fastest where it has no such api; to the harder",
		"          server where anet has two.",
		"Every reply was compared with its request.")
}

// Machine is one line about the machine and the build.
func (m *Metadata) Machine() string {
	parts := []string{fmt.Sprintf("%d x %s", m.Cores, orUnknown(m.CPU)),
		fmt.Sprintf("GOMAXPROCS %d", m.GOMAXPROCS), m.OS + "/" + m.Arch}
	if m.Kernel != "" {
		parts = append(parts, "kernel "+m.Kernel)
	}
	parts = append(parts, m.Go)
	if m.Commit != "" {
		parts = append(parts, "commit "+m.Commit)
	}
	return strings.Join(parts, ", ") + "."
}

func orUnknown(cpu string) string {
	if cpu == "" {
		return "unknown processor"
	}
	return cpu
}
