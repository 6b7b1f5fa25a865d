package list

// Lane is where in Lanes an element waits. The zero value is the normal one, between low and high.
type Lane int8

const (
	LaneLow    Lane = -1
	LaneUrgent Lane = LaneLow + laneCount - 1
)

// laneCount lanes there are: low, normal, high, urgent.
const laneCount = 4

// passedMax is how often in a row a lane that has an element is passed over.
const passedMax = 8

// LaneOf returns the lane of a priority: the higher the sooner, 0 is normal.
func LaneOf(priority int) Lane {
	return Lane(min(max(priority, int(LaneLow)), int(LaneUrgent)))
}

// Lanes are lists, of which the higher is served first, but not for ever. The zero value is empty.
// The caller says with each call in which lane the element is.
type Lanes[E any] struct {
	queues [laneCount]List[E]
	passed [laneCount]int // times in a row that an element waited there and another lane was served
	n      int
}

// Len returns the number of elements of all lanes.
func (l *Lanes[E]) Len() int { return l.n }

// PushBack makes e, which holds the node, the last element of a lane.
func (l *Lanes[E]) PushBack(lane Lane, at *Node[E], e *E) {
	l.queues[lane-LaneLow].PushBack(at, e)
	l.n++
}

// PushFront makes e, which holds the node, the first element of a lane.
func (l *Lanes[E]) PushFront(lane Lane, at *Node[E], e *E) {
	l.queues[lane-LaneLow].PushFront(at, e)
	l.n++
}

// Front returns the element that is next, or nil.
func (l *Lanes[E]) Front() *E {
	if l.n == 0 {
		return nil
	}
	for i := range l.queues {
		if l.passed[i] >= passedMax {
			return l.queues[i].Front() // not empty: Remove resets it
		}
	}
	for i := laneCount - 1; i >= 0; i-- {
		if e := l.queues[i].Front(); e != nil {
			return e
		}
	}
	return nil
}

// Take takes out the element that is served.
func (l *Lanes[E]) Take(lane Lane, at *Node[E]) {
	own := int(lane - LaneLow)
	for i := range own {
		if l.queues[i].Len() > 0 {
			l.passed[i]++
		}
	}
	l.passed[own] = 0
	l.Remove(lane, at)
}

// Remove takes out an element that is not served.
func (l *Lanes[E]) Remove(lane Lane, at *Node[E]) {
	q := &l.queues[lane-LaneLow]
	q.Remove(at)
	l.n--
	if q.Len() == 0 {
		l.passed[lane-LaneLow] = 0
	}
}

// Each gives each lane to f, the lowest first.
func (l *Lanes[E]) Each(f func(*List[E])) {
	for i := range l.queues {
		f(&l.queues[i])
	}
}
