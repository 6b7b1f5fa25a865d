package server

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/taskid"
)

// ErrAnswered is what the methods of a Later return when one of them was called before.
var ErrAnswered = errors.New("server: the request has its outcome already; call Reply, Fail or Drop once")

// Later is the right to answer a request after its handler has returned. One of Reply, Fail
// and Drop has to be called, once, by anybody: until then the request keeps its place among
// the MaxInFlight of its connection, and Shutdown waits for it as for a handler. Its methods
// are safe for concurrent use.
type Later struct {
	conn *Conn
	id   taskid.ID
	// Of the request, if it is timed.
	arrived time.Duration
	began   stopwatch.Time
	// request is off the loop. It goes back to the connection when both the handler has
	// returned and the outcome is known. Only the one that owes one of the two may look at it.
	request  *Request
	owed     atomic.Int32 // how many of the two are missing
	answered atomic.Bool
	buf      *bytepool.Buffer // the frame of the reply; written by the call that has set answered
	result   result           // likewise
	cause    error            // of a failure; likewise
}

// Later lets the reply come later: what Handle then returns is not sent, except that an error
// or a panic is the request's outcome if it has none yet. Call it in Handle, on its goroutine;
// a second call returns the same. The payload does not outlive Handle: Detach copies it.
func (r *Request) Later() *Later {
	if r.later != nil {
		return r.later
	}
	c := r.conn
	l := &Later{conn: c, id: r.id, request: r, arrived: r.arrived, began: r.began}
	if r.desk == nil { // the loop's
		l.request = requestPool.Get().(*Request)
		l.request.conn, l.request.desk = c, c.needDesk()
		c.inflight++
	}
	l.owed.Store(2)
	r.later = l
	return l
}

// Reply sends a reply, which is copied. It fails with ErrAnswered; with an error that wraps
// framing.ErrMaxLenExceeded when the reply does not fit a frame, and then the request has no
// outcome yet; and with net.ErrClosed when the connection has ended. That it succeeds does
// not mean that the client gets the reply.
func (l *Later) Reply(payload []byte) error {
	format := l.conn.srv.format
	buf := bytepool.Get(format.HeaderSize() + framing.StatusSize + len(payload))
	append := format.Append
	if l.conn.ext.Load() != nil {
		append = format.AppendReply
	}
	framed, err := append(buf.B, l.id, payload)
	if err != nil || !l.answered.CompareAndSwap(false, true) {
		bytepool.Put(buf)
		if err == nil {
			err = ErrAnswered
		}
		return err
	}
	buf.B = framed
	return l.settle(buf, resultReplied)
}

// Fail does what the handler would have done by returning err: see Config.ErrorReply, which
// runs on the caller's goroutine and gets no request. A panic in it is recovered, as a
// handler's is. It fails with ErrAnswered, and with net.ErrClosed when the connection has
// ended. A nil err is refused, and the request waits on.
func (l *Later) Fail(err error) error {
	if err == nil {
		return errNoFailure
	}
	return l.fail(nil, err)
}

var errNoFailure = errors.New("server: Later.Fail got no error; Reply answers, and Drop does not")

// Drop is for what needs no reply, as ErrNoReply is. It fails with ErrAnswered.
func (l *Later) Drop() error {
	if l.conn.ext.Load() != nil {
		return ignoreClosed(l.fail(nil, ErrNoReply))
	}
	if !l.answered.CompareAndSwap(false, true) {
		return ErrAnswered
	}
	return ignoreClosed(l.settle(nil, resultNoReply))
}

func ignoreClosed(err error) error {
	if err == net.ErrClosed {
		return nil
	}
	return err
}

// fail settles the request also when ErrorReply ends the goroutine.
func (l *Later) fail(req []byte, cause error) (err error) {
	if !l.answered.CompareAndSwap(false, true) {
		return ErrAnswered
	}
	l.cause = cause
	buf, result := bytepool.Get(0), resultUnanswered
	defer func() { err = l.settle(buf, result) }()
	buf.B, result = l.conn.srv.failure(l.conn, buf.B, l.id, req, cause)
	return nil
}

// settle notes the outcome. The call that has answered calls it.
func (l *Later) settle(buf *bytepool.Buffer, result result) error {
	l.buf, l.result = buf, result
	l.conn.srv.timing.end(l.arrived, l.began)
	closed := l.conn.at() == phaseEnded
	l.pay()
	if closed {
		return net.ErrClosed
	}
	return nil
}

// pay does one of the two things that are owed. The call that does the second one hands the
// request back.
func (l *Later) pay() {
	if l.owed.Add(-1) > 0 {
		return
	}
	r := l.request
	if r.buf != nil {
		bytepool.Put(r.buf)
	}
	if r.buf = l.buf; r.buf == nil {
		r.buf = bytepool.Get(0)
	}
	r.reply, r.result, r.later = 0, l.result, nil
	l.conn.srv.deliver(r)
}

// leave ends the handler's part. req is valid until then.
func (l *Later) leave(req []byte, err error) {
	defer l.pay() // also when ErrorReply ends the goroutine
	if err != nil && !errors.Is(err, ErrNoReply) {
		_ = l.fail(req, err) // or it has its outcome
	}
}

// abandon ends the handler's part when nothing can be sent any more. Nobody is asked what.
func (l *Later) abandon() {
	if l.answered.CompareAndSwap(false, true) {
		_ = l.settle(nil, resultUnanswered)
	}
	l.pay()
}

// takeLater takes the Later of the request in hand, which owes nothing itself then.
func (l *loop) takeLater() *Later {
	later := l.request.later
	l.request.later, l.owing = nil, false
	return later
}
