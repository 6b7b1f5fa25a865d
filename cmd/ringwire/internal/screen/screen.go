// Package screen shows a run of the load generator while it lasts, on a terminal.
package screen

import (
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
	"github.com/ringwire/ringwire/load/report"
)

// Run is what the screen says of a run beside its figures.
type Run struct {
	Targets  string
	Loop     string        // such as "open, 2000/s"
	Duration time.Duration // that is planned; 0: until it is ended
	InFlight int           // at most
}

// A Screen is one on a terminal. It takes the keys until Close.
type Screen struct {
	program *tea.Program
	ended   chan struct{}
}

// Open begins to show a run. quit is called when a person asks for its end by q or Ctrl-C, on
// a goroutine of the screen's, once or more.
func Open(in io.Reader, out io.Writer, run Run, quit func()) *Screen {
	s := &Screen{ended: make(chan struct{})}
	s.program = tea.NewProgram(newModel(run, quit), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	go func() {
		defer close(s.ended)
		if _, err := s.program.Run(); err != nil {
			_, _ = fmt.Fprintf(out, "the screen has ended: %v\n", err)
		}
	}()
	return s
}

// Observe shows a second. It keeps nothing of the snapshot.
func (s *Screen) Observe(now load.Snapshot) {
	h := hdrhistogram.Import(now.Response.Export())
	now.Response = h
	s.program.Send(now)
}

// Close gives the terminal back. What was shown last stays on it.
func (s *Screen) Close() {
	s.program.Quit()
	<-s.ended
}

// model is what is shown. Its methods run on the program's goroutine.
type model struct {
	run      Run
	quit     func()
	ending   bool
	columns  int
	rows     int
	now      load.Snapshot
	before   load.Snapshot
	response *hdrhistogram.Histogram // since the beginning
	rates    []float64               // replies a second, of the last ones
}

// ratesMax is how many bars there may be.
const ratesMax = 32

func newModel(run Run, quit func()) *model {
	return &model{run: run, quit: quit, columns: 80, rows: 24,
		response: hdrhistogram.New(1, int64(time.Hour), 3)}
}

func (m *model) Init() tea.Cmd { return nil }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.columns, m.rows = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" {
			m.ending = true
			m.quit()
		}
	case load.Snapshot:
		m.before, m.now = m.now, msg
		m.response.Merge(msg.Response)
		m.rates = append(m.rates, m.rate(m.before.Counts.Replied, m.now.Counts.Replied))
		m.rates = m.rates[max(0, len(m.rates)-ratesMax):]
	}
	return m, nil
}

// rate is by how much a count grew in the last second, for each second.
func (m *model) rate(before, now uint64) float64 {
	took := max(m.now.At-m.before.At, time.Millisecond)
	return float64(now-min(before, now)) / took.Seconds()
}

// View cuts each line at the terminal's width, and leaves the last ones out if it is too low.
func (m *model) View() tea.View {
	lines := m.lines()
	lines = lines[:min(len(lines), max(m.rows-1, 1))]
	for i, line := range lines {
		if cells := []rune(line); len(cells) > m.columns {
			lines[i] = string(cells[:m.columns])
		}
	}
	return tea.NewView(strings.Join(lines, "\n"))
}

func (m *model) lines() []string {
	c, before := &m.now.Counts, &m.before.Counts
	elapsed := m.now.At.Truncate(time.Second).String()
	if m.run.Duration > 0 {
		elapsed += " / " + m.run.Duration.String()
	}
	keys := "q ends it"
	if m.ending {
		keys = "it ends"
	}
	return []string{
		fmt.Sprintf("%s   %s   %s   %s", elapsed, keys, m.run.Loop, m.run.Targets),
		fmt.Sprintf("sent %.0f/s  replied %.0f/s %s", m.rate(before.Sent, c.Sent), m.rate(before.Replied, c.Replied), bars(m.rates)),
		fmt.Sprintf("in flight %d/%d  backlog %d  connections %d", m.now.InFlight, m.run.InFlight, m.now.Backlog, m.now.Conns),
		percentiles("last second", m.now.Response),
		percentiles("all of it  ", m.response),
		fmt.Sprintf("errors     timeouts %d  connection lost %d  refused %d  mismatch %d  truncated %d",
			c.Timeouts, c.ConnLost, c.Refused, c.Mismatch, c.Truncated),
		fmt.Sprintf("wrong      late %d  duplicate %d  unknown ID %d", c.Late, m.now.Replies.Duplicate, m.now.Replies.UnknownID),
	}
}

func percentiles(name string, h *hdrhistogram.Histogram) string {
	if h == nil || h.TotalCount() == 0 {
		return name + "  no reply"
	}
	at := func(q float64) string { return report.Duration(quantile.At(h, q)) }
	return fmt.Sprintf("%s  p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  n %d", name,
		at(50), at(90), at(99), at(99.9), report.Duration(h.Max()), h.TotalCount())
}

// bars draws rates beside each other, the highest as high as a line.
func bars(rates []float64) string {
	const steps = "▁▂▃▄▅▆▇█"
	all := []rune(steps)
	highest := 0.0
	for _, r := range rates {
		highest = max(highest, r)
	}
	var b strings.Builder
	for _, r := range rates {
		b.WriteRune(all[int(r/max(highest, 1e-9)*float64(len(all)-1)+0.5)])
	}
	return b.String()
}
