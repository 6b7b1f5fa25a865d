package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/liveness"
	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/internal/role"
	"github.com/ringwire/ringwire/internal/sockopt"
)

// A failed accept is repeated after backoffMin, and after twice as long each time,
// up to backoffMax.
const (
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// A shutdown takes the connections that wait in the accept queue, which closing the
// listener would reset: it accepts until none has come for acceptIdle, for at most
// acceptRestMax.
const (
	acceptIdle    = time.Millisecond
	acceptRestMax = 100 * time.Millisecond
)

// keepAliveProbes is how many probes go unanswered before TCP gives up.
const keepAliveProbes = 3

// acceptAll accepts until the listener or the server is closed. No other error
// ends it: when descriptors run out the connections there are live on, and
// accepting goes on when there is room again.
func (s *Server) acceptAll(ln net.Listener, secure *tls.Config) {
	returned := false
	defer func() {
		if !returned {
			go s.acceptAll(ln, secure) // OnOpen has ended this goroutine
			return
		}
		s.accepting.Done()
	}()
	role.Set("accept")
	s.acceptUntilClosed(ln, secure)
	returned = true
}

func (s *Server) acceptUntilClosed(ln net.Listener, secure *tls.Config) {
	var pause time.Duration
	shared := descriptorOf(ln)
	for {
		nc, err := acceptOne(ln, shared)
		switch {
		case err == nil && isNilPointer(nc):
			err = errNilConn
		case err == nil:
			err = s.take(nc, secure)
		}
		switch {
		case s.isClosing():
			s.acceptRest(ln, shared, secure)
			return
		case err == nil:
			pause = 0
			continue
		}
		s.acceptFailed(err)
		if errors.Is(err, net.ErrClosed) {
			return // somebody else closed the listener
		}
		pause = min(max(2*pause, backoffMin), backoffMax)
		select {
		case <-s.closing:
			return
		case <-time.After(pause):
		}
	}
}

// descriptorOf returns the descriptor of a listener of package net, nil if it has none.
func descriptorOf(ln net.Listener) syscall.RawConn {
	source, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := source.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// acceptOne is Accept of a listener, whose descriptor that is.
func acceptOne(ln net.Listener, shared syscall.RawConn) (net.Conn, error) {
	if shared != nil {
		keepNonblocking(shared)
	}
	return ln.Accept()
}

// acceptFailed counts and logs what is not a connection's own fault.
func (s *Server) acceptFailed(err error) {
	s.failures.acceptErrors.Add(1)
	s.log(logAccept, slog.LevelWarn, "cannot accept", slog.String("error", err.Error()))
}

// deadliner is implemented by the listeners of package net.
type deadliner interface{ SetDeadline(time.Time) error }

// acceptRest empties the queue of a listener that is to be closed, and closes it.
func (s *Server) acceptRest(ln net.Listener, shared syscall.RawConn, secure *tls.Config) {
	defer ln.Close()
	d, ok := ln.(deadliner)
	if !ok {
		return
	}
	for end := time.Now().Add(acceptRestMax); time.Now().Before(end); {
		if d.SetDeadline(time.Now().Add(acceptIdle)) != nil {
			return // closed already: no time for courtesies
		}
		nc, err := acceptOne(ln, shared)
		if err != nil || isNilPointer(nc) || s.take(nc, secure) != nil {
			return
		}
	}
}

// take admits a connection of package net at once. Any other one tells its addresses on a
// goroutine of its own, since that may take long: one that speaks the PROXY protocol has to read
// them first. Clients that connect to such a listener and say nothing keep no other client out.
func (s *Server) take(nc net.Conn, secure *tls.Config) error {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return s.admit(nc, nc.LocalAddr(), nc.RemoteAddr(), secure)
	}
	if !s.shaking.ask(nc, secure) {
		s.refuse(nc, nil, refusedHandshakes)
	}
	return nil
}

// admit hands an accepted connection to an event loop, to goroutines of its own, or to its
// handshake, or closes it: because it is not to come in, or because it cannot be handed over. An
// error means that the next one will hardly fare better now.
func (s *Server) admit(nc net.Conn, local, remote net.Addr, secure *tls.Config) (err error) {
	if why := s.enter(nc, addrOf(remote)); why != refusedNot {
		s.refuse(nc, remote, why)
		return nil
	}
	c := &Conn{srv: s, id: s.lastID.Add(1), local: ownAddr(local), remote: ownAddr(remote)}
	failed := errHook // should it end this goroutine
	defer func() {
		if failed != nil {
			err = s.turnAway(c, nc, failed)
		}
	}()
	failed = s.bringIn(c, nc, secure)
	return nil
}

var errNilConn = errors.New("the listener's Accept has returned neither a connection nor an error")

var errHook = errors.New("Config.OnOpen has panicked, or ended its goroutine")

// bringIn hands a connection that may come in on.
func (s *Server) bringIn(c *Conn, nc net.Conn, secure *tls.Config) error {
	twice, secured := nc.(*tls.Conn)
	if secured && secure != nil {
		s.refuseSecured(c, twice)
		return nil
	}
	if err := s.tune(nc); err != nil {
		return err
	}
	if secured || secure != nil {
		if !s.shaking.begin(c, nc, secure) {
			s.leave(addrOf(c.remote))
			s.refuse(nc, c.remote, refusedHandshakes)
		}
		return nil
	}
	if !s.forLoop(nc) {
		if s.streams.take(nc, c); !s.opened(c) {
			return errHook
		}
		s.failures.accepted.Add(1)
		s.streams.start(c)
		return nil
	}
	f, err := s.loops()
	if err != nil {
		return err
	}
	if !s.opened(c) {
		return errHook
	}
	if err := f.enroll(nc, c); err != nil {
		return err
	}
	s.failures.accepted.Add(1)
	return nil
}

// refuseSecured closes a connection that its listener has secured already, though there is a TLS
// configuration for it here: that one may ask for more, such as clients' certificates. The fault is
// not the client's, and no hook knows of it.
func (s *Server) refuseSecured(c *Conn, tc *tls.Conn) {
	s.leave(addrOf(c.remote))
	s.failures.acceptErrors.Add(1)
	below := tc.NetConn() // Close of crypto/tls may wait for a peer that does not read
	discard(below)
	_ = below.Close()
	s.log(logEnroll, slog.LevelWarn, "cannot take over a connection",
		connAttr(c), slog.String("error", securedTwice))
}

// forLoop reports whether an event loop can watch a connection.
func (s *Server) forLoop(nc net.Conn) bool {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return !s.cfg.noLoops
	}
	return false
}

