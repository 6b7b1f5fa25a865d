package stub

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load/quantile"
)

// bucket counts the delays up to a bound, and above that of the bucket before.
type bucket struct {
	UpTo  int64 `json:"up_to_ns"`
	Count int64 `json:"count"`
}

// buckets counts delays by the series 1, 2, 5, 10, from a microsecond on, without empty ends.
func buckets(h *hdrhistogram.Histogram) (all []bucket) {
	bars := h.Distribution()
	i := 0
	for scale := int64(1000); scale < math.MaxInt64/100; scale *= 10 {
		for _, step := range []int64{1, 2, 5} {
			b := bucket{UpTo: scale * step}
			for ; i < len(bars) && bars[i].From <= b.UpTo; i++ {
				b.Count += bars[i].Count
			}
			if b.Count > 0 || len(all) > 0 {
				all = append(all, b)
			}
		}
	}
	for len(all) > 0 && all[len(all)-1].Count == 0 {
		all = all[:len(all)-1]
	}
	return all
}

// MarshalJSON writes durations in nanoseconds, faults by name, and of the histogram its
// percentiles and its counts by the series 1, 2, 5.
func (s Stats) MarshalJSON() ([]byte, error) {
	faults := make(map[string]uint64)
	for f := Drop; f < faultCount; f++ {
		faults[f.String()] = s.Faults[f]
	}
	var delays *quantile.Percentiles
	var histogram []bucket
	if s.Delay != nil {
		delays, histogram = quantile.Of(s.Delay), buckets(s.Delay)
	}
	return json.Marshal(map[string]any{
		"elapsed_ns": s.Elapsed, "accepted": s.Accepted, "refused": s.Refused, "dialled": s.Dialled,
		"dial_failures": s.DialFailures, "requests": s.Requests, "replies": s.Replies,
		"unanswered": s.Unanswered, "not_requests": s.NotRequests, "bad_frames": s.BadFrames,
		"rules_skipped": s.Skipped, "stalled": s.Stalled, "licensed": s.Licensed, "faults": faults,
		"delay_ns": delays, "delay_histogram": histogram,
	})
}

// barMax is how long the longest bar is, in characters.
const barMax = 50

// Text writes the statistics for people.
func (s Stats) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "connections  %d accepted, %d refused", s.Accepted, s.Refused)
	if s.Dialled+s.DialFailures > 0 {
		fmt.Fprintf(&b, ", %d dialled, %d dials failed", s.Dialled, s.DialFailures)
	}
	fmt.Fprintf(&b, "\nrequests     %d in %.1f s, replies %d, unanswered %d\n", s.Requests, s.Elapsed.Seconds(), s.Replies, s.Unanswered)
	fmt.Fprintf(&b, "frames       %d bad, %d marked as replies, %d too short for a reply rule\n", s.BadFrames, s.NotRequests, s.Skipped)
	fmt.Fprintf(&b, "waited       %d for the licence, %d for a stall's end\n", s.Licensed, s.Stalled)
	b.WriteString("injected    ")
	none := true
	for f := Drop; f < faultCount; f++ {
		if s.Faults[f] > 0 {
			fmt.Fprintf(&b, " %v %d ", f, s.Faults[f])
			none = false
		}
	}
	if none {
		b.WriteString(" nothing")
	}
	b.WriteString("\n")
	if p := quantile.Of(s.Delay); p != nil {
		w := tabwriter.NewWriter(&b, 10, 0, 2, ' ', 0)
		fmt.Fprint(w, "\nreal delay\tp50\tp75\tp90\tp95\tp99\tp99.9\tp99.99\tmax\tmean\tn\n")
		for _, v := range []int64{p.P50, p.P75, p.P90, p.P95, p.P99, p.P999, p.P9999, p.Max, p.Mean} {
			fmt.Fprintf(w, "\t%v", rounded(v))
		}
		fmt.Fprintf(w, "\t%d\n", p.Count)
		_ = w.Flush() // to memory
		bars(&b, buckets(s.Delay))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bars draws a histogram.
func bars(b *strings.Builder, all []bucket) {
	var most int64
	for _, k := range all {
		most = max(most, k.Count)
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, k := range all {
		n := int(math.Ceil(float64(barMax) * float64(k.Count) / float64(most)))
		fmt.Fprintf(w, "up to %v\t%d\t%s\n", time.Duration(k.UpTo), k.Count, strings.TrimRight(" "+strings.Repeat("#", n), " "))
	}
	_ = w.Flush() // to memory
}

// rounded leaves three digits or so.
func rounded(ns int64) time.Duration {
	d, unit := time.Duration(ns), time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
