package server

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// pushKeep is the largest push buffer a connection keeps.
const pushKeep = 4 << 10

// ErrPushFull is Push's when the client, or all clients together, leave too much
// unread.
var ErrPushFull = errors.New("server: too much waits to be written; push less, or drop the connection")

// pushed is what was pushed to a connection and not yet taken by its loop.
type pushed struct {
	some atomic.Bool // there is something; set and cleared under mu
	mu   sync.Mutex
	b    []byte
	over bool // the connection has ended
}

// Push sends frames that no handler returns: they go out whole, in one piece, in
// the order of the calls, between replies; what a handler pushes, with Workers, goes
// before its reply. They must be whole frames as package
// framing makes them, or the client loses its place in the stream; an engine.Broker gives
// those whose ID it has not in flight to Config.OnPush, or drops them. It never has the IDs
// from 2 to its MaxInFlight, less 1, in flight. frames is copied.
// With Config.Extensions nothing is sent before the client's first frame, no ID may be 0, and
// a payload may be one byte shorter than otherwise; the status that the extension asks for
// is added where it is spoken.
//
// Push does not wait, and may be called by anybody, handlers included. It fails
// with ErrPushFull when MaxUnsent bytes wait to be written already or the server
// holds MaxHeld, and with net.ErrClosed when the connection has ended or is about
// to. That it succeeds does not mean that the client gets the bytes.
func (c *Conn) Push(frames []byte) error {
	if c.at() >= phaseUnparsed {
		return net.ErrClosed
	}
	if c.srv.cfg.Extensions {
		if err := c.srv.checkPush(frames); err != nil {
			return err
		}
	}
	p := &c.needRare().pushed
	if err := c.append(p, frames); err != nil {
		return err
	}
	// The end takes what is there after it has set ended.
	if c.at() == phaseEnded {
		c.dropPushed()
		return net.ErrClosed
	}
	c.srv.wake(c)
	return nil
}

func (c *Conn) append(p *pushed, frames []byte) error {
	s := c.srv
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return net.ErrClosed
	}
	if len(p.b)+len(frames) > s.cfg.MaxUnsent || s.jobBytes.Load() > s.cfg.MaxHeld {
		return ErrPushFull
	}
	p.b = append(p.b, frames...)
	p.some.Store(true)
	s.jobBytes.Add(int64(len(frames)))
	return nil
}

// takePushed puts what was pushed behind the other output, if the peer takes any.
// What is left has its turn when the sweep has seen the peer read.
func (c *Conn) takePushed() {
	if c.srv.cfg.Extensions && !c.served && c.loop.frames == 0 {
		return // the client may have the extension: what comes first is its hello
	}
	if r := c.rare.Load(); r != nil && r.pushed.some.Load() && c.roomForReplies() {
		c.appendPushed()
	}
}

// appendPushed puts what was pushed behind the other output.
func (c *Conn) appendPushed() {
	r := c.rare.Load()
	if r == nil || !r.pushed.some.Load() {
		return
	}
	p := &r.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	c.appendFrames(p.b)
	c.clearLocked(p)
}

// clearLocked empties p.
func (c *Conn) clearLocked(p *pushed) {
	c.srv.jobBytes.Add(-int64(len(p.b)))
	p.b = p.b[:0]
	p.some.Store(false)
	if cap(p.b) > pushKeep {
		p.b = nil
	}
}

// dropPushed ends pushing.
func (c *Conn) dropPushed() {
	r := c.rare.Load()
	if r == nil {
		return
	}
	p := &r.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	c.clearLocked(p)
}