// turnAway ends a connection that could not be handed over. It returns why if that is not
// the connection's own fault.
func (s *Server) turnAway(c *Conn, nc net.Conn, why error) error {
	c.blame(reasonReset)
	c.raise(phaseEnded)
	c.dropPushed()
	c.endContext()
	s.gone(c, reason(c.why.Load()))
	_ = nc.Close()
	if exhausted(why) {
		return why
	}
	// It may have been reset already.
	s.failures.acceptErrors.Add(1)
	s.log(logEnroll, slog.LevelWarn, "cannot take over a connection", slog.String("error", why.Error()))
	return nil
}

// tune sets the options of a connection.
func (s *Server) tune(nc net.Conn) error {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		if err := tc.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable:   s.cfg.KeepAlive > 0,
			Idle:     min(s.cfg.KeepAlive, liveness.KeepAliveMost),
			Interval: max(s.cfg.KeepAlive/keepAliveProbes, time.Second),
			Count:    keepAliveProbes,
		}); err != nil {
			return err
		}
		if s.cfg.WriteTimeout <= 0 {
			return nil
		}
		raw, err := tc.SyscallConn()
		if err != nil {
			return err
		}
		return sockopt.SetUserTimeout(raw, s.cfg.WriteTimeout)
	}
	return nil
}

// listenOn returns the network and the address of Config.Addr.
func (c *Config) listenOn() (network, target string, err error) {
	network, target, err = netaddr.Split(c.Addr)
	if err != nil {
		return "", "", fmt.Errorf("server: Config.Addr: %w", err)
	}
	return network, target, nil
}
