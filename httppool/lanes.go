package httppool

import "github.com/ringwire/ringwire/internal/list"

// The lanes of those that wait: low, normal, high, urgent. Health checks are urgent.
const (
	laneCount  = 4
	laneNormal = 1
	laneUrgent = laneCount - 1
)

// patienceMax is how often in a row a lane that has somebody waiting is passed over.
const patienceMax = 8

// laneOf returns the lane of a priority: the higher the sooner, 0 is normal.
func laneOf(priority int) int { return min(max(priority, -1), 2) + laneNormal }

// waiter is one who waits for a connection. Whoever takes it out of its lanes owes it exactly
// one send on ready, after grant or err is set.
type waiter struct {
	lane  int
	seq   uint64
	in    *lanes
	ready chan struct{} // capacity 1

	grant       // what it gets
	err   error // or why it gets nothing

	at list.Node[waiter]
}

// lanes are queues of waiters. The higher goes first, but not for ever.
type lanes struct {
	queues [laneCount]list.List[waiter]
	passed [laneCount]int // times in a row that somebody waited there and another lane was served
	n      int
}

func (l *lanes) push(w *waiter) {
	w.in = l
	l.queues[w.lane].PushBack(&w.at, w)
	l.n++
}

// front returns who is next, or nil.
func (l *lanes) front() *waiter {
	if l.n == 0 {
		return nil
	}
	for i := range l.queues {
		if l.passed[i] >= patienceMax {
			return l.queues[i].Front() // not empty: remove resets it
		}
	}
	for i := laneCount - 1; i >= 0; i-- {
		if w := l.queues[i].Front(); w != nil {
			return w
		}
	}
	return nil
}

// take takes out who is served.
func (l *lanes) take(w *waiter) {
	for i := range w.lane {
		if l.queues[i].Len() > 0 {
			l.passed[i]++
		}
	}
	l.passed[w.lane] = 0
	l.remove(w)
}

// remove takes out one who gives up.
func (l *lanes) remove(w *waiter) {
	q := &l.queues[w.lane]
	q.Remove(&w.at)
	l.n--
	if q.Len() == 0 {
		l.passed[w.lane] = 0
	}
	w.in = nil
}

// fail takes out all and tells them err.
func (l *lanes) fail(err error) {
	for w := l.front(); w != nil; w = l.front() {
		l.take(w)
		w.err = err
		w.ready <- struct{}{}
	}
}

// before reports whether a goes before b, either of which may be nil.
func (a *waiter) before(b *waiter) bool {
	switch {
	case a == nil || b == nil:
		return a != nil
	case a.lane != b.lane:
		return a.lane > b.lane
	}
	return a.seq < b.seq
}
