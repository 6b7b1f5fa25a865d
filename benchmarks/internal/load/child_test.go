package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// roleParent is a process that starts a server and waits for ever.
const roleParent = "parent"

func TestMain(m *testing.M) {
	ServeIfStarted()
	if Role() == roleParent {
		beParent()
	}
	// What is there before the first test was started by packages as they loaded.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

func beParent() {
	srv, err := Start()
	if err != nil {
		panic(err)
	}
	fmt.Println(srv.Addr)
	select {}
}

// started returns a server process that ends with the test.
func started(t *testing.T, wrap ...string) *Server {
	t.Helper()
	srv, err := Start(wrap...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Stop()) })
	return srv
}

// watchServer returns a connection to the server, which ends with it.
func watchServer(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	return c
}

func requireEnded(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server lives on")
}

func TestServerRunsInAProcessOfItsOwnUntilStopped(t *testing.T) {
	srv := started(t)
	require.NotEqual(t, os.Getpid(), srv.PID())
	c := watchServer(t, srv.Addr)
	require.NoError(t, srv.Stop())
	requireEnded(t, c)
	require.NoError(t, srv.Stop())
}

func TestServerReportsOnItself(t *testing.T) {
	broker := connected(t, started(t).Addr, 1, 1)
	before, err := Ask(broker)
	require.NoError(t, err)
	assert.Positive(t, before.Mallocs)
	assert.Equal(t, 1, before.Server.Conns)
	after, err := Ask(broker)
	require.NoError(t, err)
	assert.Greater(t, after.Mallocs, before.Mallocs)
	assert.Equal(t, before.Server.Replies+1, after.Server.Replies)
}

func TestServerEndsWhenItsParentIsKilled(t *testing.T) {
	parent, err := Command(roleParent)
	require.NoError(t, err)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	c := watchServer(t, strings.TrimSpace(addr))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	requireEnded(t, c)
}

func TestStartFailsWhenTheProgramIsNotAServer(t *testing.T) {
	_, err := Start("echo", "a line")
	require.ErrorContains(t, err, "does TestMain call ServeIfStarted?")
	_, err = Start("/no/such/program")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestServerRunsUnderAnotherCommand(t *testing.T) {
	require.NoError(t, New(connected(t, started(t, "env").Addr, 1, 1), SendInto, 1, 64).Run(10))
}

func TestStopReportsAServerThatFailed(t *testing.T) {
	srv := started(t)
	require.NoError(t, srv.cmd.Process.Kill())
	<-srv.output
	require.ErrorContains(t, srv.Stop(), "killed")
	srv.err = nil // for the cleanup
}

func TestServeFailsWhenNobodyListensToIt(t *testing.T) {
	out, in := io.Pipe()
	require.NoError(t, out.Close())
	require.ErrorIs(t, serve(strings.NewReader(""), in), io.ErrClosedPipe)
}
