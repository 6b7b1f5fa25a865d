package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/loglines"
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

// address is one server. What its connections meet comes in by report and goes to its
// judge, a health.Server; there is no other judge. What follows from that is:
//
//   - admit: when the next dial may begin. After each failure the pause grows, until a
//     reply has come. That a connection was accepted proves nothing: a balancer without a
//     backend accepts too, and so does the kernel on behalf of a process that hangs.
//   - standing: whether it takes requests in turn with the others, and what share. If it was not
//     reached since its last reply it is on trial: while another address is up, each of its
//     connections gets one request, and more when that is answered. If its calls fail it is
//     ejected for a time, and on trial then. A share that has come back grows.
//
// What is about connections is its own: how many dials are under way, when one is brought
// forward, and patience: how long a connection may be silent before it is suspect.
type address struct {
	b               *Broker
	name            string // as configured
	network, target string // of it
	bit             uint32 // in request.shun; more addresses than bits share them
	pool            *pool.Pool
	links           []*link
	judge           *health.Server
	load            *balance.Load
	weight          atomic.Int32
	removed         chan struct{} // closed by RemoveServer
	onTrial         chan struct{} // told when a connection of it comes on trial, for Config.Probe
	left            atomic.Int32  // links that run

	known   atomic.Bool // a reply has come from it, ever
	doubts  atomic.Uint32
	hurried atomic.Bool // the next dial has been hurried already
	lastErr atomic.Pointer[OpError]

	connsLost, suspected atomic.Uint64
	probes, probesFailed atomic.Uint64
	lines, verdicts      loglines.Limit // of the log: about connections, and about the server
	told                 atomic.Uint32  // the health.State that was logged last
	_                    cacheline.Pad
	turn                 atomic.Uint32 // of its connections; every call moves it if there are several
	_                    cacheline.Pad
	past                 Stats // of connections that are gone; guarded by Broker.mu

	mu       sync.Mutex // guards what follows; nothing is called under it
	dialling int        // dials under way
	sooner   time.Time  // when a dial may begin before the judge's pause is over; zero: it may not
	lastDial time.Time  // when the last one began
	untried  bool       // no dial has ended since the address was last idle
}

// event is what happened at an address.
type event int

const (
	eventAnswered event = iota // a reply has come in time
	eventHeard                 // another frame has come
	eventRefused               // a dial has failed
	eventLost                  // a connection has ended
	eventSilent                // a connection has become suspect
)

// newJudges returns what judges the addresses of a broker. Not to be reached once is enough: what
// follows is a trial, which one reply ends. Nobody calls Run: the dials are the probes, and the
// broker's clock lets time pass.
func newJudges(cfg *Config, changed func()) (*health.Group, error) {
	return health.New(health.Config{
		Interval:           -1,
		UnhealthyThreshold: 1,
		EjectionThreshold:  health.DefaultUnhealthyThreshold,
		HealthyThreshold:   1,
		BackoffBase:        min(cfg.BackoffBase, MaxTimeout), // a day is for ever
		BackoffMax:         min(cfg.BackoffMax, MaxTimeout),
		EjectionTime:       cfg.EjectionTime,
		SlowStart:          cfg.SlowStart,
		OnlyConnected:      true,
		OnChange:           changed,
	})
}

// asProbe stands for the links' dials where health asks for a probe: with one it keeps a
// server Down until something has been reported. It is never called.
func asProbe(context.Context) error { return health.ErrNoVerdict }

// proven reports whether it takes requests in turn.
func (a *address) proven() bool {
	s := a.judge.State()
	return s == health.Up || s == health.Rising
}

