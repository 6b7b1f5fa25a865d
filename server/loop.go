package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/pprof"
	"sync"

	"github.com/panjf2000/gnet/v2"
	"github.com/ringwire/ringwire/internal/epoll"
	"github.com/ringwire/ringwire/internal/rawio"
)

// readBufferBytes is what one read takes at most; each event loop has one buffer.
const readBufferBytes = 64 << 10

// front runs connections on gnet's event loops. gnet is used as a client that
// takes over accepted connections, because its own listener ends the engine, with
// all its connections, when the process is out of descriptors.
//
// gnet has two rules that nothing enforces. A connection must not be written to
// after its end, because its descriptor may be somebody else's by then: Conn.broken
// sees to that. And nobody may wake a loop that has stopped, for the same reason:
// hence Server.gate.
type front struct {
	gnet.BuiltinEventEngine
	srv    *Server
	client *gnet.Client

	mu    sync.Mutex // guards loops; held for a lookup when a connection opens
	loops map[gnet.EventLoop]*loop
}

// startFront starts the event loops.
func startFront(s *Server) (*front, error) {
	f := &front{srv: s, loops: make(map[gnet.EventLoop]*loop)}
	client, err := gnet.NewClient(f,
		gnet.WithNumEventLoop(s.cfg.Loops),
		gnet.WithReadBufferCap(readBufferBytes),
		gnet.WithLogger(loopLog{s.cfg.Logger}),
		// Not "delay": it means that gnet leaves the option alone. net.Listener has
		// set it; so has tune the others.
		gnet.WithTCPNoDelay(gnet.TCPDelay))
	if err != nil {
		return nil, fmt.Errorf("server: event loops: %w", err)
	}
	// The loops' goroutines inherit the label: a profile tells them by ringwire=loop.
	pprof.Do(context.Background(), pprof.Labels("ringwire", "loop"), func(context.Context) { err = client.Start() })
	if err != nil {
		return nil, fmt.Errorf("server: event loops: %w", err)
	}
	f.client = client
	return f, nil
}

var errNotPolled = errors.New("the event loop could not watch it")

// enroll hands a connection to the event loop that has fewest. nc is closed
// whatever happens: gnet duplicates the descriptor. It waits for the loop, so it
// must not be called once the loops have been told to stop.
func (f *front) enroll(nc net.Conn, c *Conn) error {
	detach(nc)
	if _, err := f.client.EnrollContext(nc, c); err != nil {
		return err
	}
	// gnet reports success when its poller refused the connection. Open has run
	// before EnrollContext returned, or never will.
	if c.link == nil {
		return errNotPolled
	}
	return nil
}

// detach gives the addresses of nc memory of their own. At the end of the connection
// gnet puts the bytes of zones, strings that package net shares, into a pool of
// writable buffers; and an IP is a part of the socket address it came in, which is
// several times its size and would live as long as the connection.
func detach(nc net.Conn) {
	for _, addr := range []net.Addr{nc.LocalAddr(), nc.RemoteAddr()} {
		a, ok := addr.(*net.TCPAddr)
		if !ok {
			continue
		}
		a.IP = bytes.Clone(a.IP)
		if a.Zone != "" {
			a.Zone = string([]byte(a.Zone))
		}
	}
}

// ownAddr returns an address that gnet does not change: it renames local unix
// addresses.
func ownAddr(addr net.Addr) net.Addr {
	switch a := addr.(type) {
	case *net.UnixAddr:
		own := *a
		return &own
	case *net.TCPAddr:
		if a.Zone != "" {
			own := *a
			return &own
		}
	}
	return addr
}

// stop ends the event loops and waits for them. No enroll may be under way, and
// the gate must be shut.
func (f *front) stop() error { return f.client.Stop() }

// loopOf returns the state of an event loop, which is made when the loop gets its
// first connection.
func (f *front) loopOf(el gnet.EventLoop) *loop {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.loops[el]
	if l == nil {
		l = newLoop()
		f.loops[el] = l
	}
	return l
}

// all returns the loops that have had a connection. f may be nil.
func (f *front) all() []*loop {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*loop, 0, len(f.loops))
	for _, l := range f.loops {
		all = append(all, l)
	}
	return all
}

// OnOpen implements gnet.EventHandler, like OnTraffic and OnClose. A panic would
// end the process, so each recovers.
func (f *front) OnOpen(gc gnet.Conn) (_ []byte, action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return nil, gnet.Close
	}
	defer f.recover(c, &action)
	l := f.loopOf(gc.EventLoop())
	if !l.sought {
		l.sought = true
		if !f.srv.cfg.neverPause {
			l.epoll, l.pauses = epoll.Of(gc.Fd())
		}
	}
	c.begin(&gnetLink{conn: gc, fd: gc.Fd(), loop: l}, l)
	return nil, gnet.None
}

// OnTraffic is called when bytes have been read, and after a wake.
func (f *front) OnTraffic(gc gnet.Conn) (action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.Close
	}
	defer f.recover(c, &action)
	// The whole input, every time: gnet would copy what is left, and so it is
	// never split in two. It stays valid until OnTraffic returns.
	in, err := gc.Peek(-1)
	if err == nil {
		_, err = gc.Discard(-1)
	}
	if err != nil {
		c.fail(reasonInternal)
		return gnet.Close
	}
	// Without input it was a wake: what others were called for is next.
	if !c.serve(in) || len(in) > 0 && !c.poll() {
		return gnet.Close
	}
	return gnet.None
}

// OnClose is called once per opened connection, also from inside a write that
// fails.
func (f *front) OnClose(gc gnet.Conn, cause error) (action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.None
	}
	defer f.recover(c, &action)
	c.end(cause)
	return gnet.None
}

// recover ends a connection at whose event the server itself has panicked.
func (f *front) recover(c *Conn, action *gnet.Action) {
	if v := recover(); v != nil {
		f.srv.failures.panics.Add(1)
		f.srv.logPanic(c, v)
		c.fail(reasonInternal)
		*action = gnet.Close
	}
}

// gnetLink is the link of a connection on an event loop.
type gnetLink struct {
	conn gnet.Conn
	fd   int
	loop *loop
}

func (l *gnetLink) write(p []byte) error {
	_, err := l.conn.Write(p)
	return err
}

// read uses the descriptor, as closeWrite does.
func (l *gnetLink) read(p []byte) (int, error) { return rawio.Read(uintptr(l.fd), p) }

func (l *gnetLink) hear(reads, unsent bool) bool {
	return l.loop.pauses && l.loop.epoll.Watch(l.fd, reads, unsent) == nil
}

// othersWait supposes so where it cannot tell.
func (l *gnetLink) othersWait() bool { return !l.loop.pauses || l.loop.epoll.Ready() }

func (l *gnetLink) buffered() int { return l.conn.OutboundBuffered() }

// closeWrite uses the descriptor, which is the connection's because its end has
// not come and the loop is the only one that can bring it about.
func (l *gnetLink) closeWrite() { shutdownWrite(l.fd) }

// wake and close fail only if the loop cannot be told; then it is beyond help.
func (l *gnetLink) wake()  { _ = l.conn.Wake(nil) }
func (l *gnetLink) close() { _ = l.conn.Close() }
