package server

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// Which event loop a connection gets. gnet hands a connection over through the queue of a
// loop, waits for the loop, and can take nothing back. So a connection is handed over only
// while the loop runs no handler, which could block it or end it: the loop is asked to open
// its door, and gives way to what comes in until the door is shut again. A loop that does not
// answer soon keeps the question, others are asked as well, and whichever answers first has
// the connection.

const (
	// answerMax is how long a loop is waited for alone.
	answerMax = 10 * time.Millisecond
	// placeMax is how long a connection waits for a loop, unless the one before it has
	// waited in vain and no loop has moved since: then it is answerMax.
	placeMax = 5 * time.Second
)

var (
	errNotPolled = errors.New("the event loop could not watch it")
	errBlocked   = errors.New("a handler blocks each event loop; set Config.Workers if handlers may block")
	errHurried   = errors.New("the server closes")
)

// host is what the goroutines beside an event loop's own know of it.
type host struct {
	front  *front
	client *gnet.Client
	gate   gate
	conns  atomic.Int32

	afterWake gnet.AsyncCallback // wakeDone, bound once: a method value allocates

	door   atomic.Uint32  // doorShut, doorAsked or doorOpen
	queued atomic.Bool    // the question is in the loop's queue
	el     gnet.EventLoop // nil before the first connection; written while the door is open
	buried bool           // its goroutine ends; the loop's

	since    atomic.Int64         // when what has its turn began, see mark; 0: nothing has
	cameBack atomic.Int64         // the clock when it was last back after long (noteLong)
	holder   atomic.Pointer[Conn] // whose turn it is, or was last
	seen     int64                // since when the sweep looked last; the sweep's
	named    int64                // since of what was named in the log; the sweep's
}

const (
	doorShut  = iota
	doorAsked // the loop shall open it
	doorOpen  // no handler runs on the loop until it is shut
)

// gate keeps everybody but the loop itself from touching the links of its connections
// once it is to stop: a wake after that would write to a descriptor that may be somebody
// else's by then.
type gate struct {
	mu   sync.RWMutex // held for reading for one wake or close
	shut bool
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// stop ends an event loop and waits for it.
func (l *loop) stop() error {
	l.gate.close()
	return l.client.Stop()
}

// enroll hands a connection to an event loop, as said above. nc is closed when it
// succeeds: gnet duplicates the descriptor. It must not be called once the loops have been
// told to stop.
func (f *front) enroll(nc net.Conn, c *Conn) error {
	f.placing.Lock()
	defer f.placing.Unlock()
	l, err := f.open()
	if err != nil {
		return err
	}
	defer l.door.Store(doorShut)
	detach(nc)
	c.loop = l
	if _, err := l.client.EnrollContext(nc, c); err != nil {
		return err
	}
	// gnet reports success when its poller refused the connection. Open has run
	// before EnrollContext returned, or never will.
	if c.link == nil {
		return errNotPolled
	}
	return nil
}

// open returns the loop whose door is open for one connection, and shuts all others. The
// caller holds placing.
func (f *front) open() (chosen *loop, err error) {
	defer func() { f.dismiss(chosen) }()
	limit := f.limit
	if f.jammed.Load() {
		limit = answerMax
	}
	end := time.Now().Add(limit)
	for {
		l := f.next()
		if l != nil {
			f.asked = append(f.asked, l)
			late := l.queued.Load()
			if l.ask() {
				return l, nil
			}
			if late {
				continue // it has not even answered for another one: nobody waits for it alone
			}
		}
		if l, err = f.await(l != nil, end); l != nil || err != nil {
			f.jammed.Store(err == errBlocked)
			return l, err
		}
	}
}

// await waits until a loop answers, or, if more can be asked, for answerMax: then it
// returns nothing.
func (f *front) await(more bool, end time.Time) (*loop, error) {
	for {
		wait := time.Until(end)
		if more {
			wait = min(wait, answerMax)
		}
		f.timer.Reset(max(wait, 0))
		timeUp := false
		select {
		case <-f.answers:
		case <-f.timer.C:
			timeUp = true
		case <-f.srv.hurry:
			return nil, errHurried
		}
		for _, l := range f.asked {
			if l.door.Load() == doorOpen {
				return l, nil
			}
		}
		switch {
		case timeUp && !time.Now().Before(end):
			return nil, errBlocked
		case timeUp, !more && f.next() != nil: // there is a new loop
			return nil, nil
		}
	}
}

// next returns the loop with fewest connections that was not asked yet, nil if all were; the
// first ones have it until they have packSize.
func (f *front) next() (best *loop) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, l := range f.loops {
		if i == f.srv.cfg.packed && best != nil && best.conns.Load() < packSize {
			break
		}
		if l.door.Load() == doorShut && (best == nil || l.conns.Load() < best.conns.Load()) {
			best = l
		}
	}
	return best
}

// dismiss shuts the doors of all that were asked but one.
func (f *front) dismiss(chosen *loop) {
	for i, l := range f.asked {
		if l != chosen {
			l.door.Store(doorShut)
		}
		f.asked[i] = nil
	}
	f.asked = f.asked[:0]
}

// answer tells enroll to look.
func (f *front) answer() {
	select {
	case f.answers <- struct{}{}:
	default: // it is told already
	}
}

// ask has the loop open its door when it comes to it. True means that it is open: without
// connections there are no handlers.
func (l *loop) ask() bool {
	if l.el == nil {
		l.door.Store(doorOpen)
		return true
	}
	l.door.Store(doorAsked)
	if !l.queued.CompareAndSwap(false, true) {
		return false
	}
	// It fails only if the loop cannot be told.
	l.tell(func() { _ = l.el.Execute(context.Background(), l) })
	return false
}

// tell calls what has the event loop do something, unless it is to stop. That counts it off when
// it begins, which may be before it is counted here.
func (l *loop) tell(call func()) {
	l.gate.mu.RLock()
	defer l.gate.mu.RUnlock()
	if !l.gate.shut {
		call()
		l.asked.Add(1)
	}
}

// Run implements gnet.Runnable: the loop has come to the question.
func (l *loop) Run(context.Context) error {
	l.asked.Add(-1)
	l.queued.Store(false) // before the look: a call that asks after it queues another one
	l.front.jammed.Store(false)
	if l.door.CompareAndSwap(doorAsked, doorOpen) {
		l.front.answer()
		runtime.Gosched() // so that the connection is in the queue when the loop looks there next
	}
	return nil
}

// giveWay has no request of a turn handled while a connection is on its way into the loop.
// It is called again soon.
func (c *Conn) giveWay() {
	if c.block == blockNone && c.loop.door.Load() == doorOpen && c.srv.workers == nil {
		c.block = blockTurn
	}
}
