package server

import (
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"syscall"
)

// Stats is a snapshot. Counters count from New on and never decrease. Those of an
// event loop are updated once per write, before it. When nothing is under way,
//
//	Requests == Replies + NoReplies + Unanswered + Dropped
type Stats struct {
	// Conns is the number of open connections, Accepted of those ever taken.
	Conns    int
	Accepted uint64
	// Refused connections were closed at once. Denied counts those because of Allow and
	// Deny, RejectedPerIP of MaxConnsPerIP, RejectedRate of MaxConnRatePerIP, Rejected of
	// MaxConns, RejectedHandshakes because more than 1,024, beside four for each processor, were
	// not secured yet or had not told their addresses.
	Denied, RejectedPerIP, RejectedRate, Rejected, RejectedHandshakes uint64
	// AcceptErrors counts failures to accept or take over a connection, and those that were closed
	// because a listener had secured them already while a TLS configuration applied: see Serve.
	AcceptErrors uint64
	// Closed counts ended connections by reason.
	Closed Closed

	// Requests counts the frames handed to the handler or to the workers' queue.
	Requests uint64
	// Replies counts the replies handed to their connection, error replies
	// included.
	Replies uint64
	// NoReplies counts the requests for which nothing was sent, because their handler returned
	// ErrNoReply. With the extension the client is told so, by a reply.
	NoReplies uint64
	// Unanswered counts the failed requests for which nothing was sent.
	Unanswered uint64
	// Dropped counts the requests whose connection ended before a worker began
	// with them or before their reply was handed over.
	Dropped uint64

	// Abandoned counts the requests that were read and not begun when their connection ended
	// during a Shutdown. They are not among Requests.
	Abandoned uint64

	// HandlerErrors, Panics and ReplyTooLarge count failures of the handler and of
	// ErrorReply. A call of runtime.Goexit is counted as a panic.
	HandlerErrors, Panics, ReplyTooLarge uint64
	// Overloaded counts the requests that failed with ErrOverloaded: they had waited for
	// QueueTimeout, or a handler said so. Expired counts those whose caller had given up.
	Overloaded, Expired uint64
	// Pauses counts how often requests waited because of a bound.
	Pauses uint64

	// Queued and Running are the requests that wait for a worker, and those that
	// have one. Both are 0 without Workers.
	Queued, Running int
	// StuckLoops is how many event loops are in one handler for longer than a second at
	// the moment. They serve nobody and get no new connections until it returns.
	StuckLoops int
	// HeldBytes is what counts against MaxHeld.
	HeldBytes int64

	// Reads and Writes count socket operations that moved bytes; one write may
	// carry many replies. BytesOut counts bytes handed to a connection, taken by
	// the peer or not.
	Reads, Writes, BytesIn, BytesOut uint64
	// Polled counts those of Reads that were made by busy polling.
	Polled uint64
}

// Refused returns the number of connections that were closed at once.
func (st Stats) Refused() uint64 {
	return st.Denied + st.RejectedPerIP + st.RejectedRate + st.Rejected + st.RejectedHandshakes
}

// Closed counts ended connections by the reason that came first.
type Closed struct {
	// Peer: closed by the peer between two frames. Reset: a read or write failed;
	// now and then the event loop cannot tell a reset, or a Dead one, from an end, and it is a Peer.
	// Dead: TCP got no answer from the peer (KeepAlive, WriteTimeout).
	Peer, Reset, Dead uint64
	// Handler: Conn.Close. Shutdown: Shutdown or Close of the server.
	Handler, Shutdown uint64
	// Protocol errors: the stream ended inside a frame, a length out of range, a
	// TLS handshake on a plain port, no TLS on a TLS port, a TLS handshake that failed or was
	// not over within HandshakeTimeout, an HTTP request, a frame not complete within FrameTimeout,
	// something that the extension does not allow.
	Truncated, BadLength, TLS, NotTLS, Handshake, HTTP, FrameTimeout, Malformed uint64
	// Idle: IdleTimeout. SlowReader: WriteTimeout. Input: MaxUnparsed. Memory:
	// MaxHeld.
	Idle, SlowReader, Input, Memory uint64
	// FirstFrame: FirstFrameTimeout. Evicted: it had sent no whole frame when there were
	// nearly MaxConns, and somebody else came.
	FirstFrame, Evicted uint64
	// Loop: a handler in place ended its goroutine by runtime.Goexit, which is the event
	// loop's, or the connection's where it has one of its own.
	Loop uint64
	// Internal: a fault of the server. Please report it.
	Internal uint64
}

