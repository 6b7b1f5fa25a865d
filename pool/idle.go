package pool

// idleList holds the idle entries: the one that came back last at the head, the one
// that has been idle longest at the tail.
type idleList[T Item] struct {
	head, tail *entry[T]
	n          int
}

func (l *idleList[T]) push(e *entry[T]) {
	e.prev, e.next = nil, l.head
	if l.head != nil {
		l.head.prev = e
	} else {
		l.tail = e
	}
	l.head = e
	l.n++
}

// pop takes the entry that came back last and is not being examined, or returns
// nil.
func (l *idleList[T]) pop() *entry[T] {
	e := l.head
	for e != nil && e.state == checking {
		e = e.next
	}
	if e != nil {
		l.remove(e)
	}
	return e
}

func (l *idleList[T]) remove(e *entry[T]) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.tail = e.prev
	}
	e.prev, e.next = nil, nil
	l.n--
}
