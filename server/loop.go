package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/ringwire/ringwire/internal/epoll"
	"github.com/ringwire/ringwire/internal/rawio"
)

// readBufferBytes is what one read takes at most; each event loop has one buffer.
const readBufferBytes = 64 << 10

// front runs connections on gnet's event loops. gnet is used as a client that
// takes over accepted connections, because its own listener ends the engine, with
// all its connections, when the process is out of descriptors. Each loop is a client of
// its own, so that we choose the loop of a connection, and stop and replace one alone.
//
// gnet has two rules that nothing enforces. A connection must not be written to
// after its end, because its descriptor may be somebody else's by then: phaseBroken
// sees to that. And nobody may wake a loop that has stopped, for the same reason:
// hence host.gate.
type front struct {
	gnet.BuiltinEventEngine
	srv     *Server
	answers chan struct{} // capacity 1: a loop has opened its door, or there is a new one

	placing sync.Mutex // held while one connection is given to a loop
	asked   []*loop    // those asked on its behalf
	timer   *time.Timer
	limit   time.Duration // how long a connection waits for a loop; placeMax
	jammed  atomic.Bool   // no loop has answered in time for the last one, nor since

	mu    sync.Mutex // guards what follows, held for a walk
	loops []*loop    // those that live
	past  tally      // what the others have counted
	// ending is closed under mu when the loops are told to stop: none is replaced then.
	ending   chan struct{}
	changing sync.WaitGroup // replacements under way; Add under mu, before ending
}

// startFront starts the event loops.
func startFront(s *Server) (*front, error) {
	f := &front{srv: s, answers: make(chan struct{}, 1), timer: time.NewTimer(0), limit: placeMax, ending: make(chan struct{})}
	for range s.cfg.Loops {
		l, err := f.startLoop()
		if err != nil {
			_ = f.stop()
			return nil, fmt.Errorf("server: event loops: %w", err)
		}
		f.loops = append(f.loops, l)
	}
	return f, nil
}

// startLoop starts one event loop.
func (f *front) startLoop() (*loop, error) {
	client, err := gnet.NewClient(f,
		gnet.WithNumEventLoop(1),
		gnet.WithReadBufferCap(readBufferBytes),
		gnet.WithLogger(loopLog{f.srv.cfg.Logger}),
		// Not "delay": it means that gnet leaves the option alone. net.Listener has
		// set it; so has tune the others.
		gnet.WithTCPNoDelay(gnet.TCPDelay))
	if err != nil {
		return nil, err
	}
	// The loop's goroutine inherits the label: a profile tells it by ringwire=loop.
	pprof.Do(context.Background(), pprof.Labels("ringwire", "loop"), func(context.Context) { err = client.Start() })
	if err != nil {
		return nil, err
	}
	l := newLoop()
	l.front, l.client, l.afterWake = f, client, l.wakeDone
	return l, nil
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

// stop ends the event loops, each as soon as it can be, and waits for all. No enroll may
// be under way.
func (f *front) stop() error {
	f.mu.Lock()
	close(f.ending)
	loops := slices.Clone(f.loops)
	f.mu.Unlock()
	failed := make([]error, len(loops))
	var all sync.WaitGroup
	for i, l := range loops {
		all.Go(func() { failed[i] = l.stop() })
	}
	all.Wait()
	f.changing.Wait()
	return errors.Join(failed...)
}

// counted returns what was counted on all loops that ever were. f may be nil.
func (f *front) counted() (all tally) {
	if f == nil {
		return all
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all = f.past
	for _, l := range f.loops {
		t := l.counted()
		all.add(&t)
	}
	return all
}

// unreturned is the action of an event until its function returns.
const unreturned = gnet.Action(-1)

// OnOpen implements gnet.EventHandler, like OnTraffic and OnClose. A panic would
// end the process, so each recovers.
func (f *front) OnOpen(gc gnet.Conn) (_ []byte, action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return nil, gnet.Close
	}
	action = unreturned
	defer f.recover(c, &action)
	l := c.loop // enroll has chosen it
	l.el = gc.EventLoop()
	if !l.sought { // its first connection
		l.sought = true
		l.out = make([]byte, 0, outBytes)
		if !f.srv.cfg.neverPause {
			l.epoll, l.pauses = epoll.Of(gc.Fd())
		}
	}
	c.begin(&gnetLink{conn: gc, fd: gc.Fd(), loop: l}, l)
	l.door.Store(doorShut) // it is in
	return nil, gnet.None
}

// OnTraffic is called when bytes have been read, and after a wake.
func (f *front) OnTraffic(gc gnet.Conn) (action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.Close
	}
	action = unreturned
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
	if len(in) == 0 { // it was a wake
		c.loop.asked.Add(-1)
		c.loop.waking = true
	}
	if !c.serve(in) || len(in) > 0 && !c.poll() {
		return gnet.Close
	}
	return gnet.None
}

// wakeDone comes behind a wake, also if its connection had ended, and so had no turn. What the
// event loop was asked for meanwhile is next.
func (l *loop) wakeDone(gnet.Conn, error) error {
	if !l.waking {
		l.asked.Add(-1)
	}
	l.waking = false
	l.lookOut(l.front.srv)
	return nil
}

// closeDone comes behind a close that was asked for.
func (l *loop) closeDone(gnet.Conn, error) error {
	l.asked.Add(-1)
	return nil
}

// OnClose is called once per opened connection, also from inside a write that
// fails.
func (f *front) OnClose(gc gnet.Conn, cause error) (action gnet.Action) {
	c, ok := gc.Context().(*Conn)
	if !ok {
		return gnet.None
	}
	action = unreturned
	defer closeUnreturned(gc.Fd(), &action)
	defer f.recover(c, &action)
	c.end(cause)
	return gnet.None
}

// recover ends a connection at whose event the server itself has panicked, and the whole
// loop when its goroutine ends: nothing was returned and nobody has panicked.
func (f *front) recover(c *Conn, action *gnet.Action) {
	switch v := recover(); {
	case v != nil:
		f.srv.failures.panics.Add(1)
		f.srv.logPanic(c, v)
		c.fail(reasonInternal)
		c.loop.since.Store(0)
		*action = gnet.Close
	case *action == unreturned:
		f.bury(c)
	}
}

// closeUnreturned does what gnet does not come to when its goroutine ends in OnClose.
func closeUnreturned(fd int, action *gnet.Action) {
	if *action == unreturned {
		closeDescriptor(fd)
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

func (l *gnetLink) back(now int64) int64 { return l.loop.back(now, l.loop.front.srv.interval) }

func (l *gnetLink) buffered() int { return l.conn.OutboundBuffered() }

// closeWrite uses the descriptor, which is the connection's because its end has
// not come and the loop is the only one that can bring it about.
func (l *gnetLink) closeWrite() { shutdownWrite(l.fd) }

// Both fail only if the loop cannot be told; then it is beyond help.
func (l *gnetLink) wake() { l.loop.tell(func() { _ = l.conn.Wake(l.loop.afterWake) }) }
func (l *gnetLink) close() {
	l.loop.tell(func() { _ = l.conn.CloseWithCallback(l.loop.closeDone) })
}

// drop fails if the connection has ended already.
func (l *gnetLink) drop() { _ = l.conn.EventLoop().Close(l.conn) }
