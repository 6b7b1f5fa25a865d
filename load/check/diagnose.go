package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/greeting"
	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// noConnection is for a dial that failed.
func (c *checker) noConnection(ctx context.Context, err error) {
	var dns *net.DNSError
	proposal := ""
	if l := c.cfg.Listener; l != nil {
		c.found(Nothing, fmt.Sprintf("no connection of the backend's to %v: %s", l.Addr(), load.Cause(err)),
			"to look where the backend is set to connect to, or a longer --dial-timeout")
		return
	}
	switch {
	case errors.As(err, &dns):
		proposal = "another host name"
	case errors.Is(err, syscall.ECONNREFUSED):
		proposal = fmt.Sprintf("another port, or start the backend: nobody listens at %s", c.target.Address)
	case errors.Is(err, context.DeadlineExceeded) && !c.target.TLS:
		proposal = "another address, or ask what lies between: nothing answers there"
	case c.target.TLS && c.dials(ctx, false):
		proposal = fmt.Sprintf("%s without tls:// if the backend speaks no TLS; else --tls-ca, --tls-cert, --tls-server-name", c.target.Address)
	}
	c.found(Nothing, fmt.Sprintf("no connection to %v: %s", c.target, load.Cause(err)), proposal)
}

// dials reports whether a connection with or without TLS can be made.
func (c *checker) dials(ctx context.Context, withTLS bool) bool {
	target := c.target
	target.TLS = withTLS
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := c.cfg.Dial(ctx, target)
	if err != nil {
		// A peer that speaks TLS and that we do not trust speaks TLS.
		return withTLS && strings.Contains(err.Error(), "certificate")
	}
	_ = conn.Close()
	return true
}

