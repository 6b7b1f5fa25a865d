package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/anet/server"
	native "github.com/ringwire/ringwire/server"
)

// The goroutine pool below the server has goroutines of its own from the start.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// patience bounds what is expected to happen, however busy the machine is.
const patience = 30 * time.Second

// start returns the address of a server that is stopped at the end of the test.
func start(t *testing.T, config *server.ServerConfig, handler server.HandlerFunc) (string, *server.Server) {
	t.Helper()
	s, err := server.NewServer("127.0.0.1:0", handler, config)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { _ = s.Stop() })
	return s.Addr(), s
}

func echo(_ *server.ServerConn, request []byte) ([]byte, error) { return request, nil }

// client is the other end of a connection, frame by frame.
type client struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return &client{nc, t}
}

func (c *client) ask(id byte, text string) {
	c.t.Helper()
	require.NoError(c.t, anet.Write(c, append([]byte{0, 0, 0, id}, text...)))
}

func (c *client) answer() (byte, string) {
	c.t.Helper()
	msg, err := anet.Read(c)
	require.NoError(c.t, err)
	require.GreaterOrEqual(c.t, len(msg), 4)
	return msg[3], string(msg[4:])
}

func (c *client) expect(id byte, text string) {
	c.t.Helper()
	gotID, got := c.answer()
	require.Equal(c.t, id, gotID)
	require.Equal(c.t, text, got)
}

func (c *client) expectEnd() {
	c.t.Helper()
	_, err := anet.Read(c)
	require.Error(c.t, err)
	require.NotErrorIs(c.t, err, anet.ErrTimeout)
	var ne net.Error
	require.False(c.t, errors.As(err, &ne) && ne.Timeout(), "the connection is still open")
}

// logger keeps what it is told.
type logger struct {
	anet.NoopLogger
	mu    sync.Mutex
	lines []string
}

func (l *logger) Printf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, v...))
}

func (l *logger) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.lines, "\n"), text)
}

func TestNilHandlerAndBadAddressAreErrors(t *testing.T) {
	_, err := server.NewServer("127.0.0.1:0", nil, nil)
	require.Error(t, err)

	addr, _ := start(t, nil, echo)
	second, err := server.NewServer(addr, server.HandlerFunc(echo), nil)
	require.NoError(t, err)
	require.ErrorContains(t, second.Start(), "in use")

	third, err := server.NewServer("127.0.0.1:0", server.HandlerFunc(echo), nil)
	require.NoError(t, err)
	require.NoError(t, third.Stop(), "never started")
	require.ErrorIs(t, third.Start(), native.ErrServerClosed)
}

func TestServerStartsOnce(t *testing.T) {
	_, s := start(t, nil, echo)
	require.Error(t, s.Start())
}

func TestWhatHandlersReturnIsWhatIsSent(t *testing.T) {
	log := &logger{}
	addr, _ := start(t, &server.ServerConfig{Logger: log}, func(_ *server.ServerConn, request []byte) ([]byte, error) {
		switch string(request) {
		case "nil":
			return nil, nil
		case "empty":
			return []byte{}, nil
		case "error":
			return nil, errors.New("out of order")
		case "reply and error":
			return []byte("sorry"), errors.New("half a failure")
		case "panic":
			panic("oh")
		case "large":
			return make([]byte, 70000), nil
		case "part":
			request[0] = 'P'
			return request[:2], nil
		}
		return request, nil
	})
	c := dial(t, addr)
	for _, none := range []string{"nil", "error", "panic", "large"} {
		c.ask(1, none)
		c.ask(2, "echo")
		c.expect(2, "echo")
	}
	c.ask(3, "empty")
	c.expect(3, "")
	c.ask(4, "reply and error")
	c.expect(4, "sorry")
	c.ask(5, "part")
	c.expect(5, "Pa")
	for _, line := range []string{"handler error: out of order", "handler error: half a failure", "panicked", "does not fit a frame"} {
		// Handlers run at the same time: another's reply may come before this one's line.
		require.Eventually(t, func() bool { return log.has(line) }, 10*time.Second, time.Millisecond, line)
	}
	require.False(t, log.has("time="))
}

