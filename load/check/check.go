// Package check sends one request of each kind over one connection, shows what was sent
// and what came field by field, and, if that fails, says which of four things is wrong,
// with numbers, and what to try. It shows no payload.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// Statement is what a check found wrong: exactly one thing, the first.
type Statement int

const (
	Fine    Statement = iota
	Nothing           // no connection, or no byte came
	NoFrame           // bytes came, and they are no frame
	NoMatch           // a frame came, and it is not the reply to the request
	Refused           // the reply came, and it is not a success
)

// Report is what a check found.
type Report struct {
	Statement Statement
	Text      string // what was sent and what came, field by field
	Verdict   string // the statement, with numbers
	Proposal  string // what to try; "": nothing is known
}

// String is the whole report.
func (r *Report) String() string {
	s := r.Text + "\ncheck        " + r.Verdict + "\n"
	if r.Proposal != "" {
		s += "try          " + r.Proposal + "\n"
	}
	return s
}

// checker is a check under way.
type checker struct {
	cfg    load.Config
	target load.Target
	codec  *wire.Codec
	dec    *wire.Decoder
	from   request.From // values of the steps before
	before int          // how many there were
	text   strings.Builder
	report *Report
}

// Run checks the first target of a configuration that Validate accepts, or the backend that
// connects to its Listener. It waits for each reply for the configuration's timeout. If
// nothing comes, it tries other framings, each on a connection of its own, for some seconds
// in all; not with a Listener.
func Run(ctx context.Context, cfg load.Config) *Report {
	if cfg.Timeout == 0 {
		cfg.Timeout = load.DefaultTimeout
	}
	c := &checker{cfg: cfg, codec: cfg.Codec, report: &Report{}}
	if cfg.Listener == nil {
		c.target = cfg.Targets[0]
	}
	c.run(ctx)
	c.report.Text = c.text.String()
	return c.report
}

func (c *checker) run(ctx context.Context) {
	began := time.Now()
	conn, err := c.connect(ctx)
	if err != nil {
		c.noConnection(ctx, err)
		return
	}
	fmt.Fprintf(&c.text, "connected    %v in %v\n", conn.RemoteAddr(), time.Since(began).Round(time.Microsecond))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	c.dec = wire.NewDecoder(c.codec)
	kinds := c.cfg.Open
	if h := &c.cfg.Heartbeat; h.Every > 0 {
		kinds = append(slices.Clip(kinds), h.Kind)
	}
	kinds = slices.Concat(kinds, c.cfg.Mix.Kinds)
	made := 0
	for i := range kinds {
		c.from, c.before = request.From{Codec: c.codec}, 0
		for n := range kinds[i].Steps() {
			k := *kinds[i].Step(n)
			if n > 0 {
				k.Name = fmt.Sprintf("%s/%d", kinds[i].Name, n+1)
			}
			if c.exchange(ctx, conn, &k, uint64(made)); c.report.Statement != Fine {
				c.report.Verdict = k.Name + ": " + c.report.Verdict
				return
			}
			made++
		}
	}
	c.report.Verdict = fmt.Sprintf("fine: %d of %d requests answered as expected", made, made)
}

// connect makes the connection, or waits for the backend to make it.
func (c *checker) connect(ctx context.Context) (net.Conn, error) {
	l := c.cfg.Listener
	if l == nil {
		return c.cfg.Dial(ctx, c.target)
	}
	timeout := c.cfg.DialTimeout
	if timeout == 0 {
		timeout = load.DefaultDialTimeout
	}
	var conn net.Conn
	err := errNoVisitor
	accepted := make(chan struct{})
	go func() { defer close(accepted); conn, err = l.Accept() }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-accepted:
		return conn, err
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = l.Close() // ends the Accept
	<-accepted
	if conn != nil {
		_ = conn.Close()
	}
	return nil, errNoVisitor
}

// errNoVisitor is for a backend that should connect and does not.
var errNoVisitor = errors.New("it has not connected")

// idOf is the ID of the check's request n: one whose bytes are seldom elsewhere.
func idOf(spec wire.Spec, n uint64) uint64 {
	if spec.Ordered() {
		return 0
	}
	const rare = 0x5ac3_71e9_2d84_b6f7
	return spec.IDMin + (rare+n)%spec.IDs()
}

