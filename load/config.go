package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

// Defaults of a Config.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultDialTimeout = 5 * time.Second
	// drainGrace is how much longer than the timeout a drain lasts unless it is set: until
	// the last request has timed out, and a late reply may still come.
	drainGrace = time.Second
)

// Ranges of a Config.
const (
	ConnsMax   = 100_000
	BacklogMax = 1 << 24
	// Of the default: what falls due in a timeout, within these.
	backlogLeast, backlogMost = 1024, 1 << 20
	timeMax                   = time.Hour
	weightMax                 = 1000
	stagesMax                 = 100     // each has histograms
	latencyMax                = timeMax // of what is recorded; what takes longer is recorded as that
)

// Target is a backend.
type Target struct {
	Network, Address string // as net.Dial takes them
	TLS              bool
	Weight           int // its share of the connections among the weights of all, 1 to 1000
}

func (t Target) String() string {
	switch {
	case t.Network == "unix":
		return "unix://" + t.Address
	case t.TLS:
		return "tls://" + t.Address
	}
	return t.Address
}

// targetForm is how a target must look.
const targetForm = "must be host:port, tls://host:port or unix:///path"

// ParseTarget reads host:port, tls://host:port or unix:///path, and =WEIGHT behind it.
func ParseTarget(s string) (Target, error) {
	t := Target{Weight: 1}
	addr := s
	if i := strings.LastIndexByte(s, '='); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n < 1 || n > weightMax {
			return t, fmt.Errorf("target %q: weight %q: must be 1 to %d", s, s[i+1:], weightMax)
		}
		addr, t.Weight = s[:i], n
	}
	addr, t.TLS = strings.CutPrefix(addr, "tls://")
	var err error
	scheme, _, hasScheme := strings.Cut(addr, "://")
	if hasScheme && scheme != "unix" && scheme != "tcp" || !strings.Contains(addr, ":") {
		return t, fmt.Errorf("target %q: %s", s, targetForm)
	}
	if t.Network, t.Address, err = netaddr.Split(addr); err != nil {
		return t, fmt.Errorf("target: %w", err)
	}
	if host, port, _ := net.SplitHostPort(t.Address); t.Network == "tcp" && (host == "" || port == "" || port == "0") {
		return t, fmt.Errorf("target %q: must name a host and a port", s)
	}
	return t, nil
}

// Config describes a run.
type Config struct {
	Targets []Target
	// Listener, instead of Targets, takes the connections that the backend makes. The run
	// closes it, unless Run returns an error. A program that wants TLS gives a listener that
	// speaks it.
	Listener net.Listener
	TLS      *tls.Config // of the targets with TLS; nil: the system's roots
	Codec    *wire.Codec
	Mix      *request.Mix

	// Open are requests that are made one after the other on each new connection, before
	// it gets any of Mix, such as a log-on. Of the first connection it is request 0 of
	// their sources, of the second request 1. A reply that is not what they expect ends the
	// connection. They are in no figure, and their weights are not used.
	Open []request.Kind

	Heartbeat Heartbeat
	// Answers are the rules by which requests of the peer's are answered; the first that is
	// for one counts. Those that none is for are only counted.
	Answers []request.Answer

	Conns int // connections to all targets together, at least one for each
	// InFlight is the window: how many requests of a connection may wait for a reply.
	InFlight int

	// Schedule makes the loop open: requests are sent when they are due, whatever becomes
	// of those before. nil is the closed loop: each reply makes room for the next request.
	Schedule *schedule.Config
	// Duration ends the closed loop, 0: never; Schedule has its own.
	Duration time.Duration
	// Requests is how many are sent, exactly, in the closed loop; 0: as many as Duration
	// has room for. Schedule has its own.
	Requests int64

	// LeaveOutLag has the response count from when the generator came to the request, not
	// from when it was due: for comparisons, where the lag of a busy machine is in both sides
	// and hides what they differ by.
	LeaveOutLag bool

	Warmup time.Duration // requests due before it are sent, and are not in the figures
	// Timeout is how long a reply is waited for, from when a connection has the request; 0: 5 s.
	Timeout time.Duration
	// Drain bounds the wait for replies after the last request; 0: the timeout and a second.
	Drain time.Duration
	// DialTimeout bounds the dial of a connection with its handshake, or how long one is listened
	// for; 0: 5 s.
	DialTimeout time.Duration
	// Backlog bounds the requests of the open loop that are due and that no connection has
	// room for; beyond it they are unsent. 0: what falls due in a Timeout, 1024 to 1048576.
	Backlog int

	ConnectRate     float64       // connections begun a second; 0: at once
	RequestsPerConn int64         // then a connection is replaced; 0: never
	ConnLifetime    time.Duration // then a connection is replaced; 0: never
	LocalAddr       net.Addr      // where connections come from; nil: as the system chooses

	StartAt  time.Time // when the first request is due, connections being up; zero: at once
	FailFast bool      // end with the first request or connection that fails

	// Dump, if not nil, gets the first 1000 exchanges that failed, a line of JSON each. In
	// their payloads card numbers and PIN blocks are masked, and what is not all text is not
	// shown; of ISO 8583 messages most fields are but counted. It is written to from a
	// goroutine of its own, for which the run's end waits.
	Dump io.Writer

	// Observe, if not nil, is called once a second while requests are sent; Log once a
	// second until all is over, and then once more. Both are called from one goroutine,
	// which is theirs: while they take longer, the seconds do. The run's end waits for it.
	Observe func(Snapshot)
	Log     func(*Interval)
}

