package pool

import "github.com/ringwire/ringwire/internal/list"

// idleList holds the idle entries: the one that came back last in front, the one
// that has been idle longest at the back.
type idleList[T Item] struct{ list.List[entry[T]] }

// pop takes the entry that came back last and is not being examined, or returns
// nil.
func (l *idleList[T]) pop() *entry[T] {
	for e := l.Front(); e != nil; e = e.place.Next() {
		if e.state != checking {
			l.Remove(&e.place)
			return e
		}
	}
	return nil
}
