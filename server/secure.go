package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/internal/tlswire"
)

// Handshakes. Each has a goroutine of its own, beside the accepting, and a time limit for all of
// it. What makes it dear is arithmetic, so only a few compute at a time, and give way while they
// wait for their peer, and while functions of the TLS configuration run, which may wait for
// anything: so many clients that connect and say nothing hold up nobody, and neither do many that
// connect at once. Only for a listener that puts TLS above its connections itself nobody can tell
// waiting from computing: its handshakes compute as many at a time as there are.

const (
	// handshakesPerProcessor and handshakesWaiting bound together how many connections may
	// be in their handshake at once.
	handshakesPerProcessor = 4
	handshakesWaiting      = 1024
)

// handshakes are the connections that are not secured yet, and those that have not told their
// addresses.
type handshakes struct {
	srv     *Server
	most    int64
	compute chan struct{} // a place for each that may compute at once

	life context.Context // ended by end, when the server stops
	end  context.CancelFunc

	n   atomic.Int64
	all sync.WaitGroup // their goroutines

	mu     sync.Mutex
	open   map[*opening]struct{}
	closed bool
}

func newHandshakes(s *Server) *handshakes {
	processors := runtime.GOMAXPROCS(0)
	life, end := context.WithCancel(context.Background())
	return &handshakes{
		life: life, end: end,
		srv:     s,
		most:    int64(s.cfg.handshakes),
		compute: make(chan struct{}, max(1, processors/2)), // the event loops need the others
		open:    map[*opening]struct{}{},
	}
}

// begin secures a connection that may come in, and serves it if that succeeds. It reports false,
// and does nothing, if there are too many already or the server stops.
func (h *handshakes) begin(c *Conn, nc net.Conn, cfg *tls.Config) bool {
	open := h.note(nc)
	if open == nil {
		return false
	}
	go h.run(c, open, cfg)
	return true
}

// ask has a connection tell its addresses, and admits it then. It reports false, and does
// nothing, if there are too many already or the server stops.
func (h *handshakes) ask(nc net.Conn, secure *tls.Config) bool {
	open := h.note(nc)
	if open == nil {
		return false
	}
	go func() {
		defer h.all.Done()
		defer h.n.Add(-1)
		role.Set("accept")
		told := false
		defer func() {
			if told {
				return
			}
			if _ = nc.Close(); !h.srv.isClosing() {
				h.srv.acceptFailed(errNoAddrs)
			}
		}()
		var local, remote net.Addr
		if local, remote, told = h.addrs(open); !told {
			return
		}
		if err := h.srv.admit(nc, local, remote, secure); err != nil {
			h.srv.acceptFailed(err)
		}
	}()
	return true
}

// addrs returns the addresses of a connection. ok is false if it takes too long to tell them, or
// the server stops.
func (h *handshakes) addrs(open *opening) (local, remote net.Addr, ok bool) {
	nc := open.nc
	if limit := h.srv.cfg.HandshakeTimeout; limit > 0 {
		timer := time.AfterFunc(limit, func() { _ = nc.Close() })
		defer func() { ok = timer.Stop() && ok }()
	}
	defer func() { ok = h.done(open) && ok }() // also if user code ends this goroutine
	return nc.LocalAddr(), nc.RemoteAddr(), true
}

var errNoAddrs = errors.New("a connection of the listener's has not told its addresses within HandshakeTimeout")

// opening is a connection that stop can close. (A net.Conn itself may be no key of a map.)
type opening struct{ nc net.Conn }

// note counts a connection and keeps it so that stop can close it. It returns nil if there are
// too many, or the server stops.
func (h *handshakes) note(nc net.Conn) *opening {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.n.Load() >= h.most {
		return nil
	}
	h.n.Add(1)
	h.all.Add(1)
	open := &opening{nc}
	h.open[open] = struct{}{}
	return open
}

// done ends what note has begun. It reports false if the server stops.
func (h *handshakes) done(open *opening) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, open)
	return !h.closed
}

// cut closes all connections that are not secured yet, and has no more begin.
func (h *handshakes) cut() {
	h.mu.Lock()
	h.closed = true
	all := slices.Collect(maps.Keys(h.open))
	h.mu.Unlock()
	h.end()
	for _, open := range all {
		_ = open.nc.Close() // it may be the user's
	}
}

