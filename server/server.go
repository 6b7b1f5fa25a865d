package server

import (
	"context"
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
	listeners []net.Listener
	// Set by the first Serve, before any connection exists, and not changed.
	front   *front
	workers *workers

	accepting  sync.WaitGroup // goroutines of acceptAll; Add under mu, before closing
	background sync.WaitGroup // the sweep
	stopSweep  chan struct{}

	closing chan struct{} // closed under mu: no Start, Serve or accept any more
	hurry   chan struct{} // closed by who does not want to drain any longer
	hurried sync.Once
	stopped chan struct{} // closed when nothing is left; result is valid then
	result  error
}

// New returns a server that is not started yet. It starts no goroutine.
func New(cfg Config) (*Server, error) {
	// Framing has to be valid before its defaults are used for others.
	if err := cfg.Framing.Validate(); err != nil {
		return nil, fmt.Errorf("server: Config.Framing: %w", err)
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
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
		stopSweep: make(chan struct{}),
		closing:   make(chan struct{}),
		hurry:     make(chan struct{}),
		stopped:   make(chan struct{}),
	}
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
		return fmt.Errorf("server: Config.Addr is empty; write host:port or unix:///path, or use Serve")
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

// Serve serves connections accepted from ln, which must yield *net.TCPConn or
// *net.UnixConn. It returns at once. If the error is nil the server owns ln and
// will close it. Serve may be called several times, for several listeners.
func (s *Server) Serve(ln net.Listener) error {
	if isNilPointer(ln) {
		return errors.New("server: Serve: the listener is nil; was the error of the call that made it looked at?")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return ErrServerClosed
	}
	if s.front == nil {
		if err := s.startLocked(); err != nil {
			return err
		}
	}
	s.listeners = append(s.listeners, ln)
	s.accepting.Add(1)
	go s.acceptAll(ln)
	return nil
}

// isNilPointer reports whether v is nil, or an interface's nil pointer.
func isNilPointer(v any) bool {
	p := reflect.ValueOf(v)
	return v == nil || p.Kind() == reflect.Pointer && p.IsNil()
}

// startLocked starts everything but an accept loop.
func (s *Server) startLocked() error {
	var w *workers
	if s.cfg.Workers > 0 {
		var err error
		if w, err = newWorkers(s); err != nil {
			return fmt.Errorf("server: workers: %w", err)
		}
	}
	f, err := startFront(s)
	if err != nil {
		if w != nil {
			w.stop()
		}
		return err
	}
	s.front, s.workers = f, w
	s.tick()
	s.background.Add(1)
	go s.sweep()
	return nil
}

// Addr returns the address of the first listener, or nil before Start and Serve.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// parts returns what the first Serve has made; nil before.
func (s *Server) parts() (*front, *workers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.front, s.workers
}

// wake gives the connection a turn, unless one that is to come anyway will do.
func (s *Server) wake(c *Conn) {
	if c.woken.Load() || !c.woken.CompareAndSwap(false, true) {
		return
	}
	g := &c.loop.gate
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.shut {
		c.link.wake()
		c.loop.called.Store(true)
	}
}

// cut ends a connection from outside its loop.
func (s *Server) cut(c *Conn, why reason) {
	c.blame(why)
	if !c.cutting.CompareAndSwap(false, true) {
		return
	}
	g := &c.loop.gate
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.shut {
		c.link.close()
		c.loop.called.Store(true)
	}
}
