package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/taskid"
)

// patienceMax bounds every wait of these tests. It is generous because what is
// tested is that something happens, not how soon.
const patienceMax = 20 * time.Second

// childEnv makes the test binary run childMain instead of tests, where there is one.
const childEnv = "RINGWIRE_SERVER_TEST_CHILD"

var childMain func() int

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	if os.Getenv(successorEnv) != "" {
		os.Exit(succeed())
	}
	os.Exit(m.Run())
}

// Each test of this package runs over each front; the event loops are the default.
var frontFlag = flag.String("front", "loops", "how connections are run: loops; streams, each by goroutines of its own; tls, so and secured")

// onLoops marks a test of what only event loops do.
func onLoops(t *testing.T) {
	t.Helper()
	if *frontFlag != "loops" {
		t.Skip("about event loops")
	}
}

// overFront sets up the front that the tests run over.
func (c *Config) overFront(t testing.TB) {
	t.Helper()
	switch *frontFlag {
	case "streams":
		c.noLoops = true
	case "tls":
		c.TLS = testTLS(t).server
	}
}

// waits marks a test whose time goes by in waiting, which is the same on any number of
// processors: the runs that are there for those leave it out.
func waits(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it mostly waits; -short leaves it out")
	}
}

func echo(_ *Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil }

// launch starts a server and, when the test ends, closes it and checks that
// goroutines, descriptors and buffers are back to what they were.
func launch(t *testing.T, cfg Config) *Server {
	t.Helper()
	checkLeaks(t)
	if cfg.Handler == nil {
		cfg.Handler = HandlerFunc(echo)
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.overFront(t)
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		st := s.Stats()
		if st.Requests != st.Replies+st.NoReplies+st.Unanswered+st.Dropped {
			t.Errorf("requests do not add up: %+v", st)
		}
		if st.HeldBytes != 0 || s.jobBytes.Load() != 0 || st.Conns != 0 || st.Accepted != st.Closed.Total() {
			t.Errorf("bytes or connections are left: %+v", st)
		}
		if st.Closed.Internal != 0 {
			t.Errorf("the server failed: %+v", st)
		}
	})
	return s
}

// checkLeaks compares at the end of the test, after the cleanups registered later.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	descriptors, lent := countDescriptors(), bytepool.Outstanding()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		waitFor(t, "descriptors to be closed", func() bool { return countDescriptors() <= descriptors })
		// Servers of the same test that live on may have had some then: they poll for a moment.
		waitFor(t, "buffers to be returned", func() bool { return bytepool.Outstanding() <= lent })
	})
}

// readers is how many buffers the open connections read into: those that gnet does not watch
// need one while they wait, if there is no way to wait without. Only builds that count buffers
// tell.
func readers(s *Server) int {
	if *frontFlag != "streams" || !invariant.Enabled {
		return 0
	}
	return s.Stats().Conns
}

// countDescriptors returns 0 where /proc does not tell.
func countDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		// Polling and timers of the test process itself come and go.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// waitFor yields until ok, which must come true by itself.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patienceMax); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		runtime.Gosched()
		<-time.After(time.Millisecond)
	}
}

// client is one raw connection.
type client struct {
	t      *testing.T
	nc     net.Conn
	frames *framing.Reader
	format framing.Format
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	return dialBy(t, s, net.Dialer{})
}

func dialBy(t *testing.T, s *Server, d net.Dialer) *client {
	t.Helper()
	c := dialAddr(t, d, s.Addr().Network(), s.Addr().String(), s.format)
	if s.cfg.TLS == nil {
		return c
	}
	return c.secure()
}

// secure makes the TLS handshake. If it fails, because the server refuses the connection, so does
// all that follows.
func (c *client) secure() *client {
	c.t.Helper()
	tc := tls.Client(c.nc, testTLS(c.t).client)
	_ = tc.Handshake()
	return newClient(c.t, tc, c.format)
}

// speaksPlain marks a test whose clients speak the wire format by themselves.
func speaksPlain(t *testing.T) {
	t.Helper()
	if *frontFlag == "tls" {
		t.Skip("its clients do not speak TLS")
	}
}

func dialAddr(t *testing.T, d net.Dialer, network, addr string, format framing.Format) *client {
	t.Helper()
	d.Timeout = patienceMax
	nc, err := d.Dial(network, addr)
	require.NoError(t, err)
	return newClient(t, nc, format)
}

func newClient(t *testing.T, nc net.Conn, format framing.Format) *client {
	t.Helper()
	c := &client{t: t, nc: nc, format: format}
	c.frames = framing.NewReader(nc, c.format)
	require.NoError(t, nc.SetDeadline(time.Now().Add(patienceMax)))
	t.Cleanup(func() { _ = nc.Close() })
	return c
}