func TestHandlersOfOneConnectionRunAtTheSameTime(t *testing.T) {
	const n = 100
	var all sync.WaitGroup
	all.Add(n)
	var mu sync.Mutex
	conns := make(map[*server.ServerConn]bool)
	addr, _ := start(t, nil, func(c *server.ServerConn, request []byte) ([]byte, error) {
		mu.Lock()
		conns[c] = true
		mu.Unlock()
		all.Done()
		all.Wait() // for every other one
		return request, nil
	})
	c := dial(t, addr)
	for i := range n {
		c.ask(byte(i), "x")
	}
	seen := make(map[byte]bool)
	for range n {
		id, _ := c.answer()
		seen[id] = true
	}
	require.Len(t, seen, n)
	require.Len(t, conns, 1, "a connection has one ServerConn")
}

func TestFirstRequestsShareTheirServerConn(t *testing.T) {
	var mu sync.Mutex
	conns := make(map[string]*server.ServerConn)
	addr, _ := start(t, nil, func(c *server.ServerConn, request []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		remote := c.Conn.RemoteAddr().String()
		if known := conns[remote]; known != nil && known != c {
			return []byte("another"), nil
		}
		conns[remote] = c
		return []byte("same"), nil
	})
	for range 50 {
		c := dial(t, addr)
		var frames bytes.Buffer
		for range 16 {
			require.NoError(t, anet.Write(&frames, []byte{0, 0, 0, 1}))
		}
		_, err := c.Write(frames.Bytes())
		require.NoError(t, err)
		for range 16 {
			c.expect(1, "same")
		}
	}
}

func TestConnIsAView(t *testing.T) {
	type view struct {
		local, remote string
		read, write   error
		n             int
	}
	views := make(chan view, 1)
	addr, _ := start(t, nil, func(c *server.ServerConn, request []byte) ([]byte, error) {
		_, read := c.Conn.Read(make([]byte, 1))
		n, write := c.Conn.Write([]byte{0, 5, 0, 0, 0, 9, 'w'})
		views <- view{c.Conn.LocalAddr().String(), c.Conn.RemoteAddr().String(), read, write, n}
		if string(request) == "bye" {
			return request, c.Conn.Close()
		}
		return request, nil
	})
	c := dial(t, addr)
	c.ask(1, "x")
	c.expect(9, "w") // written before the reply
	c.expect(1, "x")
	v := <-views
	require.NoError(t, v.write)
	require.Equal(t, 7, v.n)
	require.Equal(t, addr, v.local)
	require.Equal(t, c.LocalAddr().String(), v.remote)
	require.ErrorIs(t, v.read, errors.ErrUnsupported)
	var op *net.OpError
	require.ErrorAs(t, v.read, &op)
	c.ask(2, "bye")
	c.expect(9, "w")
	c.expect(2, "bye") // Close lets the reply out
	c.expectEnd()
}

func TestReadDeadlineClosesTheConnection(t *testing.T) {
	addr, _ := start(t, nil, func(c *server.ServerConn, request []byte) ([]byte, error) {
		if err := c.Conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			return nil, err
		}
		if string(request) == "soon" {
			return request, c.Conn.SetReadDeadline(time.Now())
		}
		return request, errors.Join(c.Conn.SetReadDeadline(time.Time{}), c.Conn.SetWriteDeadline(time.Now()))
	})
	c := dial(t, addr)
	c.ask(1, "later")
	c.expect(1, "later")
	c.ask(2, "soon")
	c.expect(2, "soon")
	c.expectEnd()
}

func TestShortLengthClosesTheConnection(t *testing.T) {
	addr, _ := start(t, nil, echo)
	c := dial(t, addr)
	require.NoError(t, anet.Write(c, []byte{1, 2, 3}))
	c.expectEnd()
}

