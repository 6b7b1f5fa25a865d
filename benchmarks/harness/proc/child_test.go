//go:build unix

package proc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test binary is also the processes that the tests start: this variable
// says which one.
const roleVariable = "PROC_TEST_ROLE"

// reportVariable is where a mute process connects to.
const reportVariable = "PROC_TEST_REPORT"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "server":
		beServer()
	case "parent":
		beParent()
	case "broken":
		_, _ = fmt.Fprintln(os.Stderr, "no such port")
		os.Exit(3)
	case "mute":
		beMute()
	}
}

// beMute never says where it listens. It holds a connection to the test instead.
func beMute() {
	c, err := net.Dial("tcp", os.Getenv(reportVariable))
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = c.Close()
}

// beServer accepts connections until its standard input closes.
func beServer() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			if _, err := listener.Accept(); err != nil {
				return
			}
		}
	}()
	fmt.Println("a line before")
	fmt.Printf("listening on %s\n", listener.Addr())
	fmt.Println(strings.Repeat("a line after\n", 20_000))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// beParent starts a server and says where, and waits for ever.
func beParent() {
	_ = os.Setenv(roleVariable, "server")
	child, err := Start(context.Background(), os.Args[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(child.Addr)
	select {}
}

// connect returns a connection that the process at addr holds open: it ends
// when that process does.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	return c
}

func requireEnded(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the process lives on")
}

func TestStartReturnsWhereTheChildListensAndStopEndsIt(t *testing.T) {
	t.Setenv(roleVariable, "server")
	child, err := Start(t.Context(), os.Args[0])
	require.NoError(t, err)
	defer child.Stop()
	c := connect(t, child.Addr)
	child.Stop()
	requireEnded(t, c)
	<-child.Exited()
	assert.True(t, child.cmd.ProcessState.Success(), "it ended by itself when its standard input closed")
	child.Stop()
}

func TestStartFailsWithTheChildsComplaint(t *testing.T) {
	t.Setenv(roleVariable, "broken")
	_, err := Start(t.Context(), os.Args[0])
	require.ErrorContains(t, err, "exited without saying")
	require.ErrorContains(t, err, "no such port")
}

func TestStartFailsWithoutAProgram(t *testing.T) {
	_, err := Start(t.Context(), "/no/such/program")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestStartEndsWithItsContextAndLeavesNothingRunning(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	t.Setenv(roleVariable, "mute")
	t.Setenv(reportVariable, listener.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			accepted <- c
		}
		cancel()
	}()
	_, err = Start(ctx, os.Args[0])
	require.ErrorIs(t, err, context.Canceled)
	c := <-accepted
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	requireEnded(t, c)
}

func TestChildEndsWhenItsParentIsKilled(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), roleVariable+"=parent")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	c := connect(t, strings.TrimSpace(addr))
	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	requireEnded(t, c)
}

func TestChildIsInAGroupOfItsOwn(t *testing.T) {
	t.Setenv(roleVariable, "server")
	child, err := Start(t.Context(), os.Args[0])
	require.NoError(t, err)
	defer child.Stop()
	group, err := syscall.Getpgid(child.PID())
	require.NoError(t, err)
	assert.Equal(t, child.PID(), group, "a Ctrl-C for this process must not reach it")
}

func TestTailKeepsTheEnd(t *testing.T) {
	var end tail
	_, _ = end.Write([]byte(strings.Repeat("a", stderrBytesMax)))
	_, _ = end.Write([]byte("end"))
	assert.Len(t, end.String(), stderrBytesMax)
	assert.True(t, strings.HasSuffix(end.String(), "aend"))
}