// tcp returns the socket of a client.
func (c *client) tcp() *net.TCPConn {
	if tc, ok := c.nc.(*tls.Conn); ok {
		return tc.NetConn().(*net.TCPConn)
	}
	return c.nc.(*net.TCPConn)
}

func (c *client) frame(id uint32, payload []byte) []byte {
	c.t.Helper()
	b, err := c.format.Append(nil, taskid.ID(id), payload)
	require.NoError(c.t, err)
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	require.NoError(c.t, err)
}

func (c *client) send(id uint32, payload []byte) { c.t.Helper(); c.write(c.frame(id, payload)) }

func (c *client) receive() framing.Frame {
	c.t.Helper()
	f, err := c.frames.ReadFrame()
	require.NoError(c.t, err)
	return f
}

// call sends a request and demands that its payload comes back.
func (c *client) call(id uint32, payload []byte) {
	c.t.Helper()
	c.send(id, payload)
	f := c.receive()
	require.Equal(c.t, taskid.ID(id), f.ID)
	require.True(c.t, bytes.Equal(payload, f.Payload), "another payload came back")
}

// closed waits until the server has closed the connection, and returns the frames
// that came before.
func (c *client) closed() int {
	c.t.Helper()
	for n := 0; ; n++ {
		_, err := c.frames.ReadFrame()
		var timeout net.Error
		switch {
		case err == nil:
			continue
		case errors.As(err, &timeout) && timeout.Timeout():
			c.t.Fatal("the connection is still open")
		case errors.Is(err, io.ErrUnexpectedEOF):
			c.t.Fatal("the stream ends inside a frame")
		}
		return n
	}
}

// pipeline returns frames 1 to n with payloads of that size.
func (c *client) pipeline(n, size int) []byte {
	var b []byte
	payload := bytes.Repeat([]byte{'p'}, size)
	for id := range n {
		var err error
		b, err = c.format.Append(b, taskid.ID(id+1), payload)
		require.NoError(c.t, err)
	}
	return b
}

// eventually waits for a counter.
func eventually(t *testing.T, s *Server, what string, ok func(Stats) bool) {
	t.Helper()
	waitFor(t, what, func() bool { return ok(s.Stats()) })
}

// backUp waits until replies pile up on so many connections, and none goes out any more.
func backUp(t *testing.T, s *Server, conns uint64) {
	t.Helper()
	const looks = 20
	still, before := 0, uint64(0)
	eventually(t, s, "replies to pile up", func(st Stats) bool {
		if still++; st.BytesOut != before {
			still, before = 0, st.BytesOut
		}
		return st.Pauses >= conns && still >= looks
	})
}

// scripted is a link without a network. It takes everything at once unless left
// says how many bytes it pretends to hold.
type scripted struct {
	out    []byte
	left   int
	fail   error
	wakes  atomic.Int64
	closed bool
	pauses bool // reading can be paused
	deaf   bool // it is
	others bool // somebody else waits for the loop

	cameBack int64 // the clock when the loop was last back

	loop    *loop // nil: nobody asks it
	onWrite func()
	onRead  func(p []byte) (int, error) // nil: there is nothing to read
}

func (l *scripted) read(p []byte) (int, error) {
	if l.onRead == nil {
		return 0, nil
	}
	return l.onRead(p)
}

func (l *scripted) write(p []byte) error {
	if l.fail != nil {
		return l.fail
	}
	if l.onWrite != nil {
		l.onWrite()
	}
	l.out = append(l.out, p...)
	return nil
}
func (l *scripted) buffered() int { return l.left }
func (l *scripted) closeWrite()   {}
func (l *scripted) hear(reads, _ bool) bool {
	l.deaf = !reads && l.pauses
	return l.pauses
}
func (l *scripted) othersWait() bool { return l.others }
func (l *scripted) back(int64) int64 { return l.cameBack }
func (l *scripted) wake()            { l.wakes.Add(1); l.call() }
func (l *scripted) close()           { l.closed = true; l.call() }
func (l *scripted) drop()            { l.closed = true }

// call tells the loop, as a link of an event loop does.
func (l *scripted) call() {
	if l.loop != nil {
		l.loop.asked.Add(1)
	}
}

// offline returns a connection whose turns the test takes itself.
func offline(t testing.TB, cfg Config) (*Conn, *scripted) {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	l := &scripted{loop: newLoop()}
	c := &Conn{srv: s}
	c.begin(l, l.loop)
	c.resume = time.AfterFunc(time.Hour, func() {}) // nobody wakes it but the test
	t.Cleanup(func() {
		if c.at() != phaseEnded {
			c.end(nil)
		}
	})
	return c, l
}

// lines is a log to look into.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
