package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// The process runs out of descriptors: in a process of its own, because the limit
// is the process's.
func TestRunningOutOfDescriptorsHarmsNobody(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func init() {
	childMain = func() int {
		if err := starve(); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
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
