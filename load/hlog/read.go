package hlog

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
)

// baseMark begins the comment that says what times relate to, in seconds.
const baseMark = "#[BaseTime: "

// Bounds of a log that is read.
const (
	lineMax = 16 << 20
	tagsMax = 1000
)

// Read reads the log of a run that Writer wrote, and returns what the run gave, as far as
// the log has it: not by stage. A log without an end, of a run that was killed, gives what
// its histograms say: the result is marked as interrupted.
func Read(r io.Reader) (*load.Result, error) {
	tags := make(map[string]*hdrhistogram.Histogram)
	var e end
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineMax)
	var base, first, last float64
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimRight(lines.Bytes(), "\r")
		if text, ok := bytes.CutPrefix(line, []byte(endMark)); ok {
			if e.Version != 0 {
				return nil, fmt.Errorf("line %d: a second end: one log is of one run", n)
			}
			if err := json.Unmarshal(bytes.TrimSuffix(text, []byte("]")), &e); err != nil {
				return nil, fmt.Errorf("line %d: the run's end: %w", n, err)
			}
			if e.Version != endVersion {
				return nil, fmt.Errorf("line %d: the end has version %d: must be %d", n, e.Version, endVersion)
			}
			continue
		}
		if text, ok := bytes.CutPrefix(line, []byte(baseMark)); ok {
			text, _, _ = bytes.Cut(text, []byte(" "))
			base, _ = strconv.ParseFloat(string(text), 64)
		}
		if len(line) == 0 || line[0] == '#' || line[0] == '"' {
			continue
		}
		h, from, to, err := parseLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(tags) == 0 {
			first = from
		}
		first, last = min(first, from), max(last, to)
		all := tags[h.Tag()]
		if all == nil {
			if len(tags) == tagsMax {
				return nil, fmt.Errorf("line %d: over %d tags", n, tagsMax)
			}
			tags[h.Tag()] = h
			continue
		}
		if dropped := all.Merge(h); dropped > 0 {
			return nil, fmt.Errorf("line %d: the histogram has another range than those before", n)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if e.Version == 0 && tags["response"] == nil {
		return nil, errors.New("is no log of ringwire load: no line is tagged response")
	}
	if e.Version == 0 {
		e.guess(tags, time.Duration((last-first)*float64(time.Second)))
		e.Started = time.UnixMilli(int64(1000 * (base + first)))
	}
	return e.result(tags)
}

// parseLine reads [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM.
func parseLine(line string) (h *hdrhistogram.Histogram, from, to float64, err error) {
	tag := ""
	if rest, ok := strings.CutPrefix(line, "Tag="); ok {
		tag, line, _ = strings.Cut(rest, ",")
	}
	fields := strings.Split(line, ",")
	if len(fields) != 4 {
		return nil, 0, 0, errors.New("must look like [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM")
	}
	from, err = strconv.ParseFloat(fields[0], 64)
	length, err2 := strconv.ParseFloat(fields[1], 64)
	if to = from + length; errors.Join(err, err2) != nil || !(length >= 0) || math.IsInf(to, 0) || math.IsNaN(to) {
		return nil, 0, 0, fmt.Errorf("times %s and %s: must be seconds", fields[0], fields[1])
	}
	if h, err = hdrhistogram.Decode([]byte(fields[3])); err != nil {
		return nil, 0, 0, err
	}
	h.SetTag(tag)
	return h, from, to, nil
}

// guess makes up an end from what the histograms say.
func (e *end) guess(tags map[string]*hdrhistogram.Histogram, measured time.Duration) {
	e.Interrupted, e.Measured, e.Open = true, measured, true
	e.Conns = load.Conns{Opened: 1, Errors: map[string]uint64{}}
	e.Counts = guessCounts(tags, "")
	e.Violations = e.Counts
	for tag := range tags {
		if name, ok := strings.CutSuffix(tag, ".response"); ok {
			e.Kinds = append(e.Kinds, kind{name, guessCounts(tags, name+".")})
		}
	}
	slices.SortFunc(e.Kinds, func(a, b kind) int { return cmp.Compare(a.Name, b.Name) })
}

// guessCounts takes what has no service time for a timeout.
func guessCounts(tags map[string]*hdrhistogram.Histogram, prefix string) load.Counts {
	response, service := uint64(tags[prefix+"response"].TotalCount()), uint64(0)
	if h := tags[prefix+"service"]; h != nil {
		service = uint64(h.TotalCount())
	}
	timeouts := response - min(service, response)
	return load.Counts{Sent: response, Replied: response - timeouts, Timeouts: timeouts, Cut: timeouts}
}

func (e *end) result(tags map[string]*hdrhistogram.Histogram) (*load.Result, error) {
	of := func(tag string) *hdrhistogram.Histogram {
		if h := tags[tag]; h != nil {
			return h
		}
		return load.NewHistogram()
	}
	figures := func(name, prefix string, n load.Counts) load.Figures {
		return load.Figures{Name: name, Counts: n, Response: of(prefix + "response"), Service: of(prefix + "service"),
			Queue: of(prefix + "queue"), Lag: of(prefix + "lag"), Late: of(prefix + "late")}
	}
	r := &load.Result{
		Open: e.Open, Targets: e.Targets, InFlight: e.InFlight, Started: e.Started, Elapsed: e.Elapsed, Warmup: e.Warmup,
		Measured: e.Measured, Interrupted: e.Interrupted, Broke: e.Broke, Total: figures("", "", e.Counts),
		Violations: e.Violations, Unsent: e.Unsent, Replies: e.Replies, Conns: e.Conns, Bytes: e.Bytes, Generator: e.Generator,
	}
	for _, k := range e.Kinds {
		r.Kinds = append(r.Kinds, figures(k.Name, k.Name+".", k.Counts))
	}
	for _, c := range e.Codes {
		r.Codes = append(r.Codes, load.Code{Name: c.Name, OK: c.OK, Count: c.Count, Response: of(codePrefix + c.Name)})
	}
	if n, want := r.Total.Response.TotalCount(), r.Total.Counts.OK()+r.Total.Counts.Timeouts; uint64(n) != want {
		return nil, fmt.Errorf("lines are missing: %d responses are logged, and the end says %d", n, want)
	}
	return r, nil
}