func TestMaxConns(t *testing.T) {
	addr, _ := start(t, &server.ServerConfig{MaxConns: 1}, echo)
	first := dial(t, addr)
	first.ask(1, "x")
	first.expect(1, "x")
	dial(t, addr).expectEnd()
	first.ask(2, "y")
	first.expect(2, "y")
}

func TestTimeoutsApply(t *testing.T) {
	for name, config := range map[string]*server.ServerConfig{
		"idle": {IdleTimeout: 20 * time.Millisecond},
		"read": {ReadTimeout: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := start(t, config, echo)
			c := dial(t, addr)
			if name == "read" {
				_, err := c.Write([]byte{0, 9, 1}) // and no more
				require.NoError(t, err)
			}
			c.expectEnd()
		})
	}
}

func TestStopLetsRequestsBeAnswered(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	addr, s := start(t, nil, func(_ *server.ServerConn, request []byte) ([]byte, error) {
		close(begun)
		<-goOn
		return request, nil
	})
	c := dial(t, addr)
	c.ask(1, "x")
	<-begun
	var stopped sync.WaitGroup
	for range 2 {
		stopped.Go(func() { assert.NoError(t, s.Stop()) })
	}
	close(goOn)
	c.expect(1, "x")
	c.expectEnd()
	stopped.Wait()
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)
	require.NoError(t, s.Stop())
}

func TestStopSaysThatHandlersStillRun(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	addr, s := start(t, &server.ServerConfig{ShutdownTimeout: 10 * time.Millisecond}, func(*server.ServerConn, []byte) ([]byte, error) {
		close(begun)
		<-goOn
		return nil, nil
	})
	dial(t, addr).ask(1, "x")
	<-begun
	err := s.Stop()
	close(goOn)
	require.ErrorIs(t, err, native.ErrHandlersRunning)
}

func TestStopLogsThatConnectionsWereCut(t *testing.T) {
	log := &logger{}
	addr, s := start(t, &server.ServerConfig{ShutdownTimeout: time.Millisecond, Logger: log}, echo)
	c := dial(t, addr)
	c.ask(1, "x")
	c.expect(1, "x")
	require.NoError(t, s.Stop())
	require.True(t, log.has("connections to close; forced"))
}

func TestReusePortSharesAnAddress(t *testing.T) {
	config := &server.ServerConfig{ReusePort: true}
	addr, first := start(t, config, echo)
	second, err := server.NewServer(addr, server.HandlerFunc(echo), config)
	require.NoError(t, err)
	require.NoError(t, second.Start())
	t.Cleanup(func() { _ = second.Stop() })
	require.NoError(t, first.Stop())
	c := dial(t, addr)
	c.ask(1, "x")
	c.expect(1, "x")
}

func TestConfigIsCopiedAndNonsenseIsTamed(t *testing.T) {
	config := &server.ServerConfig{
		ReadTimeout: -1, WriteTimeout: -1, IdleTimeout: -1, MaxConns: -1, MaxConcurrentHandlers: -1,
		ShutdownTimeout: 1000 * time.Hour, KeepAliveInterval: -1, WriteQueueDepth: 1 << 30,
	}
	before := *config
	addr, _ := start(t, config, echo)
	require.Equal(t, before, *config)
	c := dial(t, addr)
	c.ask(1, "x")
	c.expect(1, "x")
}

func TestBrokerAndServerOfTheFacade(t *testing.T) {
	addr, _ := start(t, nil, func(_ *server.ServerConn, request []byte) ([]byte, error) {
		return bytes.ToUpper(request), nil
	})
	pool := anet.NewPool(2, anet.NewTCPFactory(nil), addr, nil)
	defer pool.Close()
	b := anet.NewBroker([]anet.Pool{pool}, 0, nil, nil)
	defer b.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			req := []byte(fmt.Sprintf("request %d", i))
			response, err := b.SendAsync(&req)
			if !assert.NoError(t, err) {
				return
			}
			r := <-response
			assert.NoError(t, r.Err)
			assert.Equal(t, fmt.Sprintf("REQUEST %d", i), string(r.Payload))
		})
	}
	wg.Wait()
}