// Total returns the number of ended connections.
func (c Closed) Total() uint64 {
	return c.Peer + c.Reset + c.Dead + c.Handler + c.Shutdown + c.ProtocolErrors() +
		c.Idle + c.SlowReader + c.Input + c.Memory + c.FirstFrame + c.Evicted + c.Loop + c.Internal
}

// ProtocolErrors returns how many were closed for what the peer sent.
func (c Closed) ProtocolErrors() uint64 {
	return c.Truncated + c.BadLength + c.TLS + c.NotTLS + c.Handshake + c.HTTP + c.FrameTimeout + c.Malformed
}

// failures counts what is rare enough for counters that loops share.
type failures struct {
	errors, panics, tooLarge       atomic.Uint64
	overloaded, expired, abandoned atomic.Uint64
	dropped                        atomic.Uint64 // off the loop
	accepted, acceptErrors         atomic.Uint64
	refused                        [refusalCount]atomic.Uint64
	closed                         [reasonCount]atomic.Uint64
}

// Stats returns a snapshot. It may be called at any time.
func (s *Server) Stats() Stats {
	n := &s.failures
	st := Stats{
		Conns:         int(s.open.Load()),
		Accepted:      n.accepted.Load(),
		Denied:        n.refused[refusedAddr].Load(),
		RejectedPerIP: n.refused[refusedPerIP].Load(),
		RejectedRate:  n.refused[refusedRate].Load(),
		Rejected:      n.refused[refusedConns].Load(),

		RejectedHandshakes: n.refused[refusedHandshakes].Load(),

		AcceptErrors:  n.acceptErrors.Load(),
		HandlerErrors: n.errors.Load(),
		Panics:        n.panics.Load(),
		ReplyTooLarge: n.tooLarge.Load(),
		Overloaded:    n.overloaded.Load(),
		Expired:       n.expired.Load(),
		Abandoned:     n.abandoned.Load(),
		HeldBytes:     s.held.Load(),
	}
	st.Closed = n.byReason()
	st.Dropped = n.dropped.Load()
	f, streams, w := s.parts()
	if w != nil {
		st.Queued, st.Running = int(w.queue.n.Load()), int(w.busy.Load())
	}
	st.StuckLoops = f.busyFor(stuckAfter)
	t := f.counted()
	others := streams.counted()
	t.add(&others)
	st.Reads, st.Polled, st.Writes = t.Reads, t.Polled, t.Writes
	st.BytesIn, st.BytesOut = t.BytesIn, t.BytesOut
	st.Requests, st.Replies, st.NoReplies = t.Requests, t.Replies, t.NoReplies
	st.Unanswered, st.Pauses = t.Unanswered, t.Pauses
	st.Dropped += t.Dropped
	return st
}

func (f *failures) byReason() Closed {
	n := func(r reason) uint64 { return f.closed[r].Load() }
	return Closed{
		Peer: n(reasonPeer), Reset: n(reasonReset), Dead: n(reasonDead),
		Handler: n(reasonHandler), Shutdown: n(reasonShutdown),
		Truncated: n(reasonTruncated), BadLength: n(reasonBadLength),
		TLS: n(reasonTLS), NotTLS: n(reasonPlain), Handshake: n(reasonHandshake),
		HTTP: n(reasonHTTP), FrameTimeout: n(reasonFrameTime), Malformed: n(reasonMalformed),
		Idle: n(reasonIdle), SlowReader: n(reasonSlowReader),
		Input: n(reasonInput), Memory: n(reasonMemory), Loop: n(reasonLoop),
		FirstFrame: n(reasonFirstFrame), Evicted: n(reasonEvicted), Internal: n(reasonInternal),
	}
}

// endReason names the end of a connection that nobody has blamed on anything yet.
func endReason(cause error, insideFrame bool) reason {
	switch {
	case cause == nil:
		return reasonShutdown // only the end of the loop closes without a reason
	case errors.Is(cause, io.EOF) && insideFrame:
		return reasonTruncated
	case errors.Is(cause, io.EOF):
		return reasonPeer
	case errors.Is(cause, syscall.ETIMEDOUT):
		return reasonDead
	}
	return reasonReset
}

// closed counts the end of a connection and logs what is not an ordinary one.
func (s *Server) closed(c *Conn, why reason) {
	s.failures.closed[why].Add(1)
	s.gone(c, why)
	if why.peersFault() {
		s.log(logKind(why), slog.LevelWarn, "connection closed: "+why.String(), connAttr(c))
	}
}
