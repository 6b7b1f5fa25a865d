// Package loglines bounds how many log lines there are about one thing.
package loglines

import (
	"sync"
	"time"
)

// Burst is how many lines may be logged at once; from then on there is one a second.
const Burst = 5

// Limit bounds the lines about one thing. The zero value has not logged any. Its methods may be
// called by anybody.
type Limit struct {
	mu     sync.Mutex
	left   int
	since  time.Time // when left was last counted
	hushed int       // lines that were not logged since the last one
}

// Take takes a line, if one is left. hushed is how many were left out before it.
func (l *Limit) Take(now time.Time) (hushed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.left, l.since = Burst, now
	}
	if more := int(now.Sub(l.since) / time.Second); more > 0 {
		l.left = min(l.left+more, Burst)
		l.since = l.since.Add(time.Duration(more) * time.Second)
	}
	if l.left == 0 {
		l.hushed++
		return 0, false
	}
	hushed = l.hushed
	l.left--
	l.hushed = 0
	return hushed, true
}
