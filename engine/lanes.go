package engine

import "github.com/ringwire/ringwire/internal/list"

// The lanes of the backlog: low, normal, high, urgent.
const laneCount = 4

// passedMax is how often in a row a lane that has somebody waiting is passed over.
const passedMax = 8

// lane is where a request waits. The zero value is the normal one, between low and high.
type lane int8

const (
	laneLow    lane = -1
	laneUrgent lane = laneLow + laneCount - 1
)

// laneOf returns the lane of a Call.Priority.
func laneOf(priority int) lane {
	return lane(min(max(priority, int(laneLow)), int(laneUrgent)))
}

// lanes are queues of requests. The higher goes first, but not for ever.
type lanes struct {
	queues [laneCount]list.List[pending]
	passed [laneCount]int // times in a row that somebody waited there and another lane was served
	n      int
}

func (l *lanes) of(p *pending) *list.List[pending] { return &l.queues[p.lane-laneLow] }

func (l *lanes) pushBack(p *pending) {
	l.of(p).PushBack(&p.node, p)
	l.n++
}

func (l *lanes) pushFront(p *pending) {
	l.of(p).PushFront(&p.node, p)
	l.n++
}

// front returns the request that is next, or nil.
func (l *lanes) front() *pending {
	for i := range l.queues {
		if l.passed[i] >= passedMax {
			return l.queues[i].Front() // not empty: remove resets it
		}
	}
	for i := laneCount - 1; i >= 0; i-- {
		if p := l.queues[i].Front(); p != nil {
			return p
		}
	}
	return nil
}

// take takes out the request that is served.
func (l *lanes) take(p *pending) {
	own := int(p.lane - laneLow)
	for i := range l.queues {
		if i < own && l.queues[i].Len() > 0 {
			l.passed[i]++
		}
	}
	l.passed[own] = 0
	l.remove(p)
}

// remove takes out a request that is not served.
func (l *lanes) remove(p *pending) {
	q := l.of(p)
	q.Remove(&p.node)
	l.n--
	if q.Len() == 0 {
		l.passed[p.lane-laneLow] = 0
	}
}