// withDefaults writes the defaults out.
func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Drain == 0 {
		c.Drain = c.Timeout + drainGrace
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.Backlog == 0 && c.Schedule != nil {
		most := 0.0
		for _, s := range c.Schedule.Stages {
			most = max(most, s.From, s.To)
		}
		c.Backlog = int(min(max(backlogLeast, most*c.Timeout.Seconds()), backlogMost))
	}
	return c
}

// Validate returns an error that names what makes no sense, its value and the range.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case len(c.Targets) == 0 && c.Listener == nil:
		return errors.New("no target: name one, host:port")
	case len(c.Targets) > 0 && c.Listener != nil:
		return errors.New("a target and a listener: the run makes the connections, or the backend does")
	case c.Codec == nil:
		return errors.New("no framing")
	case c.Mix == nil:
		return errors.New("no request")
	case c.Conns < max(1, len(c.Targets)) || c.Conns > ConnsMax:
		return fmt.Errorf("connections %d: must be %d, one for each target, to %d", c.Conns, max(1, len(c.Targets)), ConnsMax)
	case c.Backlog < 0 || c.Backlog > BacklogMax:
		return fmt.Errorf("backlog %d: must be 1 to %d requests", c.Backlog, BacklogMax)
	case !(c.ConnectRate >= 0 && c.ConnectRate <= schedule.RateMax):
		return fmt.Errorf("connect rate %v: must be above 0 and at most %.0f a second", c.ConnectRate, schedule.RateMax)
	case c.RequestsPerConn < 0:
		return fmt.Errorf("requests per connection %d: must be 1 or more", c.RequestsPerConn)
	case c.Requests < 0:
		return fmt.Errorf("requests %d: must be 1 or more", c.Requests)
	}
	for i := range c.Open {
		if err := c.Open[i].Check(c.Codec); err != nil {
			return err
		}
	}
	for i := range c.Answers {
		if err := c.Answers[i].Check(c.Codec); err != nil {
			return err
		}
	}
	for _, t := range c.Targets {
		if t.Weight < 1 || t.Weight > weightMax {
			return fmt.Errorf("target %v: weight %d: must be 1 to %d", t, t.Weight, weightMax)
		}
	}
	for _, d := range []struct {
		name       string
		value, min time.Duration
		max        time.Duration
	}{
		{"timeout", c.Timeout, time.Millisecond, timeMax},
		{"drain", c.Drain, time.Millisecond, timeMax},
		{"dial timeout", c.DialTimeout, time.Millisecond, timeMax},
		{"warm-up", c.Warmup, 0, schedule.ForMax},
		{"duration", c.Duration, 0, schedule.ForMax},
		{"lifetime of a connection", c.ConnLifetime, 0, schedule.ForMax},
	} {
		if d.value < d.min || d.value > d.max {
			return fmt.Errorf("%s %v: must be %v to %v", d.name, d.value, d.min, d.max)
		}
	}
	return errors.Join(c.validateLoop(), c.Codec.CheckWindow(c.InFlight), c.Mix.Check(c.Codec), c.validateHeartbeat())
}

// validateLoop checks what makes the run end, and that something is left of it.
func (c *Config) validateLoop() error {
	if c.Schedule != nil {
		if err := c.Schedule.Validate(); err != nil {
			return err
		}
		if len(c.Schedule.Stages) > stagesMax {
			return fmt.Errorf("%d stages: must be 1 to %d", len(c.Schedule.Stages), stagesMax)
		}
		if d := c.Schedule.Duration(); c.Warmup >= d {
			return fmt.Errorf("warm-up %v: must be shorter than the run of %v", c.Warmup, d)
		}
		return nil
	}
	if c.Duration == 0 && c.Requests == 0 && c.Mix.Count() == 0 {
		return errors.New("no end: give a number of requests or a duration")
	}
	if c.Duration > 0 && c.Warmup >= c.Duration {
		return fmt.Errorf("warm-up %v: must be shorter than the run of %v", c.Warmup, c.Duration)
	}
	return nil
}

// targetOf returns the target of each connection: as many as the weights say, one at least.
func (c *Config) targetOf() []Target {
	if c.Listener != nil {
		return make([]Target, c.Conns) // they are not dialled
	}
	total := 0
	for _, t := range c.Targets {
		total += t.Weight
	}
	all := append([]Target(nil), c.Targets...)
	have := make([]int, len(c.Targets))
	for i := range have {
		have[i] = 1
	}
	for len(all) < c.Conns {
		best, lack := 0, math.Inf(-1)
		for i, t := range c.Targets {
			if l := float64(t.Weight)/float64(total)*float64(c.Conns) - float64(have[i]); l > lack {
				best, lack = i, l
			}
		}
		have[best]++
		all = append(all, c.Targets[best])
	}
	return all
}

// stageName is how a stage is shown.
func stageName(s schedule.Stage) string {
	if s.From == s.To {
		return fmt.Sprintf("%v at %.6g/s", s.For, s.To)
	}
	return fmt.Sprintf("%v from %.6g to %.6g/s", s.For, s.From, s.To)
}
