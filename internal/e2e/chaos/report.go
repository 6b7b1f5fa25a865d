package chaos

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxNotes  = 10
	maxCauses = 32
)

// Report is what a run found. OK + Failed + Timeouts + Cancelled + Lost is
// Requests.
type Report struct {
	Seed    uint64
	Elapsed time.Duration

	Requests  int64 // calls made
	OK        int64 // right replies, and wrong ones
	Failed    int64
	Timeouts  int64
	Cancelled int64
	Unwritten int64 // of the three above: reported as not written

	// Each of these is a violation.
	Misdelivered      int64 // a well-formed reply of another request
	Corrupt           int64 // a damaged reply, or one that changed after it was handed over
	Duplicates        int64 // a completion of a completed call
	Lost              int64 // calls that did not complete in time
	BadRequests       int64 // damaged when they reached the server
	ExecutedTwice     int64
	ExecutedUnwritten int64 // reported as not written, seen by the server

	Notes  []string         // the first violations, identities only
	Causes map[string]int64 // errors by text, without port numbers
}

// String is a line with the seed and all counts.
func (r Report) String() string {
	return fmt.Sprintf("seed=%#x requests=%d ok=%d failed=%d timeouts=%d cancelled=%d unwritten=%d | "+
		"misdelivered=%d corrupt=%d duplicates=%d lost=%d bad-requests=%d executed-twice=%d executed-unwritten=%d | %.1fs",
		r.Seed, r.Requests, r.OK, r.Failed, r.Timeouts, r.Cancelled, r.Unwritten,
		r.Misdelivered, r.Corrupt, r.Duplicates, r.Lost, r.BadRequests, r.ExecutedTwice, r.ExecutedUnwritten,
		r.Elapsed.Seconds())
}

// Err returns an error that tells the violations and the seed, or nil.
func (r Report) Err() error {
	if r.violations() == 0 {
		return nil
	}
	return errors.New("chaos: " + r.String() + "\n\t" + strings.Join(r.Notes, "\n\t"))
}

func (r Report) violations() int64 {
	return r.Misdelivered + r.Corrupt + r.Duplicates + r.Lost + r.BadRequests + r.ExecutedTwice + r.ExecutedUnwritten
}

// CauseLines returns the errors seen with their counts, most frequent first.
func (r Report) CauseLines() []string {
	lines := make([]string, 0, len(r.Causes))
	for text := range r.Causes {
		lines = append(lines, text)
	}
	sort.Slice(lines, func(i, j int) bool {
		if a, b := r.Causes[lines[i]], r.Causes[lines[j]]; a != b {
			return a > b
		}
		return lines[i] < lines[j]
	})
	for i, text := range lines {
		lines[i] = fmt.Sprintf("%8d  %s", r.Causes[text], text)
	}
	return lines
}

// tally is a Report that is being made.
type tally struct {
	ok, failed, timeouts, cancelled, unwritten    atomic.Int64
	misdelivered, corrupt, duplicates, lost       atomic.Int64
	badRequests, executedTwice, executedUnwritten atomic.Int64

	mu     sync.Mutex // guards the fields below; held for no call that blocks
	notes  []string
	causes map[string]int64
}

// violation counts one and keeps a note of the first few.
func (t *tally) violation(kind *atomic.Int64, format string, args ...any) {
	kind.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) < maxNotes {
		t.notes = append(t.notes, fmt.Sprintf(format, args...))
	}
}

// numbers are ports, most likely: they tell one error from another of its kind.
var numbers = regexp.MustCompile(`\d{4,}`)

func (t *tally) cause(err error) {
	text := numbers.ReplaceAllString(err.Error(), "#")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.causes == nil {
		t.causes = make(map[string]int64)
	}
	if _, known := t.causes[text]; !known && len(t.causes) >= maxCauses {
		text = "others"
	}
	t.causes[text]++
}