// report tells the address what has happened, and when that began: the dial, also of a
// connection that has ended, or the silence. lived is how long the connection was up that
// has ended, cause what was met. Of what began before the last failure was known, nothing
// counts.
func (a *address) report(e event, began time.Time, lived time.Duration, cause error) {
	switch {
	case e == eventAnswered || e == eventHeard:
		a.doubts.Store(0)
		a.known.Store(true)
		outcome := health.Answered
		if e == eventHeard {
			outcome = health.Probed
		}
		a.judge.Report(outcome, time.Time{}, nil)
		a.poke()
		return
	case lived > a.b.cfg.BackoffMax:
		// An idle connection was closed: nobody has asked anything. It is the first failure.
		a.judge.Report(health.Probed, time.Time{}, nil)
		began = time.Time{}
	case !began.IsZero():
		began = began.Add(-1) // of dials that begin and fail at one reading of the clock one counts
	}
	soon := time.Time{}
	if e == eventSilent {
		soon = time.Now()
		if at := a.nextDial(); at.After(soon) {
			soon = at // silence brings no pause, and ends none
		}
	}
	a.judge.Report(health.Unreachable, began, cause)
	a.mu.Lock()
	a.sooner = soon
	if e == eventSilent {
		a.suspected.Add(1)
		a.doubts.Store(min(a.doubts.Load()+1, patienceMax))
	} else {
		a.hurried.Store(false)
	}
	a.mu.Unlock()
	a.askFor(newsFrame) // which clears it
	a.poke()
}

// askFor has the next such frame on any of its connections reported.
func (a *address) askFor(news uint32) {
	for _, l := range a.links {
		if c := l.current.Load(); c != nil {
			c.standing.news.Or(news)
		}
	}
}

// failed reports calls that failed, n of them, and with what: they had no reply within ReadTimeout,
// the broker's own bound (callers' deadlines are no evidence), or were probes. began is when they
// did.
func (a *address) failed(n int, began time.Time, cause error) {
	for range min(n, health.DefaultUnhealthyThreshold) {
		a.judge.Report(health.Failed, began, cause)
	}
	a.askFor(newsReply) // after: a reply that is told before them ends no row
}

// nextDial returns when the next dial may begin, zero for at any time.
func (a *address) nextDial() time.Time {
	at := a.judge.Retry()
	if at.IsZero() {
		return at
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return earlier(at, a.sooner)
}

// silent reports that a connection has become suspect.
func (a *address) silent(c *conn, silence time.Duration) {
	err := &OpError{Op: "read", Addr: a.name, Err: fmt.Errorf("%w for %v", errSilent, silence)}
	a.lastErr.Store(err)
	a.report(eventSilent, time.Now().Add(-silence), 0, err.Err)
	a.b.reroute()
	a.log(slog.LevelWarn, "no reply; connecting anew", slog.Duration("for", silence))
}

// admit begins a dial, if one is allowed now. Else it returns when to ask again, zero
// for when the link is poked.
func (a *address) admit(now time.Time) (again time.Time, ok bool) {
	at := a.nextDial()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !at.IsZero() {
		if a.dialling > 0 {
			return time.Time{}, false
		}
		if now.Before(at) {
			return at, false
		}
	}
	a.dialling++
	a.lastDial = now
	a.hurried.Store(false)
	return time.Time{}, true
}

// dialled notes that a dial has ended, and how.
func (a *address) dialled(began time.Time, err error) {
	a.mu.Lock()
	a.dialling--
	a.mu.Unlock()
	if err != nil {
		last := &OpError{Op: "dial", Addr: a.name, Err: a.dialError(err)}
		a.lastErr.Store(last)
		a.report(eventRefused, began, 0, last.Err)
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
		a.sooner = earlier(a.sooner, next)
	}
	a.mu.Unlock()
	if !hurried {
		a.poke()
	}
}

// patience returns after how many ticks of silence a connection is suspect, 0 for never.
// It doubles with each suspicion, until a reply has come.
func (a *address) patience() uint32 {
	ticks := uint64(a.b.timeouts.silence) << a.doubts.Load()
	return uint32(min(ticks, silenceMax))
}

// poke has the links look at what is to be done.
func (a *address) poke() {
	for _, l := range a.links {
		l.wakeUp()
	}
}
