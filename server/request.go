package server

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/taskid"
)

// Request is one request, as its handler sees it. It is valid until Handle returns; then
// neither it nor what its methods have returned may be used, but for the results of Conn,
// Context, Detach and Later. It is not safe for concurrent use.
//
// In place it belongs to the loop, which has one. Off the loop it belongs to the loop until
// it is queued, then to the worker that takes it or to the goroutine that replies later,
// then, with the push on the connection's desk, to the loop again, or to the goroutine that
// empties the desk after the connection's end.
type Request struct {
	conn    *Conn
	id      taskid.ID
	payload []byte
	arrived time.Duration  // since the server's epoch
	limit   time.Duration  // how long its caller waits, from then on; 0: not known
	began   stopwatch.Time // when its handler began, if it is timed
	later   *Later         // nil unless its handler has called Later

	// Off the loop.
	desk       *desk
	next, prev *Request         // on the desk: next is newer
	buf        *bytepool.Buffer // the request, behind it the frame of the reply
	reply      int              // where in buf.B that frame begins
	result     result
	held       int64 // what counts for it in Server.jobBytes
	pending    int64 // what counts for it in desk.pending
}

// requestBytes is what a request off the loop takes beside its buffer, roughly.
const requestBytes = 128

var requestPool = sync.Pool{New: func() any { return new(Request) }}

// Conn returns the connection that the request came on.
func (r *Request) Conn() *Conn { return r.conn }

// ID returns the task ID that the client has given the request.
func (r *Request) ID() taskid.ID { return r.id }

// Payload returns the request's bytes. They must not be changed, and not be touched after
// Handle has returned.
func (r *Request) Payload() []byte { return r.payload }

// Detach returns a copy of the payload that is the caller's for good.
func (r *Request) Detach() []byte { return bytes.Clone(r.payload) }

// Arrival returns when the server has read the end of the request. What has waited in the
// kernel's buffers before has waited longer.
func (r *Request) Arrival() time.Time { return r.conn.srv.epoch.Add(r.arrived) }

// Remaining returns how long the client still waits for the reply, at least 0, and whether it
// has said so: on connections with the extension (Config.Extensions) it may.
func (r *Request) Remaining() (left time.Duration, known bool) {
	if r.limit == 0 {
		return 0, false
	}
	return max(r.arrived+r.limit-time.Since(r.conn.srv.epoch), 0), true
}

// Context returns the context of the connection: see Conn.Context. It does not end when the
// time is up that Remaining tells.
func (r *Request) Context() context.Context { return r.conn.Context() }

// stale returns why a request that came at that time is not to be run any more, or nil: it
// has waited for QueueTimeout, or its caller has given up. It is never early.
func (s *Server) stale(c *Conn, arrived, limit time.Duration) error {
	if limit > 0 && s.age(arrived) >= limit {
		return ErrExpired
	}
	if c.tooOld(arrived) {
		return ErrOverloaded
	}
	return nil
}

// tooOld reports whether what came at that time has waited for QueueTimeout, and a refusal
// can be told.
func (c *Conn) tooOld(arrived time.Duration) bool {
	s := c.srv
	return s.cfg.QueueTimeout > 0 && (s.cfg.ErrorReply != nil || c.ext.Load() != nil) && s.age(arrived) > s.cfg.QueueTimeout
}

// age returns how long ago that was, by the coarse clock: never more than it was.
func (s *Server) age(arrived time.Duration) time.Duration { return s.now() - arrived }

// now returns the coarse clock's time since the server's epoch.
func (s *Server) now() time.Duration { return time.Duration(s.clock.Load()-1) * time.Millisecond }
