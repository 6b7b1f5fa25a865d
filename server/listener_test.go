package server

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// A process that passes a socket on as package os does makes it blocking, for this one too.
func TestASocketThatIsMadeBlockingHoldsUpNoStop(t *testing.T) {
	speaksPlain(t)
	if runtime.GOOS == "windows" {
		t.Skip("Windows passes no descriptors on")
	}
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, addr)
			require.NoError(t, err)
			file, err := ln.(interface{ File() (*os.File, error) }).File()
			require.NoError(t, err)
			defer file.Close()

			s := launch(t, Config{})
			file.Fd() // before the first accept
			require.NoError(t, s.Serve(ln))
			for id := range uint32(3) {
				c := dialAddr(t, net.Dialer{}, network, ln.Addr().String(), framing.Format{})
				c.call(id, nil)
				file.Fd() // while an accept waits; it is blocking for the next
			}
			require.NoError(t, s.Shutdown(context.Background()))
		})
	}
}

// stubborn is a listener that never accepts, and does not close before it is released.
type stubborn struct {
	net.Listener
	release chan struct{}
}

func (l *stubborn) Accept() (net.Conn, error) { <-l.release; return nil, net.ErrClosed }
func (l *stubborn) Close() error              { <-l.release; return l.Listener.Close() }

// The caller that closes the server is told, and all else is over by then.
func TestAListenerThatDoesNotCloseHoldsUpNobodyElse(t *testing.T) {
	waits(t)
	for name, stop := range map[string]func(*Server) error{
		"Shutdown": func(s *Server) error { return s.Shutdown(context.Background()) },
		"Close":    (*Server).Close,
	} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, Config{ShutdownTimeout: 100 * time.Millisecond})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			odd := &stubborn{ln, make(chan struct{})}
			require.NoError(t, s.Serve(odd))
			c := dial(t, s)
			c.call(1, nil)

			err = stop(s)
			require.ErrorContains(t, err, "a listener is closed and its Accept has not returned")
			assert.Zero(t, c.closed())
			assert.Zero(t, s.Stats().Conns)
			assert.NotNil(t, s.Addr())
			close(odd.release)
			_ = s.Wait() // the connection had no time to end in order
		})
	}
}
