package server

import (
	"errors"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// Handler answers requests.
//
// Handle appends the reply to dst, which is empty, and returns the result:
//
//	return append(dst, reply...), nil
//
// dst is the free part of the output buffer, so a reply that fits is not copied
// again. Any other slice may be returned too, the payload included; it is copied. Until
// Handle returns, dst and r are the handler's to use, and the payload must not be
// changed; afterwards none of them may be touched. A nil or empty reply is sent as an
// empty payload. ErrNoReply sends nothing, Request.Later has the reply come later; what
// other errors do is said at Config.ErrorReply.
//
// Without Config.Workers, Handle runs on an event loop, which does nothing else
// meanwhile: it must not block. With several loops, or with Workers, it is called
// concurrently, with Workers for one connection too. A panic fails this request
// only, and so does runtime.Goexit, as testing.T.FailNow calls it, with Workers. On an
// event loop Goexit ends that loop: its connections are closed, and another loop takes its
// place.
type Handler interface {
	Handle(r *Request, dst []byte) ([]byte, error)
}

// HandlerFunc is the short form of a Handler: a function of the connection, of what the reply
// is appended to, and of the payload.
type HandlerFunc func(c *Conn, dst, req []byte) ([]byte, error)

// Handle calls f.
func (f HandlerFunc) Handle(r *Request, dst []byte) ([]byte, error) { return f(r.conn, dst, r.payload) }

// RequestFunc is a function as a Handler.
type RequestFunc func(r *Request, dst []byte) ([]byte, error)

// Handle calls f.
func (f RequestFunc) Handle(r *Request, dst []byte) ([]byte, error) { return f(r, dst) }

// isNil reports whether there is no handler, or one that is a nil function.
func isNil(h Handler) bool {
	switch f := h.(type) {
	case nil:
		return true
	case HandlerFunc:
		return f == nil
	case RequestFunc:
		return f == nil
	}
	return false
}

// result says what became of a request.
type result uint8

const (
	resultUnanswered result = iota // it failed and nothing was sent
	resultReplied                  // a reply, perhaps ErrorReply's
	resultNoReply                  // ErrNoReply
	resultDropped                  // its connection ended first
)

// respond appends the frame of the handler's reply to out. When it fails, out
// comes back as long as it was.
func (s *Server) respond(out []byte, r *Request) ([]byte, error) {
	start := len(out)
	out = s.beginReply(r.conn, out)
	var reply []byte
	var err error
	if r.began == 0 {
		reply, err = s.handler.Handle(r, out[len(out):])
	} else {
		reply, err = s.handleTimed(r, out[len(out):])
	}
	if err != nil {
		return out[:start], err
	}
	if r.later != nil {
		return out[:start], nil
	}
	out = place(out, reply)
	if err := s.format.Seal(out, start, r.id); err != nil {
		return out[:start], err
	}
	return out, nil
}

// beginReply appends the gap for a reply's header, and the status that goes before it on a
// connection with the extension.
func (s *Server) beginReply(c *Conn, out []byte) []byte {
	out = s.format.Reserve(out)
	if s.cfg.Extensions && c.ext.Load() != nil {
		out = append(out, byte(framing.StatusOK))
	}
	return out
}

// place appends reply to out. Nothing is copied if the reply is there already,
// because the handler appended it to the free part of out.
func place(out, reply []byte) []byte {
	n := len(out)
	if len(reply) > 0 && n < cap(out) && &reply[0] == &out[:n+1][n] {
		return out[:n+len(reply)]
	}
	return append(out, reply...)
}

// failure counts a request whose handler failed, or that was not run, and appends what tells
// the client, if there is something to send.
func (s *Server) failure(c *Conn, out []byte, id taskid.ID, req []byte, err error) ([]byte, result) {
	n := &s.failures
	switch _, panicked := err.(*PanicError); {
	case panicked:
		n.panics.Add(1) // logged where it was recovered
	case errors.Is(err, ErrNoReply):
		if c.ext.Load() == nil || id == taskid.Nobody {
			return out, resultNoReply
		}
	case errors.Is(err, ErrExpired):
		n.expired.Add(1)
	case errors.Is(err, ErrOverloaded):
		n.overloaded.Add(1)
		s.logFailure(c, logOverloaded, err)
	case errors.Is(err, framing.ErrMaxLenExceeded):
		n.tooLarge.Add(1)
		s.logFailure(c, logTooLarge, err)
	default:
		n.errors.Add(1)
		s.logFailure(c, logHandlerError, err)
	}
	if c.ext.Load() != nil {
		return s.reason(out, id, err)
	}
	return s.errorReply(c, out, id, req, err)
}

// errorReply appends what Config.ErrorReply makes of cause. Nothing else is tried
// when that fails as well.
func (s *Server) errorReply(c *Conn, out []byte, id taskid.ID, req []byte, cause error) (framed []byte, r result) {
	if s.cfg.ErrorReply == nil {
		return out, resultUnanswered
	}
	defer func() {
		if v := recover(); v != nil {
			s.failures.panics.Add(1)
			s.logPanic(c, v)
			framed, r = out, resultUnanswered
		}
	}()
	framed = s.format.Reserve(out)
	reply := s.cfg.ErrorReply(c, framed[len(framed):], req, cause)
	if reply == nil {
		return out, resultUnanswered
	}
	framed = place(framed, reply)
	if err := s.format.Seal(framed, len(out), id); err != nil {
		s.failures.tooLarge.Add(1)
		s.logFailure(c, logTooLarge, err)
		return out, resultUnanswered
	}
	return framed, resultReplied
}
