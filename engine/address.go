package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/pool"
)

const (
	// hurryMin and hurryMax bound how long after a dial the next one begins for the sake of
	// a call that waits. The time between them spreads clients that lost the same server.
	hurryMin = time.Second
	hurryMax = 2 * time.Second
	// patienceMax bounds how often SilenceTimeout doubles.
	patienceMax = 8
)

// address is one server, judged by what its connections meet. There is no other judge.
// What they meet comes in by report. What follows from it is:
//
//   - admit: when the next dial may begin. After each failure the pause grows, until a
//     reply has come. That a connection was accepted proves nothing: a balancer without a
//     backend accepts too, and so does the kernel on behalf of a process that hangs.
//   - proven: whether it takes requests in turn with the others. If something has failed
//     since its last reply it is on trial: while another address is up, each of its
//     connections gets one request, and more when that is answered.
//   - patience: how long a connection may be silent before it is suspect.
type address struct {
	b     *Broker
	name  string // as configured
	bit   uint32 // in request.shun; more addresses than bits share them
	pool  *pool.Pool
	links []*link
	pause backoff.Policy

	known   atomic.Bool // a reply has come from it, ever
	proven  atomic.Bool // nothing has failed since its last reply
	doubts  atomic.Uint32
	hurried atomic.Bool // the next dial has been hurried already
	lastErr atomic.Pointer[OpError]

	connsLost, suspected atomic.Uint64
	lines                lines
	past                 Stats // of connections that are gone; guarded by Broker.mu

	mu       sync.Mutex // guards what follows; nothing is called under it
	failures int        // in a row since the last reply; those begun together count once
	epoch    uint64     // counts failures that counted
	dialling int        // dials under way
	notYet   time.Time  // no dial before
	lastDial time.Time  // when the last one began
	untried  bool       // no dial has ended since the address was last idle
}

// event is what happened at an address.
type event int

const (
	eventAnswered event = iota // a frame has come
	eventRefused               // a dial has failed
	eventLost                  // a connection has ended
	eventSilent                // a connection has become suspect
)

// report tells the address what has happened. epoch is that of the dial that the event
// goes back to; lived is how long the connection was up that has ended.
func (a *address) report(e event, epoch uint64, lived time.Duration) {
	a.mu.Lock()
	if e == eventAnswered {
		a.failures, a.notYet = 0, time.Time{}
		a.doubts.Store(0)
		a.proven.Store(true)
		a.known.Store(true)
		a.mu.Unlock()
		a.poke()
		return
	}
	if epoch == a.epoch { // else it is news already known
		a.epoch++
		a.failures++
	}
	a.failures = max(a.failures, 1)
	if lived > a.pause.Max {
		a.failures = 1 // an idle connection was closed: nobody has asked anything
	}
	a.proven.Store(false)
	if e == eventSilent {
		a.suspected.Add(1)
		a.doubts.Store(min(a.doubts.Load()+1, patienceMax))
	} else {
		a.notYet = time.Now().Add(a.pause.Delay(a.failures))
		a.hurried.Store(false)
	}
	a.mu.Unlock()
	// The next frame on any of its connections clears it.
	for _, l := range a.links {
		if c := l.current.Load(); c != nil {
			c.standing.doubted.Store(true)
		}
	}
	a.poke()
}

// silent reports that a connection has become suspect.
func (a *address) silent(c *conn, silence time.Duration) {
	err := fmt.Errorf("%w for %v", errSilent, silence)
	a.lastErr.Store(&OpError{Op: "read", Addr: a.name, Err: err})
	a.report(eventSilent, c.made.epoch, 0)
	a.b.reroute()
	a.log(slog.LevelWarn, "no reply; connecting anew", slog.Duration("for", silence))
}

// admit begins a dial, if one is allowed now. Else it returns when to ask again, zero
// for when the link is poked.
func (a *address) admit(now time.Time) (epoch uint64, again time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failures > 0 {
		if a.dialling > 0 {
			return 0, time.Time{}, false
		}
		if now.Before(a.notYet) {
			return 0, a.notYet, false
		}
	}
	a.dialling++
	a.lastDial = now
	a.hurried.Store(false)
	return a.epoch, time.Time{}, true
}

// dialled notes that a dial has ended, and how.
func (a *address) dialled(epoch uint64, err error) {
	a.mu.Lock()
	a.dialling--
	a.mu.Unlock()
	if err != nil {
		a.lastErr.Store(&OpError{Op: "dial", Addr: a.name, Err: a.dialError(err)})
		a.report(eventRefused, epoch, 0)
	}
	a.poke()
}

// tested notes that the outcome of a dial can be seen: the connection takes requests, or
// report knows that there is none.
func (a *address) tested() {
	a.mu.Lock()
	first := a.untried
	a.untried = false
	a.mu.Unlock()
	if first {
		a.b.untried.Add(-1)
	}
}

// dialError tells what a dial has met.
func (a *address) dialError(err error) error {
	var at *pool.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, pool.ErrDialTimeout) {
		hello := ""
		if a.b.extended {
			hello = ", in which the server must answer our hello, too"
		}
		return fmt.Errorf("%w: no connection within DialTimeout, %v%s", ErrDial, a.b.cfg.DialTimeout, hello)
	}
	return fmt.Errorf("%w: %w", ErrDial, err)
}

// rest notes that the address is left without a connection because nobody needs one.
func (a *address) rest() {
	a.mu.Lock()
	first := !a.untried
	a.untried = true
	a.hurried.Store(false)
	a.mu.Unlock()
	if first {
		a.b.untried.Add(1)
	}
}

// hurry brings the next dial forward for a call that waits, or would. Otherwise nobody
// would look for a server that has come back before the pause is over.
func (a *address) hurry() {
	if a.hurried.Load() && a.b.untried.Load() == 0 {
		return
	}
	a.mu.Lock()
	hurried := a.hurried.Swap(true) && !a.untried
	if !hurried {
		next := a.lastDial.Add(hurryMin + rand.N(hurryMax-hurryMin))
		if last := a.b.lastStretch(); !last.IsZero() && last.After(a.lastDial) && last.Before(next) {
			next = last
		}
		if next.Before(a.notYet) {
			a.notYet = next
		}
	}
	a.mu.Unlock()
	if !hurried {
		a.poke()
	}
}

// patience returns after how many ticks of silence a connection is suspect, 0 for never.
// It doubles with each suspicion, until a reply has come.
func (a *address) patience() uint32 {
	ticks := uint64(a.b.silenceTicks) << a.doubts.Load()
	return uint32(min(ticks, silenceMax))
}

// poke has the links look at what is to be done.
func (a *address) poke() {
	for _, l := range a.links {
		l.wakeUp()
	}
}
