package server

import (
	"errors"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// The extension of docs/PROTOCOL.md §8, for connections whose first frame is a hello, on
// servers that have it switched on. All others are served as if there were none.

// extension is what a connection has that speaks it. It belongs to the loop; others only
// look whether there is one, which is settled before the first request.
type extension struct {
	wrote  int64 // clock when something was written last
	goaway bool  // was sent
	done   bool  // was sent, the last frame
}

// signEvery is how long nothing has been written to a connection whose input waits when it
// gets a sign of life. Pings wait with the rest of the input, so their sender would
// otherwise take a busy server for a dead one. In milliseconds, with the sweep's resolution.
const signEvery = 1000

// ownFrame looks at a frame of a server with the extension before it is a request: it answers
// the hello and control frames, and then reports true, and takes the remaining time off the
// others. It may be called again for a request that could not be taken.
func (c *Conn) ownFrame(f *framing.Frame) bool {
	l := c.loop
	l.limit = 0
	if c.ext.Load() == nil {
		if c.served || l.frames > 0 || f.ID != framing.ControlID {
			return false
		}
		hello, err := framing.ParseHello(f.Payload)
		if err != nil || hello.Server {
			return false
		}
		c.ext.Store(&extension{wrote: l.now})
		l.frames++ // it is the first whole frame
		l.out, _ = c.srv.format.AppendHello(l.out, framing.Hello{Server: true, Version: framing.ExtensionVersion})
		return true
	}
	if f.ID == framing.ControlID {
		c.control(f.Payload)
		return true
	}
	ms, payload, err := framing.ParseRequest(f.Payload)
	if err != nil {
		c.fail(reasonMalformed)
		return true
	}
	f.Payload, l.limit = payload, time.Duration(ms)*time.Millisecond
	return false
}

// control handles a control frame.
func (c *Conn) control(payload []byte) {
	c.loop.frames++ // a whole frame has come, and took its time
	switch kind, body, err := framing.ParseControl(payload); {
	case err != nil || kind == framing.ControlHello:
		c.fail(reasonMalformed)
	case kind == framing.ControlPing:
		c.sendControl(framing.ControlPong, body)
	}
	// Others are not for us, or not known.
}

// sendControl puts a control frame behind the other output.
func (c *Conn) sendControl(kind framing.Control, body []byte) {
	l := c.loop
	l.out, _ = c.srv.format.AppendControl(l.out, kind, body) // ValidateExtension has seen that it fits
}

// sign sends a pong that nobody asked for, which says that the server lives, when requests of
// the connection wait and nothing was written for a while.
func (c *Conn) sign() {
	e := c.ext.Load()
	if e == nil || e.done || c.watch.Load()&watchPaused == 0 || c.unsent > 0 || c.loop.now-e.wrote < signEvery {
		return
	}
	var nothing [framing.PingSize]byte
	c.sendControl(framing.ControlPong, nothing[:])
}

// sayGoaway tells the client once that the connection is about to end.
func (c *Conn) sayGoaway() {
	if e := c.ext.Load(); e != nil && !e.goaway && !e.done {
		e.goaway = true
		c.blame(reasonShutdown) // whichever end closes it then
		c.sendControl(framing.ControlGoaway, nil)
		c.flush()
	}
}

// sayDone sends the last frame, which says that no request without a reply was begun, and
// reports whether the peer has got it. There must be none under way.
func (c *Conn) sayDone() bool {
	e := c.ext.Load()
	if e == nil {
		return true
	}
	if !e.done {
		e.done = true
		c.raise(phaseUnparsed) // or later requests would be begun
		c.sendControl(framing.ControlDone, nil)
		c.flush()
	}
	return c.at() < phaseBroken && c.unsent == 0
}

// reason appends the frame that tells a client with the extension why there is no reply.
func (s *Server) reason(out []byte, id taskid.ID, err error) ([]byte, result) {
	status, code, text := framing.StatusFailed, uint32(0), err.Error()
	var own *Error
	switch {
	case errors.Is(err, ErrExpired):
		status, code = framing.StatusRefused, framing.RefusedExpired
	case errors.Is(err, ErrOverloaded):
		status, code = framing.StatusRefused, framing.RefusedOverloaded
	case errors.As(err, &own):
		code, text = own.Code, own.Text
	}
	framed, err := s.format.AppendReason(out, id, status, code, text)
	if err != nil {
		return out, resultUnanswered
	}
	return framed, resultReplied
}

// checkPush reports why frames cannot be pushed by a server with the extension: they would be
// taken for control frames, or would not fit with their status.
func (s *Server) checkPush(frames []byte) error {
	for len(frames) > 0 {
		f, n, err := s.format.Parse(frames)
		switch {
		case err != nil:
			return err
		case n == 0:
			return errors.New("server: Push takes whole frames; the last one is cut short")
		case f.ID == framing.ControlID:
			return errors.New("server: a pushed frame has the ID 0, which is the extension's; use another")
		case len(f.Payload) > s.format.MaxPayload()-framing.StatusSize:
			return framing.ErrMaxLenExceeded
		}
		frames = frames[n:]
	}
	return nil
}

// appendFrames appends pushed frames to the output, with their status if the connection has
// the extension.
func (c *Conn) appendFrames(frames []byte) {
	l, s := c.loop, c.srv
	if c.ext.Load() == nil {
		l.out = append(l.out, frames...)
		return
	}
	for len(frames) > 0 {
		f, n, _ := s.format.Parse(frames) // checkPush has seen them
		l.out, _ = s.format.AppendReply(l.out, f.ID, f.Payload)
		frames = frames[n:]
	}
}