// nothing is for a request after which no byte came.
func (c *checker) nothing(ctx context.Context, conn net.Conn, k *request.Kind, sent []byte, got load.Received, took time.Duration) {
	how := fmt.Sprintf("in %v, and the connection stayed", took.Round(time.Millisecond))
	if !isTimeout(got.Err) {
		how = fmt.Sprintf("and the connection ended after %v: %s", took.Round(time.Microsecond), load.Cause(got.Err))
	}
	_ = conn.Close() // the peer may take one at a time
	verdict := fmt.Sprintf("nothing came for a request of %d bytes %s", len(sent), how)
	if got.Requests > 0 {
		verdict = fmt.Sprintf("no reply came, only requests of the peer's own, %d, for a request of %d bytes %s", got.Requests, len(sent), how)
	}
	found, tried := c.probe(ctx, k)
	switch {
	case found != "":
	case tried > 0:
		found = fmt.Sprintf("a request that the backend answers (--data): %d other framings were tried, and none was answered", tried)
	default:
		found = "a request that the backend answers (--data), or a longer --timeout"
	}
	c.found(Nothing, verdict, found)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// noFrame is for bytes that are no frame.
func (c *checker) noFrame(got load.Received, took time.Duration) {
	verdict := fmt.Sprintf("%d bytes came after %v that are no frame of this framing, %s", len(got.Rest), took, ended(got.Err))
	if n, err := c.codec.Size(got.Rest); err == nil && n > len(got.Rest) {
		at := c.codec.Spec().Length
		verdict = fmt.Sprintf("%d bytes came that are no frame: their length field, % x, says %d bytes, %s",
			len(got.Rest), got.Rest[at.Offset:at.End()], n, ended(got.Err))
	}
	if kind := greeting.Of(got.Rest); kind != greeting.Unknown {
		proposal := "another port: it looks like " + kind.String()
		if kind == greeting.TLS {
			proposal = "tls://" + c.target.Address + ": it looks like " + kind.String()
		}
		c.found(NoFrame, verdict, proposal)
		return
	}
	proposal := "another --len: none that is usual makes frames of these bytes"
	if s, ok := fitting(c.codec.Spec(), got.Rest); ok {
		proposal = flagsOf(c.codec.Spec(), s) + ": with it they are whole frames"
	}
	c.found(NoFrame, verdict, proposal)
}

// noMatch is for a frame whose ID is not the request's.
func (c *checker) noMatch(id uint64, sent []byte, f wire.Frame) {
	spec := c.codec.Spec()
	raw := sent[spec.ID.Offset:spec.ID.End()]
	there := f.Bytes[spec.ReplyID : spec.ReplyID+spec.ID.Size]
	verdict := fmt.Sprintf("a frame of %d bytes came and is not the reply: its ID, at %d, is % x, and the request's was % x (%d)",
		len(f.Bytes), spec.ReplyID, there, raw, id)
	proposal := "--id none, if replies come in the order of the requests: the request's ID is nowhere in it"
	if at := findOutside(f.Bytes, raw, spec.Length); at >= 0 {
		proposal = fmt.Sprintf("--resp-id %d: the request's ID is there", at)
	} else if from, to := common(sent, f.Bytes, spec.ID.Size, spec.Length); from >= 0 {
		proposal = fmt.Sprintf("--id off=%d,len=%d,form=%s", from, spec.ID.Size, spec.ID.Form)
		if to != from {
			proposal += fmt.Sprintf(" --resp-id %d", to)
		}
		proposal += ": the reply repeats those bytes of the request"
	}
	c.found(NoMatch, verdict, proposal)
}

// otherMessage is noMatch where the ID is in a field of a message; bad says why it has none.
func (c *checker) otherMessage(id uint64, sent []byte, f wire.Frame, bad error) {
	spec := c.codec.Spec()
	verdict := fmt.Sprintf("a message of %d bytes came and is not the reply: ", len(f.Bytes))
	switch {
	case bad != nil:
		verdict += bad.Error()
	case f.ID != id || !f.IDValid:
		at, _ := c.codec.IDField(f.Bytes, true)
		verdict += fmt.Sprintf("its ID, at %d, is % x, and the request's was %d", at.Offset, f.Bytes[at.Offset:at.End()], id)
	default:
		verdict += fmt.Sprintf("its ID is the request's, %d, and another field of %v differs", id, spec.Message)
	}
	proposal := "--id none, if replies come in the order of the requests: no key of usual fields is in both messages"
	for _, key := range [][]int{{11, 41}, {11}, {37, 41}, {37}} {
		m := wire.Message{Key: key, Offset: spec.Message.Offset, Binary: spec.Message.Binary}
		if !slices.Equal(key, spec.Message.Key) && repeats(spec, m, sent, f.Bytes) {
			proposal = fmt.Sprintf("--id %v: the reply repeats those fields", m)
			break
		}
	}
	c.found(NoMatch, verdict, proposal)
}

// repeats reports whether a reply has the fields of a key as the request has them.
func repeats(s wire.Spec, m wire.Message, sent, reply []byte) bool {
	s.Message, s.IDMin, s.IDMax, s.Reply = m, 0, 0, wire.Mark{}
	codec, err := wire.New(s)
	if err != nil {
		return false
	}
	for _, field := range m.Key {
		a, err := codec.Field(sent, field)
		b, err2 := codec.Field(reply, field)
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}

// findOutside finds raw in a frame, not over its length field; -1 if it is nowhere.
func findOutside(frame, raw []byte, length wire.Field) int {
	for at := 0; at+len(raw) <= len(frame); at++ {
		if (at >= length.End() || at+len(raw) <= length.Offset) && bytes.Equal(frame[at:at+len(raw)], raw) {
			return at
		}
	}
	return -1
}

// common finds the first n bytes of the request that the reply repeats at the same place,
// or else anywhere, and that are not all the same byte; -1 if there are none.
func common(sent, reply []byte, n int, length wire.Field) (from, to int) {
	for _, samePlace := range []bool{true, false} {
		for at := length.End(); at+n <= len(sent); at++ {
			run := sent[at : at+n]
			if bytes.Count(run, run[:1]) == n {
				continue
			}
			if samePlace && at+n <= len(reply) && bytes.Equal(reply[at:at+n], run) {
				return at, at
			}
			if found := findOutside(reply, run, length); !samePlace && found >= 0 {
				return at, found
			}
		}
	}
	return -1, -1
}

// flagsOf says with which flags a framing becomes another one.
func flagsOf(from, to wire.Spec) string {
	var flags []string
	if to.Length != from.Length || to.Adjust != from.Adjust {
		flags = append(flags, "--len "+to.Length.String(), fmt.Sprintf("--len-adj %d", to.Adjust))
	}
	switch {
	case to.Ordered():
		flags = append(flags, "--id none")
	case len(to.Message.Key) > 0:
		flags = append(flags, "--id "+to.Message.String())
	default:
		flags = append(flags, "--id "+to.ID.String())
		if to.ReplyID != to.ID.Offset {
			flags = append(flags, fmt.Sprintf("--resp-id %d", to.ReplyID))
		}
	}
	return strings.Join(flags, " ")
}
