package stub

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// licence spaces requests out to a rate. It has no clock of its own.
type licence struct {
	every time.Duration
	queue int

	mu    sync.Mutex // guards next
	next  time.Time  // when the next one may begin
	waits uint64     // that did not begin at once
}

func newLicence(rate float64, queue int) *licence {
	return &licence{every: time.Duration(float64(time.Second) / rate), queue: queue}
}

// take returns when a request that came at now begins, and for how long its connection must
// not be read, because the queue is longer than it may be.
func (l *licence) take(now time.Time) (begin time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	begin = now
	if l.next.After(now) {
		begin = l.next
		l.waits++
	}
	l.next = begin.Add(l.every)
	return begin, begin.Sub(now) - time.Duration(l.queue)*l.every
}

// waited is how many requests did not begin at once.
func (l *licence) waited() uint64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

// Stall is a time in which nothing is answered. What is due then is written at its end.
type Stall struct {
	At    time.Duration // when it begins, since Start
	For   time.Duration
	Every time.Duration // from one beginning to the next; 0: it comes once
}

// ParseStall reads "every=10s,for=2s", with which the first comes after ten seconds, or
// "at=5s,for=2s".
func ParseStall(text string) (st Stall, err error) {
	at := time.Duration(-1)
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		d, bad := time.ParseDuration(value)
		switch {
		case bad != nil || d < 0 || d > 24*time.Hour:
			return st, stallForm(text)
		case key == "at":
			at = d
		case key == "for":
			st.For = d
		case key == "every":
			st.Every = d
		default:
			return st, stallForm(text)
		}
	}
	if at >= 0 {
		st.At = at
	} else {
		st.At = st.Every
	}
	switch {
	case at < 0 && st.Every == 0:
		return st, stallForm(text)
	case st.For <= 0 || st.For > longest:
		return st, fmt.Errorf("stall %q: for %v: must be above 0, at most %v", text, st.For, longest)
	case st.Every > 0 && st.For >= st.Every:
		return st, fmt.Errorf("stall %q: for %v: must be shorter than every, %v", text, st.For, st.Every)
	}
	return st, nil
}

func stallForm(text string) error {
	return fmt.Errorf("stall %q: must look like every=10s,for=2s or at=5s,for=2s", text)
}

// end returns when the stall that t lies in ends, or t.
func (st Stall) end(t time.Duration) time.Duration {
	into := t - st.At
	if into < 0 {
		return t
	}
	if st.Every > 0 {
		into %= st.Every
	}
	if into < st.For {
		return t + st.For - into
	}
	return t
}

// afterStalls returns the first time from t on that lies in no stall. Stalls that cover each
// other for ever are left after some.
func afterStalls(stalls []Stall, t time.Duration) time.Duration {
	for range 64 {
		before := t
		for _, st := range stalls {
			t = st.end(t)
		}
		if t == before {
			break
		}
	}
	return t
}
