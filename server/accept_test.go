package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// A listener whose Accept fails as often as asked.
type flaky struct {
	net.Listener
	mu       sync.Mutex
	failures []error
	calls    []time.Time
}

func (l *flaky) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.calls = append(l.calls, time.Now())
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

func TestAcceptSurvivesEveryError(t *testing.T) {
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &flaky{Listener: ln, failures: []error{
		syscall.EMFILE, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENFILE)},
		syscall.ENOBUFS, syscall.ENOMEM, errors.New("something unheard of"),
	}}
	require.NoError(t, s.Serve(l))
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	eventually(t, s, "the connection", func(st Stats) bool { return st.Accepted == 1 })
	assert.EqualValues(t, 5, s.Stats().AcceptErrors)
	l.mu.Lock()
	defer l.mu.Unlock()
	// 5, 10, 20, 40 and 80 ms; more on a busy machine, but never less.
	for i, least := 1, backoffMin; i <= 5; i, least = i+1, 2*least {
		assert.GreaterOrEqual(t, l.calls[i].Sub(l.calls[i-1]), least, "pause %d", i)
	}
}

func TestAcceptEndsWhenTheListenerIsClosedByOthers(t *testing.T) {
	s := launch(t, Config{})
	c := dial(t, s)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(ln))
	require.NoError(t, ln.Close())
	eventually(t, s, "the error", func(st Stats) bool { return st.AcceptErrors == 1 })
	c.call(1, []byte("the rest goes on"))
}

type wrapped struct{ net.Conn }

type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrapped{nc}, nil
}

func TestConnectionThatCannotBeWatchedIsClosed(t *testing.T) {
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(wrapping{ln}))
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(patienceMax)))
	_, err = nc.Read(make([]byte, 1))
	require.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	eventually(t, s, "the count", func(st Stats) bool { return st.AcceptErrors == 1 && st.Conns == 0 })
	dial(t, s).call(1, nil)
}

// The process runs out of descriptors: in a process of its own, because the limit
// is the process's.
const childEnv = "RINGWIRE_SERVER_TEST_CHILD"

func TestRunningOutOfDescriptorsHarmsNobody(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func childMain() int {
	if err := starve(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// starve takes all descriptors while clients are served.
func starve() error {
	s, err := New(Config{Addr: "127.0.0.1:0", Handler: HandlerFunc(echo), MaxConns: -1})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	defer s.Close()
	var live []*rawClient
	for range 20 {
		c, err := dialRaw(s.Addr().String())
		if err != nil {
			return err
		}
		live = append(live, c)
	}
	if err := callAll(live); err != nil {
		return err
	}
	hoard, err := takeDescriptors()
	if err != nil {
		return err
	}
	// One descriptor for the client's end; none is left for the server's.
	hoard[len(hoard)-1].Close()
	hoard = hoard[:len(hoard)-1]
	starved, err := dialRaw(s.Addr().String())
	if err != nil {
		return err
	}
	for s.Stats().AcceptErrors < 5 {
		if err := callAll(live); err != nil {
			return fmt.Errorf("a live client suffers: %w", err)
		}
	}
	errorsBefore := s.Stats().AcceptErrors
	for _, f := range hoard {
		f.Close()
	}
	if err := starved.call(); err != nil {
		return fmt.Errorf("accepting does not go on: %w", err)
	}
	if st := s.Stats(); st.Conns != 21 || st.Closed.Total() > st.AcceptErrors-errorsBefore {
		return fmt.Errorf("connections were lost: %+v", st)
	}
	return callAll(live)
}

func takeDescriptors() (hoard []*os.File, err error) {
	limit := syscall.Rlimit{Cur: 128, Max: 128}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) && len(hoard) > 0 {
			return hoard, nil
		}
		if err != nil {
			return nil, err
		}
		hoard = append(hoard, f)
	}
}

// rawClient is client for a process without testing.T.
type rawClient struct {
	nc net.Conn
	id uint32
}

func dialRaw(addr string) (*rawClient, error) {
	nc, err := net.DialTimeout("tcp", addr, patienceMax)
	if err != nil {
		return nil, err
	}
	return &rawClient{nc: nc}, nc.SetDeadline(time.Now().Add(patienceMax))
}

func (c *rawClient) call() error {
	c.id++
	w := framing.NewWriter(c.nc, framing.Format{})
	_ = w.WriteFrame(7, []byte("ping")) // Flush tells
	if err := w.Flush(); err != nil {
		return err
	}
	f, err := framing.NewReader(c.nc, framing.Format{}).ReadFrame()
	if err == nil && (f.ID != 7 || string(f.Payload) != "ping") {
		err = fmt.Errorf("reply %v %q", f.ID, f.Payload)
	}
	return err
}

func callAll(clients []*rawClient) error {
	for _, c := range clients {
		if err := c.call(); err != nil {
			return err
		}
	}
	return nil
}
