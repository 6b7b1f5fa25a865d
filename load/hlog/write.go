// Package hlog writes what a run measured as a HdrHistogram log, format 1.3, which tools
// for such logs read, and adds up the logs of several runs.
//
// A line holds the histogram of about a second and of what its tag names: response,
// service, queue, lag, late, and NAME.response and NAME.service of each request of a mix;
// code.STATUS is of the whole run. What is no latency, such as counts, is a comment at the
// end, in JSON.
package hlog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
)

// endMark begins the comment with what is no latency.
const endMark = "#[Ringwire: "

// endVersion grows when a field of the end changes its meaning or goes.
const endVersion = 1

// end is what is known of a run but its latencies.
type end struct {
	Version     int            `json:"version"`
	Open        bool           `json:"open"`
	Targets     []string       `json:"targets"`
	InFlight    int            `json:"inflight"`
	Started     time.Time      `json:"started"`
	Elapsed     time.Duration  `json:"elapsed_ns"`
	Warmup      time.Duration  `json:"warmup_ns"`
	Measured    time.Duration  `json:"measured_ns"`
	Interrupted bool           `json:"interrupted"`
	Broke       string         `json:"ended_early,omitempty"`
	Counts      load.Counts    `json:"counts"`
	Violations  load.Counts    `json:"with_warmup"`
	Unsent      load.Unsent    `json:"unsent"`
	Replies     load.Replies   `json:"replies"`
	Conns       load.Conns     `json:"connections"`
	Bytes       load.Bytes     `json:"bytes"`
	Generator   load.Generator `json:"generator"`
	Kinds       []kind         `json:"requests"`
	Codes       []code         `json:"codes"`
}

type kind struct {
	Name   string      `json:"name"`
	Counts load.Counts `json:"counts"`
}

type code struct {
	Name  string `json:"status"`
	OK    bool   `json:"ok"`
	Count uint64 `json:"count"`
}

// Writer writes the log of one run. Its methods are not safe for concurrent use. After the
// first error of the underlying writer it writes nothing more.
type Writer struct {
	w     *bufio.Writer
	log   *hdrhistogram.HistogramLogWriter
	start time.Time // of the run
	err   error
}

// NewWriter returns a writer to w, and writes the log's head. start is about when the run
// begins, to which the log's times relate.
func NewWriter(w io.Writer, start time.Time) (*Writer, error) {
	l := &Writer{w: bufio.NewWriter(w), start: start}
	l.log = hdrhistogram.NewHistogramLogWriter(l.w)
	second := start.Truncate(time.Second).UnixMilli() // the head has whole seconds
	l.log.SetBaseTime(second)
	l.do(l.log.OutputComment("[ringwire load: latencies in nanoseconds]"))
	l.do(l.log.OutputLogFormatVersion())
	l.do(l.log.OutputBaseTime(second))
	l.do(l.log.OutputStartTime(second))
	l.do(l.log.OutputLegend())
	l.do(l.w.Flush())
	return l, l.err
}

func (l *Writer) do(err error) {
	if l.err == nil {
		l.err = err
	}
}

// Interval writes a run's interval; it is for load.Config.Log. An error is told by Close.
func (l *Writer) Interval(in *load.Interval) {
	if in.From == 0 {
		// The first request is due now, or an interval ago.
		l.start = time.Now().Add(-in.To)
	}
	l.series("", &in.Total, in.From, in.To)
	if len(in.Kinds) > 1 {
		for i := range in.Kinds {
			l.series(in.Kinds[i].Name+".", &in.Kinds[i], in.From, in.To)
		}
	}
	l.do(l.w.Flush())
}

func (l *Writer) series(prefix string, f *load.Figures, from, to time.Duration) {
	l.line(prefix+"response", f.Response, from, to)
	l.line(prefix+"service", f.Service, from, to)
	l.line(prefix+"queue", f.Queue, from, to)
	l.line(prefix+"lag", f.Lag, from, to)
	l.line(prefix+"late", f.Late, from, to)
}

// line writes a histogram that is not empty.
func (l *Writer) line(tag string, h *hdrhistogram.Histogram, from, to time.Duration) {
	if l.err != nil || h.TotalCount() == 0 {
		return
	}
	h.SetTag(tag)
	h.SetStartTimeMs(l.start.Add(from).UnixMilli())
	h.SetEndTimeMs(l.start.Add(to).UnixMilli())
	l.do(l.log.OutputIntervalHistogram(h))
}

// Close writes what a run came to, which must be over, and returns the first error there
// was. It does not close the underlying writer.
func (l *Writer) Close(r *load.Result) error {
	e := end{
		Version: endVersion, Open: r.Open, Targets: r.Targets, InFlight: r.InFlight, Started: r.Started, Elapsed: r.Elapsed,
		Warmup: r.Warmup, Measured: r.Measured, Interrupted: r.Interrupted, Broke: r.Broke, Counts: r.Total.Counts,
		Violations: r.Violations, Unsent: r.Unsent, Replies: r.Replies, Conns: r.Conns, Bytes: r.Bytes, Generator: r.Generator,
	}
	for _, k := range r.Kinds {
		e.Kinds = append(e.Kinds, kind{k.Name, k.Counts})
	}
	for _, c := range r.Codes {
		e.Codes = append(e.Codes, code{c.Name, c.OK, c.Count})
		l.line(codePrefix+c.Name, c.Response, 0, r.Warmup+r.Measured)
	}
	text, err := json.Marshal(&e)
	l.do(err)
	if l.err == nil {
		_, err = fmt.Fprintf(l.w, "%s%s]\n", endMark, text)
		l.do(err)
		l.do(l.w.Flush())
	}
	return l.err
}

const codePrefix = "code."
