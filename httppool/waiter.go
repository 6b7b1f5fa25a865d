package httppool

import "github.com/ringwire/ringwire/internal/list"

// waiter is a caller that waits for a connection. Whatever takes it out of its lanes owes it
// exactly one send on ready, after grant or err is set.
type waiter struct {
	lane  list.Lane
	seq   uint64
	in    *lanes
	ready chan struct{} // capacity 1

	grant       // what it gets
	err   error // or why it gets nothing

	at list.Node[waiter]
}

// lanes are waiters, by their priority. Health checks are urgent.
type lanes struct{ all list.Lanes[waiter] }

func (l *lanes) len() int { return l.all.Len() }

// front returns the waiter that is next, or nil.
func (l *lanes) front() *waiter { return l.all.Front() }

func (l *lanes) push(w *waiter) {
	w.in = l
	l.all.PushBack(w.lane, &w.at, w)
}

// take takes out the waiter that is served.
func (l *lanes) take(w *waiter) {
	l.all.Take(w.lane, &w.at)
	w.in = nil
}

// remove takes out a waiter that gives up.
func (l *lanes) remove(w *waiter) {
	l.all.Remove(w.lane, &w.at)
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
