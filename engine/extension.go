package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/greeting"
	"github.com/ringwire/ringwire/taskid"
)

// The extension of docs/PROTOCOL.md section 8, switched on by Config.Extensions: the hellos,
// and what the server sends. outbox.control has what is sent, watch.go when to ping,
// remaining.go the time that a request takes along.

// helloShare is which part of the time for a dial, as a divisor, is kept back from the wait
// for a hello, so that it is told that none came, and not just that the time is up.
const helloShare = 16

var (
	errSecondHello = errors.New("the server has sent a second hello")
	// errGoingAway: the server has asked for the end of the connection.
	errGoingAway = errors.New("the server is going away")
	// errDone: the server has ended the connection and executed nothing that is unanswered.
	errDone = errors.New("the server has gone away without executing the request")
)

// greet exchanges the hellos on a connection that has just been made. It reads the server's
// hello and not one byte more.
func greet(ctx context.Context, nc net.Conn, format framing.Format, addr string) error {
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	if until, ok := ctx.Deadline(); ok {
		left := time.Until(until)
		_ = nc.SetDeadline(time.Now().Add(left - left/helloShare)) // without it ctx ends the wait
	}
	why, other := exchangeHellos(nc, format)
	_ = nc.SetDeadline(time.Time{})
	if !stop() {
		return ctx.Err()
	}
	if other != nil {
		return other
	}
	if why != "" {
		return fmt.Errorf("%w: %s: %s; switch Config.Extensions off or update the server",
			ErrNoExtension, addr, why)
	}
	return nil
}

// exchangeHellos returns why the peer does not speak the extension, "" if it does, or what else
// keeps us from speaking with it.
func exchangeHellos(nc net.Conn, format framing.Format) (why string, other error) {
	hello, err := format.AppendHello(nil, framing.Hello{Version: framing.ExtensionVersion})
	if err == nil {
		_, err = nc.Write(hello)
	}
	if err != nil {
		return unanswered(err)
	}
	b := make([]byte, format.HeaderSize())
	if _, err = io.ReadFull(nc, b); err != nil {
		return unanswered(err)
	}
	size, err := format.HelloSize(b)
	if err != nil {
		return somethingElse(nc, b), nil
	}
	b = append(b, make([]byte, size-len(b))...)
	if _, err = io.ReadFull(nc, b[format.HeaderSize():]); err != nil {
		return unanswered(err)
	}
	answer, err := framing.ParseHello(b[format.HeaderSize():])
	switch {
	case err != nil:
		return "it answers our hello with something else", nil
	case !answer.Server:
		return "it returns our own hello", nil
	case answer.Version > framing.ExtensionVersion:
		return fmt.Sprintf("it answers version %d with %d", framing.ExtensionVersion, answer.Version), nil
	}
	return "", nil
}

// moreTime is how long the rest of an answer may take that is none to our hello.
const moreTime = 100 * time.Millisecond

// somethingElse says what has answered, whose first bytes are b.
func somethingElse(nc net.Conn, b []byte) (why string) {
	_ = nc.SetReadDeadline(time.Now().Add(moreTime))
	rest := make([]byte, 64)
	n, _ := nc.Read(rest)
	kind := greeting.Of(append(b, rest[:n]...))
	why = "it answers our hello with something else"
	if kind != greeting.Unknown {
		why += speaks(kind)
	}
	return why
}

// unanswered says why no hello came.
func unanswered(err error) (why string, other error) {
	var timeout net.Error
	switch refused := refusal(err); {
	case refused != err:
		return "", refused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closes the connection instead of answering our hello", nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer our hello in time", nil
	}
	return "no answer to our hello: " + err.Error(), nil
}

// unwrapped says what became of a frame when the extension's part of it was looked at.
type unwrapped int

const (
	wrapsReply   unwrapped = iota // its payload is what the caller or OnPush is to be given
	wrapsNothing                  // it was dealt with
	wrapsNotOurs                  // it was dealt with, and the rest of the turn was taken away
)

