package stub

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	logMax       = 64 << 20 // bytes
	intervalsMax = 100_000
	barsMax      = 4 << 20 // of all intervals
	serviceTag   = "service"
)

// replay draws from the histograms of a log: at any time from that of the interval which the
// log has there, and from the beginning again after its end.
type replay struct {
	intervals []interval
	length    time.Duration
}

// interval holds the values of a histogram, each with the count of all up to it.
type interval struct {
	until  time.Duration // since the log's beginning
	values []int64       // in nanoseconds
	upTo   []int64
}

// parseReplay reads FILE, tag=NAME and unit=us.
func parseReplay(text string) (distribution, error) {
	parts := strings.Split(text, ",")
	tag, unit := "", time.Nanosecond
	units := map[string]time.Duration{"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		switch {
		case key == "tag" && value != "":
			tag = value
		case key == "unit" && units[value] > 0:
			unit = units[value]
		default:
			return nil, fmt.Errorf("%q: must be tag=NAME, or unit=ns, us or ms", p)
		}
	}
	f, err := os.Open(parts[0])
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readReplay(f, tag, unit)
}

// readReplay reads a log. Without a tag it takes the lines that have none, else those of the
// service time.
func readReplay(r io.Reader, tag string, unit time.Duration) (*replay, error) {
	limited := &io.LimitedReader{R: r, N: logMax + 1}
	log := hdrhistogram.NewHistogramLogReader(limited)
	byTag := make(map[string][]*hdrhistogram.Histogram)
	for n := 0; ; n++ {
		h, err := log.NextIntervalHistogram()
		switch {
		case err != nil:
			return nil, fmt.Errorf("no histogram log: interval %d: %w", n+1, err)
		case limited.N == 0:
			return nil, fmt.Errorf("is larger than %d MiB", logMax>>20)
		case n == intervalsMax:
			return nil, fmt.Errorf("has more than %d intervals", intervalsMax)
		}
		if h == nil {
			break
		}
		// The reader sets a tag where there is one.
		byTag[h.Tag()] = append(byTag[h.Tag()], h)
	}
	if tag == "" && byTag[""] == nil {
		tag = serviceTag
	}
	if byTag[tag] == nil {
		tags := slices.Sorted(maps.Keys(byTag))
		if len(tags) == 0 {
			return nil, errors.New("has no histogram: is it a histogram log?")
		}
		return nil, fmt.Errorf("has no tag %q: must be one of %s", tag, strings.Join(tags, ", "))
	}
	return newReplay(byTag[tag], unit)
}

func newReplay(hs []*hdrhistogram.Histogram, unit time.Duration) (*replay, error) {
	var p replay
	begin := hs[0].StartTimeMs()
	bars := 0
	for _, h := range hs {
		iv := interval{until: time.Duration(h.EndTimeMs()-begin) * time.Millisecond}
		var count int64
		for _, b := range h.Distribution() {
			if b.Count == 0 {
				continue
			}
			count += b.Count
			value := min((b.From+b.To)/2, int64(longest/unit)) * int64(unit)
			iv.values, iv.upTo = append(iv.values, value), append(iv.upTo, count)
		}
		if bars += len(iv.values); bars > barsMax {
			return nil, fmt.Errorf("has more than %d different values", barsMax)
		}
		if count > 0 {
			p.intervals = append(p.intervals, iv)
			p.length = max(p.length, iv.until)
		}
	}
	if len(p.intervals) == 0 {
		return nil, errors.New("has no value")
	}
	return &p, nil
}

func (p *replay) sample(r *rand.Rand, at time.Duration) time.Duration {
	if p.length > 0 {
		at %= p.length
	}
	i := sort.Search(len(p.intervals)-1, func(i int) bool { return at < p.intervals[i].until })
	iv := &p.intervals[i]
	n := 1 + r.Int64N(iv.upTo[len(iv.upTo)-1])
	k, _ := slices.BinarySearch(iv.upTo, n)
	return time.Duration(iv.values[k])
}