// exchange sends a request and judges what comes.
func (c *checker) exchange(ctx context.Context, conn net.Conn, k *request.Kind, n uint64) {
	id := idOf(c.codec.Spec(), n)
	payload := c.from.Payload(nil, k.Source, 0)
	sent, err := c.codec.Append(nil, id, payload)
	if err != nil { // Mix.Check forbids it
		c.found(Nothing, err.Error(), "")
		return
	}
	at, _ := c.codec.IDField(sent, false)
	c.show(fmt.Sprintf("sent %s", k.Name), sent, at, nil)
	began := time.Now()
	got := load.Exchange(conn, c.dec, sent, c.cfg.Timeout, c.cfg.Answer)
	took := time.Since(began).Round(time.Microsecond)
	switch {
	case got.Frame.Bytes != nil:
		c.judge(k, id, sent, got, took)
	case len(got.Rest) > 0:
		c.noFrame(got, took)
	default:
		c.nothing(ctx, conn, k, sent, got, took)
	}
}

// judge looks at a frame that came.
func (c *checker) judge(k *request.Kind, id uint64, sent []byte, got load.Received, took time.Duration) {
	spec := c.codec.Spec()
	replyID, bad := c.codec.IDField(got.Frame.Bytes, true)
	c.show(fmt.Sprintf("received after %v", took), got.Frame.Bytes, replyID, k)
	if got.Requests > 0 {
		fmt.Fprintf(&c.text, "             before it the peer made %d requests of its own, %d answered\n", got.Requests, got.Answered)
	}
	switch {
	case spec.Ordered():
	case len(spec.Message.Key) > 0:
		if bad != nil || !got.Frame.IDValid || got.Frame.ID != id || got.Frame.Key != c.codec.Key(sent) {
			c.otherMessage(id, sent, got.Frame, bad)
			return
		}
	case !got.Frame.IDValid || got.Frame.ID != id:
		c.noMatch(id, sent, got.Frame)
		return
	}
	if k.Status.Len > 0 {
		status, ok := k.Status.Of(got.Frame.Bytes)
		switch {
		case status == nil:
			c.found(Refused, fmt.Sprintf("the reply came and has no status: it has %d bytes, and the status would be at %d to %d",
				len(got.Frame.Bytes), k.Status.Offset, k.Status.Offset+k.Status.Len-1), "another --status off=, or a request that the backend knows")
			return
		case !ok:
			c.found(Refused, fmt.Sprintf("the reply came and was refused: status %s at %d", request.CodeName(status), k.Status.Offset),
				"if that is success, --ok "+request.CodeName(status)+"; else another request: framing and ID are right")
			return
		}
	}
	if holds, _ := k.Expect.Holds(c.codec, got.Frame.Bytes, k.Source, 0, &c.from, nil); !holds {
		c.found(Refused, fmt.Sprintf("the reply came and is not what was expected; its payload has %d bytes, the request's %d",
			len(c.codec.Payload(nil, got.Frame.Bytes)), len(sent)-c.codec.Overhead()), "another --expect, or none: framing and ID are right")
		return
	}
	var ok bool
	if c.from.Values, ok = k.ExtractFrom(c.codec, got.Frame.Bytes, c.from.Values); !ok {
		e := k.Extract[len(c.from.Values)-c.before]
		c.found(Refused, fmt.Sprintf("the reply of %d bytes came and has no value %s", len(got.Frame.Bytes), e.Name),
			"another place for it: framing and ID are right")
	}
	c.before = len(c.from.Values)
}

func (c *checker) found(s Statement, verdict, proposal string) {
	c.report.Statement, c.report.Verdict, c.report.Proposal = s, verdict, proposal
}

// ended says how an exchange without a frame ended.
func ended(err error) string {
	var length *wire.LengthError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "and nothing more"
	case errors.As(err, &length):
		return "and " + length.Error()
	case errors.Is(err, io.EOF):
		return "and the peer closed the connection"
	}
	return "and the connection ended: " + load.Cause(err)
}
