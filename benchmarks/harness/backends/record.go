package backends

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
)

// Step is the time over which is counted.
const Step = 100 * time.Millisecond

// windowSteps is how many steps are looked at for whether the traffic is even: a second.
const windowSteps = 10

// evenWithin is how far from its fair share a server may be: a fifth.
const evenWithin = 0.2

// outcome is what became of a call.
type outcome struct {
	due    time.Time
	server int    // whose reply it was
	class  string // of the error, or empty
	err    error  // that a failed call has met, if it is known
}

// record has what happened, step by step since it began.
type record struct {
	began time.Time

	mu      sync.Mutex // guards what follows
	replies []map[int]int
	errors  []map[string]int
	took    [][]float64 // seconds, by when the request was due
	marks   []chart.Mark
	latest  []took
	texts   map[string]int // of errors that should not be
}

// textsMax bounds the texts that are kept.
const textsMax = 16

// took is how long a call to a server took.
type took struct {
	at      time.Duration
	server  int
	seconds float64
}

func newRecord() *record {
	return &record{began: time.Now(), texts: make(map[string]int)}
}

func (r *record) stepOf(t time.Time) int { return max(int(t.Sub(r.began)/Step), 0) }

// grow makes room up to a step. The lock is held.
func (r *record) grow(step int) {
	for len(r.replies) <= step {
		r.replies = append(r.replies, make(map[int]int))
		r.errors = append(r.errors, make(map[string]int))
		r.took = append(r.took, nil)
	}
}

// note counts an outcome, now.
func (r *record) note(o outcome) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	step, due := r.stepOf(now), r.stepOf(o.due)
	r.grow(max(step, due))
	if o.class != "" {
		r.errors[step][o.class]++
		if o.err != nil && o.class != writtenFailed {
			text := o.err.Error()
			if _, known := r.texts[text]; known || len(r.texts) < textsMax {
				r.texts[text]++
			}
		}
		return
	}
	seconds := now.Sub(o.due).Seconds()
	r.replies[step][o.server]++
	r.took[due] = append(r.took[due], seconds)
	r.latest = append(r.latest, took{o.due.Sub(r.began), o.server, seconds})
}

// mark says what is done now. It returns when that is.
func (r *record) mark(text string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Since(r.began)
	r.marks = append(r.marks, chart.Mark{At: at.Seconds(), Text: text})
	return at
}

// total counts the errors of a class, "" for all, from one time to another.
func (r *record) total(class string, from, to time.Duration) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.errors {
		if at := time.Duration(i) * Step; at < from-Step || at >= to {
			continue
		}
		for c, k := range e {
			if class == "" || class == c {
				n += k
			}
		}
	}
	return n
}

// answered counts replies from one time to another, by server.
func (r *record) answered(from, to time.Duration) map[int]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := make(map[int]int)
	for i := int(from / Step); i < min(int(to/Step), len(r.replies)); i++ {
		for s, n := range r.replies[i] {
			sum[s] += n
		}
	}
	return sum
}

// unexpected returns the texts of errors that should not be, with how often each was met.
func (r *record) unexpected() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for text, n := range r.texts {
		all = append(all, fmt.Sprintf("%d times: %s", n, text))
	}
	slices.Sort(all)
	return all
}

// even returns how long after a time it took until each of the servers had its fair share of a
// second.
func (r *record) even(from time.Duration, servers ...int) (time.Duration, bool) {
	r.mu.Lock()
	steps := len(r.replies)
	r.mu.Unlock()
	for at := from; int(at/Step)+windowSteps <= steps; at += Step {
		sum := r.answered(at, at+windowSteps*Step)
		all := 0
		for _, n := range sum {
			all += n
		}
		fair := float64(all) / float64(len(servers))
		uneven := func(s int) bool { return math.Abs(float64(sum[s])-fair) > evenWithin*fair }
		if all >= 5*len(servers) && !slices.ContainsFunc(servers, uneven) {
			return at - from, true
		}
	}
	return 0, false
}

// quantile returns that of the calls due from one time to another, to servers for which of holds,
// in seconds.
func (r *record) quantile(q float64, from, to time.Duration, of func(server int) bool) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []float64
	for _, l := range r.latest {
		if l.at >= from && l.at < to && of(l.server) {
			all = append(all, l.seconds)
		}
	}
	return quantile(all, q)
}

// quantile returns NaN if there is no value.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