// stop is cut, and waits for them.
func (h *handshakes) stop() {
	h.cut()
	h.all.Wait()
}

// errEnded is what has become of a handshake whose goroutine user code has ended.
var errEnded = errors.New("a function of the TLS configuration has panicked, or ended its goroutine")

// run is the goroutine of one handshake. It may be ended by functions of the TLS configuration,
// and by OnOpen.
func (h *handshakes) run(c *Conn, open *opening, cfg *tls.Config) {
	defer h.all.Done()
	defer h.n.Add(-1) // last: a place to compute in has been given back
	nc := open.nc
	role.Set("handshake")
	tc, layer := h.secure(nc, cfg)
	err, served := errEnded, false
	defer func() {
		v := recover()
		if served {
			return // others use it now
		}
		if layer != nil {
			_ = layer.Compute(nil, nil) // what follows may wait for the peer, and for the logger
		}
		switch {
		case err == nil:
			_ = h.srv.turnAway(c, nc, errHook)
		case err == errEnded:
			h.done(open)
			h.srv.hookFailed(c, v)
			fallthrough
		default:
			h.fail(c, nc, err, tc.ConnectionState().Version != 0)
		}
		if layer != nil {
			layer.Release()
		}
	}()
	if err = h.shake(tc, layer); !h.done(open) {
		err = ErrServerClosed
	}
	if err != nil {
		return
	}
	if h.srv.streams.take(tc, c); h.srv.opened(c) {
		h.srv.failures.accepted.Add(1)
		h.srv.streams.start(c)
		served = true
	}
}

// shake makes the handshake. layer is nil if it is not ours that lies below.
func (h *handshakes) shake(tc *tls.Conn, layer tlswire.Layer) error {
	ctx := h.life
	if limit := h.srv.cfg.HandshakeTimeout; limit > 0 {
		if err := tc.SetDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if layer != nil {
		if err := layer.Compute(h.compute, ctx.Done()); err != nil {
			return err
		}
	}
	if err := tc.Handshake(); err != nil {
		return err
	}
	if layer != nil {
		_ = layer.Compute(nil, nil)
	}
	if v := tc.ConnectionState().Version; v < tls.VersionTLS12 {
		return fmt.Errorf("the client speaks %s; TLS 1.2 is the least", tls.VersionName(v))
	}
	return tc.SetDeadline(time.Time{})
}

// secure puts TLS above a connection, unless the listener has done so: then there is no cfg, and
// nothing of ours can lie below, so such a handshake computes without a place.
func (h *handshakes) secure(nc net.Conn, cfg *tls.Config) (*tls.Conn, tlswire.Layer) {
	if tc, ok := nc.(*tls.Conn); ok {
		return tc, nil
	}
	layer := tlswire.Over(nc)
	return tls.Server(layer, cfg), layer
}

// alertPlain tells a client, in words of TLS, that it does not speak TLS: a broker of ours then
// knows what it has met.
var alertPlain = []byte{21, 3, 3, 0, 2, 2, 10} // fatal: unexpected message

// fail ends a connection that was not secured. greeted says that its client has said hello.
func (h *handshakes) fail(c *Conn, nc net.Conn, err error, greeted bool) {
	s := h.srv
	why := reasonHandshake
	var header tls.RecordHeaderError
	switch {
	case err == ErrServerClosed:
		why = reasonShutdown
	case !greeted && errors.Is(err, io.EOF):
		why = reasonPeer // as of a probe whether the port is open
	case !greeted && errors.Is(err, syscall.ECONNRESET):
		why = reasonReset
	case errors.As(err, &header) && header.Conn != nil:
		why = reasonPlain
		discard(nc)
		_ = nc.SetWriteDeadline(time.Now().Add(lingerTime))
		_, _ = nc.Write(alertPlain)
	}
	s.failures.accepted.Add(1)
	s.failures.closed[why].Add(1)
	if why.peersFault() {
		s.logUnsecured(c, why, err)
	}
	s.leave(addrOf(c.remote)) // no hook knows of it
	discard(nc)
	_ = nc.Close()
}