// unwrap deals with what the extension has put in front of a frame's payload. The frame is
// the caller's, which may be on guard.
func (c *conn) unwrap(t *turn, f *framing.Frame) unwrapped {
	if c.standing.done.Load() {
		return c.dropRest(t) // nothing may come after done
	}
	if f.ID == framing.ControlID {
		return c.control(t, f.Payload)
	}
	status, body, err := framing.ParseReply(f.Payload)
	if err == nil && status == framing.StatusOK {
		f.Payload = body
		return wrapsReply
	}
	var code uint32
	var text string
	if err == nil {
		code, text, err = framing.ParseReason(body)
	}
	if err != nil {
		c.fail("read", lost(err))
		return c.dropRest(t)
	}
	if status == framing.StatusRefused && code == framing.RefusedGoingAway {
		c.goAway()
	}
	return c.deny(t, f.ID, status, code, text)
}

// deny delivers a reply that says why there is none.
func (c *conn) deny(
	t *turn, id taskid.ID, status framing.Status, code uint32, text string,
) unwrapped {
	s, match := c.table.Answer(id)
	if match != taskid.Won {
		if !c.standDown(t) {
			return wrapsNotOurs
		}
		c.unmatched(id, match)
		return wrapsNothing
	}
	t.tally.replies++
	t.tally.bytes += uint64(s.V.at.length())
	to := s.V.to // before the slot is another request's
	if _, ok := to.(*waiter); ok {
		t.woken++
	}
	c.free(t, id)
	err := &OpError{Op: "wait", Addr: c.link.addr.name}
	if status == framing.StatusRefused {
		c.in.got.refused.Add(1)
		err.Err = &RefusedError{Code: code, Text: text, by: c.link.addr}
	} else {
		c.in.got.remote.Add(1)
		err.Written, err.Err = true, &RemoteError{Code: code, Text: text}
	}
	c.b.callbacks.fail(c.link, to, err)
	return wrapsNothing
}

// dropRest drops what else was read, on a connection that has ended.
func (c *conn) dropRest(t *turn) unwrapped {
	if !c.standDown(t) {
		return wrapsNotOurs
	}
	t.used = len(t.b)
	return wrapsNothing
}

// control deals with a control frame.
func (c *conn) control(t *turn, payload []byte) unwrapped {
	kind, body, err := framing.ParseControl(payload)
	if kind == framing.ControlHello {
		err = errSecondHello
	}
	if err != nil {
		c.fail("read", lost(err))
		return c.dropRest(t)
	}
	switch kind {
	case framing.ControlPing:
		c.out.control.answer(binary.BigEndian.Uint64(body))
		c.out.right.Assign()
	case framing.ControlPong:
		c.out.control.answered(binary.BigEndian.Uint64(body))
	case framing.ControlGoaway:
		t.farewells++
		c.in.got.goaways.Add(1)
		c.goAway()
	case framing.ControlDone:
		t.farewells++
		c.standing.done.Store(true) // before the end looks for it
		c.fail("close", lost(errDone))
		return c.dropRest(t)
	default:
		c.in.got.controls.Add(1)
	}
	return wrapsNothing
}

// goAway has the connection take no more requests, since its server wants to end it. The
// link gives it a successor, and it goes on for what it has.
func (c *conn) goAway() {
	c.standing.leaving.Store(true)
	if !c.phase.reach(phaseRetiring) {
		return // it has been replaced already, or has ended
	}
	c.table.Seal()
	c.b.reroute()
	c.b.clock.rouse()
	c.link.wakeUp()
}

// partFrom takes leave of a current connection whose server is going away. The address is
// dialled again as after a loss.
func (l *link) partFrom(c *conn) {
	l.use(nil)
	l.addr.lastErr.Store(&OpError{Op: "read", Addr: l.addr.name, Err: errGoingAway})
	l.addr.report(eventLost, c.made.dialled, time.Since(c.made.at), errGoingAway)
	l.b.reroute()
	l.let(c)
	l.addr.log(slog.LevelInfo, "the server is going away; connecting anew")
}
