package server

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/bytepool"
)

// Recorder runs a handler without a server and without a network, for tests of the handler:
//
//	rec := server.NewRecorder(handler)
//	defer rec.Close()
//	reply, err := rec.Call(ctx, []byte("request"))
//
// All calls come from one connection. Its methods are safe for concurrent use.
type Recorder struct {
	srv  *Server
	conn *Conn
	link *recorded
}

// NewRecorder returns a Recorder for h.
func NewRecorder(h Handler) *Recorder {
	s, err := New(Config{Handler: h})
	if err != nil {
		panic(err) // h is nil
	}
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	c := &Conn{srv: s, id: 1, local: at, remote: at}
	s.open.Add(1)
	link := &recorded{}
	c.begin(link, newLoop())
	return &Recorder{s, c, link}
}

// Conn returns the connection that the handler sees.
func (r *Recorder) Conn() *Conn { return r.conn }

// Call has the handler answer one request and returns the payload of the reply, in memory of
// the caller's own; also one that comes later, for which it waits until ctx ends. The error is
// the handler's, ErrNoReply if it sends none, one that wraps framing.ErrMaxLenExceeded if the
// reply does not fit a frame, net.ErrClosed after Close, or ctx's. A panic of the handler goes on
// to the caller.
func (r *Recorder) Call(ctx context.Context, payload []byte) ([]byte, error) {
	s := r.srv
	if r.conn.at() == phaseEnded {
		return nil, net.ErrClosed
	}
	q := requestPool.Get().(*Request)
	q.conn, q.id, q.arrived, q.desk = r.conn, 1, time.Since(s.epoch), newDesk(1)
	q.began = s.timing.Begin()
	q.buf = bytepool.Get(len(payload))
	q.buf.B = append(q.buf.B, payload...)
	q.reply = len(payload)
	q.payload = q.buf.B[:q.reply:q.reply]
	ours := true
	defer func() {
		if ours && q.later == nil { // also when the handler panics
			s.free(q)
		}
	}()
	out, err := s.respond(q.buf.B, q)
	if q.later == nil {
		if err != nil {
			return nil, err
		}
		return bytes.Clone(out[q.reply+s.format.HeaderSize():]), nil
	}
	back, later := q.desk.back, q.later
	ours = false
	later.leave(q.payload, err)
	for {
		woken := r.link.next()
		r.conn.woken.Store(false) // before the look: a reply that comes after it wakes us
		if q, ok := back.TryPop(); ok {
			return r.outcome(q, later.cause)
		}
		if r.conn.at() == phaseEnded {
			return nil, net.ErrClosed
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// outcome ends a request that was answered later; cause is why if it failed.
func (r *Recorder) outcome(q *Request, cause error) ([]byte, error) {
	defer r.srv.free(q)
	switch q.result {
	case resultReplied:
		return bytes.Clone(q.buf.B[r.srv.format.HeaderSize():]), nil
	case resultNoReply:
		return nil, ErrNoReply
	}
	return nil, cause
}

// Pushed returns the frames that Conn.Push was given since the last call.
func (r *Recorder) Pushed() []byte {
	p := &r.conn.needRare().pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	frames := bytes.Clone(p.b)
	r.conn.clearLocked(p)
	return frames
}

// Close ends the connection, and so its context.
func (r *Recorder) Close() {
	if r.conn.raise(phaseEnded) {
		r.conn.end(net.ErrClosed)
		r.link.wake() // the caller that waits for a reply
	}
}

// recorded is the link of a Recorder's connection.
type recorded struct {
	mu    sync.Mutex
	woken chan struct{} // closed by the next wake; nil until somebody waits
}

// next returns what the next wake closes.
func (l *recorded) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.woken == nil {
		l.woken = make(chan struct{})
	}
	return l.woken
}

func (l *recorded) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.woken != nil {
		close(l.woken)
		l.woken = nil
	}
}

func (l *recorded) write([]byte) error       { return nil }
func (l *recorded) buffered() int            { return 0 }
func (l *recorded) read([]byte) (int, error) { return 0, nil }
func (l *recorded) closeWrite()              {}
func (l *recorded) hear(_, _ bool) bool      { return false }
func (l *recorded) othersWait() bool         { return false }
func (l *recorded) back(int64) int64         { return 0 }
func (l *recorded) close()                   {}
func (l *recorded) drop()                    {}
