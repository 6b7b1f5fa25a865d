package engine

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/taskid"
)

// Probe asks servers that are up, and of which nothing has come for Interval, whether they still
// answer: one that hangs while nobody calls is known before somebody does. And instead of a call it
// is a probe that decides whether a server is back which was away or ejected.
type Probe struct {
	// Payload is that of the request, one that any server may answer at any time. A probe is a
	// call like others, in Stats too, and keeps its connection from being idle, see
	// Config.IdleTimeout.
	Payload []byte

	// Check looks at a reply; an error means that the server is not well, and is logged. It runs on
	// a goroutine of the server's probes, and reply is its own. It should return soon: meanwhile
	// the server is not probed, and Close waits for it. Default nil: any reply will do.
	Check func(reply []byte) error

	// Interval is the time between two probes of a server of which nothing else comes, up to a
	// tenth more or less at random; after a probe that failed at most 5 s. Default 30 s.
	Interval time.Duration

	// Timeout is how long the reply may take. Default 5 s; longer than two hours counts as two
	// hours.
	Timeout time.Duration
}

// probeAgain is the longest Interval after a probe that failed.
const probeAgain = health.DefaultBackoffMax

func (p *Probe) withDefaults() *Probe {
	if p == nil {
		return nil
	}
	c := *p
	c.Payload = bytes.Clone(p.Payload)
	defaults.Set(&c.Interval, health.DefaultInterval)
	defaults.Set(&c.Timeout, health.DefaultTimeout)
	return &c
}

func (p *Probe) validate(largest int) error {
	switch {
	case p == nil:
		return nil
	case len(p.Payload) > largest:
		return fmt.Errorf("engine: Config.Probe.Payload has %d bytes; the framing takes %d", len(p.Payload), largest)
	}
	for field, d := range map[string]time.Duration{"Interval": p.Interval, "Timeout": p.Timeout} {
		if d < time.Millisecond || d > MaxTimeout {
			return fmt.Errorf("engine: Config.Probe.%s is %v; it must lie in %v to %v", field, d, time.Millisecond, MaxTimeout)
		}
	}
	return nil
}

// errNoVerdict is of a probe that has learnt nothing of the server.
var errNoVerdict = errors.New("the probe has not come to the server")

// prober probes a server. What its probes meet is told to the server's judge, as of calls; only how
// many in a row have failed is counted here, because to the judge a reply that Check refuses is a
// reply. A server on trial is probed at once, and calls leave it alone: see routes.probed.
type prober struct {
	*Probe
	addr    *address
	missed  int    // in a row
	replies uint64 // to probes
}

// run is the prober's goroutine.
func (p *prober) run() {
	a := p.addr
	defer a.b.wg.Done()
	role.Set("probe")
	alarm := time.NewTimer(about(p.Interval))
	defer alarm.Stop()
	for before := p.heard(); ; {
		select {
		case <-alarm.C:
		case <-a.onTrial:
		case <-a.removed:
			return
		case <-a.b.ctx.Done():
			return
		}
		heard := p.heard()
		state, _ := a.state()
		if state == AddrTrial || state == AddrUp && (p.missed > 0 || heard == before) {
			p.examine()
		}
		before = heard
		if state == AddrUp && p.missed == 0 {
			alarm.Reset(about(p.Interval))
		} else {
			alarm.Reset(about(min(p.Interval, probeAgain)))
		}
	}
}

// heard returns how many frames have come from the server that answer no probe, on the connections
// that it has now. Those that a callback has just been told of may be missing.
func (p *prober) heard() uint64 {
	frames := -p.replies
	for _, l := range p.addr.links {
		if c := l.current.Load(); c != nil {
			frames += c.in.got.frames.Load()
		}
	}
	return frames
}

// probeSoon has a server probed that has just come on trial.
func (a *address) probeSoon() {
	select {
	case a.onTrial <- struct{}{}:
	default: // nobody probes, or it is told already
	}
}

// about returns d, up to a tenth more or less.
func about(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// examine probes each connection.
func (p *prober) examine() {
	a := p.addr
	for _, l := range a.links {
		c := l.current.Load()
		if c == nil {
			continue
		}
		began := time.Now()
		reply, err := c.ask(p.Probe)
		if err == errNoVerdict {
			continue
		}
		a.probes.Add(1)
		fails := 1
		if err == nil {
			p.replies++
			fails = p.missed + 1 // the judge has heard of a reply, so it counts from one again
			err = p.check(reply)
		}
		if err == nil {
			p.missed = 0
			continue
		}
		p.missed++
		a.probesFailed.Add(1)
		a.logOf(&a.verdicts, slog.LevelWarn, "probe failed", slog.Any("cause", err), slog.Int("in a row", p.missed))
		a.failed(fails, began, fmt.Errorf("probe failed: %w", err))
		return
	}
}

// ask makes one probe on a connection. It does not wait for room, nor for another connection.
func (c *conn) ask(p *Probe) (reply []byte, err error) {
	answer := make(probed, 1)
	r := request{
		payload: p.Payload, to: answer, timeout: true, expires: taskid.NoTick,
		deadline: c.b.clock.after(c.b.clock.ticks(min(p.Timeout, timeoutMost))),
	}
	if c.submit(&r, true) != accepted {
		return nil, errNoVerdict
	}
	c.kick()
	c.call()
	got := <-answer
	var remote *RemoteError
	switch {
	case c.phase.Load() >= phaseEnded: // others see to that; another server may have answered
		return nil, errNoVerdict
	case errors.As(got.err, &remote): // without its text: it is the server's, and this goes to the log
		return nil, &RemoteError{Code: remote.Code}
	case got.err == nil, errors.Is(got.err, ErrTimeout):
		return got.reply, got.err
	}
	return nil, errNoVerdict
}

// probed is the outcome of a probe.
type probed chan struct {
	reply []byte
	err   error
}

func (p probed) callback(reply []byte, err error) {
	p <- struct {
		reply []byte
		err   error
	}{bytes.Clone(reply), err}
}

// check has the user's function look at a reply, on a goroutine of its own, which it may end.
func (p *Probe) check(reply []byte) error {
	if p.Check == nil {
		return nil
	}
	verdict := make(chan error, 1)
	go func() {
		role.Set("probe")
		err := errors.New("Probe.Check has ended its goroutine")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("Probe.Check has panicked: %v", v)
			}
			verdict <- err
		}()
		err = p.Check(reply)
	}()
	return <-verdict
}
