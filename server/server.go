package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/busypoll"
	"github.com/ringwire/ringwire/internal/epoll"
)

// Server answers requests on the connections of its listeners. Its methods are
// safe for concurrent use.
type Server struct {
	cfg      Config
	handler  Handler
	format   framing.Format
	flushAt  int           // output bytes at which a turn writes before its end
	interval time.Duration // of the sweep, and so of the clock
	epoch    time.Time
	busyPoll time.Duration // 0: never
	pollers  int32         // how many goroutines of the process may poll at once
	recent   lastTurn
	timing   timing

	conns  registry
	door   door
	lastID atomic.Uint64
	clock  atomic.Int64 // milliseconds since epoch, from 1; the sweep advances it

	started  atomic.Bool  // Start has been called
	open     atomic.Int64 // connections taken and not ended, or being taken
	held     atomic.Int64 // bytes staged and unsent, of all connections
	shedAt   int64        // at so many held the sweep closes the largest
	jobBytes atomic.Int64 // bytes of requests off the loop, and pushed
	failures failures
	lines    limiter
	hooks    hooks
	naming   atomic.Bool // somebody writes to the log for the sweep

	// mu guards what follows. Nothing is waited for under it.
	mu        sync.Mutex
	listeners []*listener
	// Set by the first Serve, before any connection exists, and not changed.
	streams *streams
	shaking *handshakes
	workers *workers
	// Set before the first connection on an event loop exists, and not changed.
	front *front

	accepting  sync.WaitGroup // goroutines of acceptAll; Add under mu, before closing
	accepted   chan struct{}  // closed in the stop, when there is none any more
	shutting   sync.WaitGroup // goroutines that close listeners
	background sync.WaitGroup // the sweep
	stopSweep  chan struct{}

	closing chan struct{} // closed under mu: no Start, Serve or accept any more
	hurry   chan struct{} // closed by the caller that does not want to drain any longer
	hurried sync.Once
	stopped chan struct{} // closed when nothing is left; result is valid then
	result  error
}

