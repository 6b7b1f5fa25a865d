package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/server"
)

var (
	errNoHandler = errors.New("anet/server: handler is required")
	errStarted   = errors.New("anet/server: Start was called before; make another Server to listen again")
)

// Server answers requests on one address. Its methods are safe for concurrent use.
type Server struct {
	address string
	handler Handler
	config  ServerConfig
	logger  anet.Logger
	native  *server.Server

	// activeConnCount tells how many connections are open.
	activeConnCount connCount

	mu       sync.Mutex   // guards listener
	listener net.Listener // set by Start; the native server's to close

	connMu sync.Mutex // held while a connection gets its ServerConn

	stopOnce sync.Once
	stopErr  error
}

// connCount is the number of a server's open connections.
type connCount struct{ of *server.Server }

// Load returns the number.
func (c connCount) Load() int32 { return int32(c.of.Stats().Conns) }

// NewServer returns a server for address, "host:port", that is not started. It fails
// if handler is nil. A nil config has the defaults.
func NewServer(address string, handler Handler, config *ServerConfig) (*Server, error) {
	if handler == nil {
		return nil, errNoHandler
	}
	if config == nil {
		config = &ServerConfig{}
	}
	s := &Server{address: address, handler: handler, config: *config, logger: config.Logger}
	if s.logger == nil {
		s.logger = &anet.NoopLogger{}
	}
	var err error
	if s.native, err = server.New(s.config.native(server.HandlerFunc(s.handle))); err != nil {
		return nil, fmt.Errorf("anet/server: %w", err)
	}
	s.activeConnCount = connCount{s.native}
	return s, nil
}

// Start listens and serves. It returns at once, with the error of listening if there
// is one. A server starts once.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return errStarted
	}
	// The server below sets the keep-alive of each connection.
	lc := net.ListenConfig{KeepAlive: -1}
	if s.config.ReusePort {
		lc.Control = setReusePort
	}
	ln, err := lc.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return err
	}
	if err := s.native.Serve(ln); err != nil {
		_ = ln.Close() // Serve's error is the one that matters
		return err
	}
	s.listener = ln
	return nil
}

// Stop takes no more connections, lets the requests that have arrived be answered,
// and closes the connections, after ShutdownTimeout in any case. Calls after the
// first wait for it and return the same. The error says that handlers are still
// running; connections that had to be cut are logged.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() {
		open := s.activeConnCount.Load()
		err := s.native.Shutdown(context.Background())
		if errors.Is(err, server.ErrHandlersRunning) {
			s.stopErr = err
		} else if err != nil {
			s.logger.Printf("timeout waiting for %d connections to close; forced: %v", open, err)
		}
	})
	return s.stopErr
}

// handle is the native server's handler.
func (s *Server) handle(c *server.Conn, _, request []byte) ([]byte, error) {
	reply, err := s.handler.HandleMessage(s.conn(c), request)
	if err != nil {
		s.logger.Printf("handler error: %v", err)
	}
	if reply == nil {
		return nil, server.ErrNoReply
	}
	return reply, nil
}

// conn returns the one ServerConn of a connection.
func (s *Server) conn(c *server.Conn) *ServerConn {
	if sc, ok := c.Value().(*ServerConn); ok {
		return sc
	}
	s.connMu.Lock() // its first requests may be handled at the same time
	defer s.connMu.Unlock()
	if sc, ok := c.Value().(*ServerConn); ok {
		return sc
	}
	sc := &ServerConn{view: connView{conn: c}}
	sc.Conn = &sc.view
	c.SetValue(sc)
	return sc
}
