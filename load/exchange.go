package load

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// exchangeMax bounds what is read for one reply.
const exchangeMax = 1 << 20

// Received is what came after a request.
type Received struct {
	Frame    wire.Frame // the first that is no request of the peer's; Bytes nil: none
	Requests int        // of the peer's, before it
	Answered int        // of those
	Rest     []byte     // what came without a whole frame
	Err      error      // why no more came; nil with a frame
}

// Exchange writes one request to a connection and reads one frame, in at most that time.
// What came behind the frame stays in the decoder; the frame is a copy. Requests of the
// peer's before it are answered with what answer returns for the one of that number, unless
// that, or answer itself, is nil.
func Exchange(
	conn net.Conn, dec *wire.Decoder, request []byte, timeout time.Duration,
	answer func(f *wire.Frame, n uint64) []byte,
) (got Received) {
	_ = conn.SetDeadline(time.Now().Add(timeout))
	defer func() { _ = conn.SetDeadline(time.Time{}) }()
	if _, got.Err = conn.Write(request); got.Err != nil {
		return got
	}
	var err error
	for total := 0; total < exchangeMax; {
		for {
			f, bad := dec.Next()
			if bad != nil {
				err = bad
			}
			if f == nil {
				break
			}
			if f.Request {
				got.Requests++
				if answer != nil && err == nil {
					if b := answer(f, uint64(got.Requests-1)); b != nil {
						_, err = conn.Write(b)
						got.Answered++
					}
				}
				continue
			}
			got.Frame = *f
			got.Frame.Bytes = append([]byte(nil), f.Bytes...)
			return got
		}
		if err != nil {
			got.Err, got.Rest = err, append([]byte(nil), dec.Rest()...)
			return got
		}
		var n int
		n, err = conn.Read(dec.Room())
		dec.Filled(n)
		total += n
	}
	got.Err = errors.New("too much came without a reply")
	return got
}

// Errors of an opening, about a frame that came.
var (
	errNoMatch  = errors.New("a frame came and is not the reply")
	errNoStatus = errors.New("the reply came and is too short to have a status")
	errMismatch = errors.New("the reply came and is not what was expected")
)

// ask makes request n of a kind over a new connection, and returns why its reply is not
// what the kind expects.
func (l *link) ask(conn net.Conn, dec *wire.Decoder, k *request.Kind, n uint64) error {
	r := l.run
	c := r.cfg.Codec
	id := c.Spec().IDMin
	sent, err := c.Append(nil, id, k.Source.Append(nil, n))
	if err != nil {
		return err
	}
	got := Exchange(conn, dec, sent, r.cfg.Timeout, r.cfg.Answer)
	l.shard.mu.Lock()
	l.shard.replies.Add(Replies{PeerRequests: uint64(got.Requests), PeerAnswered: uint64(got.Answered)})
	l.shard.mu.Unlock()
	switch {
	case got.Frame.Bytes == nil:
		return got.Err
	case !r.ordered && (!got.Frame.IDValid || got.Frame.ID != id || got.Frame.Key != c.Key(sent)):
		return errNoMatch
	}
	return r.reject(k, got.Frame.Bytes, n)
}

// reject returns why the reply to request n of a kind is not what the kind expects, nil if
// it is.
func (r *run) reject(k *request.Kind, frame []byte, n uint64) error {
	if k.Status.Len > 0 {
		switch status, ok := k.Status.Of(frame); {
		case status == nil:
			return errNoStatus
		case !ok:
			return fmt.Errorf("the reply came and was refused: status %s", request.CodeName(status))
		}
	}
	if holds, _ := k.Expect.Holds(r.cfg.Codec, frame, k.Source, n, &request.From{}, nil); !holds {
		return errMismatch
	}
	return nil
}

// open makes the requests with which a connection begins.
func (l *link) open(conn net.Conn, dec *wire.Decoder, n uint64) error {
	for i := range l.run.cfg.Open {
		k := &l.run.cfg.Open[i]
		if err := l.ask(conn, dec, k, n); err != nil {
			return &openError{k.Name, err}
		}
	}
	return nil
}

// openError is that of a connection whose beginning failed.
type openError struct {
	name string
	err  error
}

func (e *openError) Error() string { return e.name + ": " + cause(e.err) }
func (e *openError) Unwrap() error { return e.err }