// New returns a server that is not started yet. It starts no goroutine.
func New(cfg Config) (*Server, error) {
	// Before its defaults are used for others.
	if err := cfg.Framing.Validate(); err != nil {
		return nil, fmt.Errorf("server: Config.Framing: %w", err)
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.TLS != nil {
		var err error
		if cfg.TLS, err = prepareTLS(cfg.TLS); err != nil {
			return nil, fmt.Errorf("server: Config.TLS: %w", err)
		}
	}
	s := &Server{
		cfg:       cfg,
		handler:   cfg.Handler,
		format:    cfg.Framing,
		flushAt:   min(flushBytes, cfg.MaxUnsent),
		interval:  sweepInterval(cfg.QueueTimeout, cfg.FrameTimeout, cfg.FirstFrameTimeout, cfg.WriteTimeout, cfg.IdleTimeout),
		door:      newDoor(&cfg),
		epoch:     time.Now(),
		busyPoll:  pollTime(&cfg, runtime.GOMAXPROCS(0)),
		pollers:   busypoll.Limit(),
		accepted:  make(chan struct{}),
		stopSweep: make(chan struct{}),
		closing:   make(chan struct{}),
		hurry:     make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	s.timing = newTiming(cfg.LatencyEvery, s.epoch)
	s.shedAt = s.cfg.MaxHeld
	if epoll.Available && !cfg.neverPause {
		s.shedAt += min(max(s.shedAt/shedShare, shedMin), math.MaxInt64-s.shedAt)
	}
	s.tick()
	return s, nil
}

// sweepInterval is a quarter of the shortest timeout, within limits.
func sweepInterval(timeouts ...time.Duration) time.Duration {
	interval := sweepEvery
	for _, t := range timeouts {
		if t > 0 {
			interval = min(interval, max(t/4, sweepEveryMin))
		}
	}
	return interval
}

// Start listens on Config.Addr and serves. It returns at once, with an error if
// that is not possible, and ErrServerClosed after Shutdown or Close.
func (s *Server) Start() error {
	if s.isClosing() {
		return ErrServerClosed
	}
	if s.cfg.Addr == "" {
		return errors.New("server: Config.Addr is empty; write host:port or unix:///path, or use Serve")
	}
	network, target, err := s.cfg.listenOn()
	if err != nil {
		return err
	}
	if s.started.Swap(true) {
		return errStarted
	}
	ln, err := s.listen(network, target)
	if err != nil {
		s.started.Store(false)
		return fmt.Errorf("server: %w", err)
	}
	if err := s.Serve(ln); err != nil {
		s.started.Store(false)
		_ = ln.Close()
		return err
	}
	return nil
}

var errStarted = errors.New("server: Start was called before; Serve takes further listeners")

func (s *Server) listen(network, target string) (net.Listener, error) {
	if network == "unix" {
		return listenUnix(target, s.cfg.UnixMode)
	}
	// The keep-alive of accepted connections is set by tune.
	lc := net.ListenConfig{KeepAlive: -1}
	return lc.Listen(context.Background(), network, target)
}

// Wait waits until the server has stopped, after Shutdown or Close, and returns what the
// stop has met: nil if every connection ended in order. It may be called by anybody, also
// before Start.
func (s *Server) Wait() error {
	<-s.stopped
	return s.result
}

// Serve serves connections accepted from ln, with TLS if Config.TLS is set. It returns at once.
// If the error is nil the server owns ln and will close it. Serve may be called several times, for
// several listeners.
//
// Plain *net.TCPConn and *net.UnixConn are served on the event loops, which is fastest. Every
// other connection, secured, in memory, or of a listener that speaks the PROXY protocol, has
// goroutines of its own, and so has every one on Windows; all else about it is the same. A
// connection must have deadlines that end a read and a write that wait. Its LocalAddr and
// RemoteAddr are called once, on a goroutine of its own, and may read what tells them.
//
// A listener may secure its connections itself, as that of tls.NewListener does, if no TLS
// configuration applies here. With one, Serve refuses such a listener; where it cannot tell, because
// another listener lies around it, each *tls.Conn that is accepted is closed, counted in
// Stats.AcceptErrors and logged: it would be served by another configuration than this one. The
// handshakes of such a listener have the time and the number of Config.HandshakeTimeout, but as many
// compute at once as are under way, since nothing can be put below a *tls.Conn: a flood of them holds
// up the event loops. Give the listener below to ServeTLS instead where floods may come.
func (s *Server) Serve(ln net.Listener) error { return s.serve("Serve", ln, s.cfg.TLS) }

// ServeTLS is Serve with another TLS configuration than Config.TLS, or with one on this listener
// only. cfg is copied, and has to be what Config.TLS has to be. As for Serve, ln and what it accepts
// must not be secured already.
func (s *Server) ServeTLS(ln net.Listener, cfg *tls.Config) error {
	prepared, err := prepareTLS(cfg)
	if err != nil {
		return fmt.Errorf("server: ServeTLS: %w", err)
	}
	return s.serve("ServeTLS", ln, prepared)
}

func (s *Server) serve(method string, ln net.Listener, secure *tls.Config) error {
	switch {
	case isNilPointer(ln):
		return fmt.Errorf("server: %s: the listener is nil; was the error of the call that made it looked at?", method)
	case secure != nil && isSecured(ln):
		return fmt.Errorf("server: %s: %s", method, securedTwice)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return ErrServerClosed
	}
	if s.streams == nil {
		if err := s.startLocked(); err != nil {
			return err
		}
	}
	if secure == nil && s.looped(ln) {
		if err := s.startLoopsLocked(); err != nil {
			return err
		}
	}
	s.listeners = append(s.listeners, &listener{Listener: ln})
	s.accepting.Add(1)
	go s.acceptAll(ln, secure)
	return nil
}

// listener is one that the server has been given.
type listener struct {
	net.Listener
	closed atomic.Bool // or about to be
}

// looped reports whether the connections of a listener are for the event loops.
func (s *Server) looped(ln net.Listener) bool {
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener, *unixListener:
		return !s.cfg.noLoops
	}
	return false
}

// startLoopsLocked starts the event loops, unless that has been done.
func (s *Server) startLoopsLocked() (err error) {
	if s.front == nil {
		s.front, err = startFront(s)
	}
	return err
}

// loops returns the event loops, started if need be.
func (s *Server) loops() (*front, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.startLoopsLocked()
	return s.front, err
}

// isNilPointer reports whether v is nil, or an interface's nil pointer.
func isNilPointer(v any) bool {
	p := reflect.ValueOf(v)
	return v == nil || p.Kind() == reflect.Pointer && p.IsNil()
}

// startLocked starts everything but the event loops and an accept loop.
func (s *Server) startLocked() error {
	var w *workers
	if s.cfg.Workers > 0 {
		var err error
		if w, err = newWorkers(s); err != nil {
			return fmt.Errorf("server: workers: %w", err)
		}
	}
	s.streams, s.shaking, s.workers = newStreams(s), newHandshakes(s), w
	s.tick()
	s.background.Add(1)
	go s.sweep()
	return nil
}

// Addr returns the address of the first listener, or nil before Start and Serve.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	if len(listeners) == 0 {
		return nil
	}
	return listeners[0].Addr()
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// parts returns what runs connections and handlers, each nil if there is none, or not yet.
func (s *Server) parts() (*front, *streams, *workers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.front, s.streams, s.workers
}

// wake gives the connection a turn, unless one that is to come anyway will do.
func (s *Server) wake(c *Conn) {
	if !c.woken.Load() && c.woken.CompareAndSwap(false, true) {
		c.link.wake()
	}
}

// cut ends a connection from outside its loop.
func (s *Server) cut(c *Conn, why reason) {
	c.blame(why)
	if c.cutting.CompareAndSwap(false, true) {
		c.link.close()
	}
}
