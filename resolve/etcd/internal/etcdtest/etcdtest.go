// Package etcdtest runs an etcd for tests.
package etcdtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// attempts is how often an etcd is started: somebody else may take its port first.
const attempts = 5

// script runs etcd as long as its standard input is open, so that nothing is left running however
// the test ends.
const script = `log=$1; shift
etcd "$@" >>"$log" 2>&1 &
echo $!
cat >/dev/null
kill -9 $!
wait $! 2>/dev/null`

// Etcd is a running etcd.
type Etcd struct {
	Addr string // of its clients
	PID  int

	dir, peer string
	stdin     io.Closer
	cmd       *exec.Cmd
}

// Start runs an etcd until the test has ended, or skips the test if there is no etcd.
func Start(t testing.TB) *Etcd {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("there is no etcd here: not tested; make etcd installs it")
	}
	e := &Etcd{dir: t.TempDir()}
	t.Cleanup(e.Kill)
	for range attempts {
		e.Addr, e.peer = freeAddr(t), freeAddr(t)
		if e.run(t) {
			return e
		}
		e.Kill()
		require.NoError(t, os.RemoveAll(e.dir+"/data"))
	}
	text, _ := os.ReadFile(e.dir + "/log")
	require.FailNow(t, "etcd does not start", "%s", text)
	return nil
}

// Restart runs it again, after Kill.
func (e *Etcd) Restart(t testing.TB) {
	t.Helper()
	require.True(t, e.run(t), "etcd does not start again")
}

// run starts the process. It reports whether etcd answers.
func (e *Etcd) run(t testing.TB) bool {
	t.Helper()
	e.cmd = exec.Command("sh", "-c", script, "sh", e.dir+"/log",
		"--data-dir", e.dir+"/data", "--log-level", "error", "--logger", "zap",
		"--listen-client-urls", "http://"+e.Addr, "--advertise-client-urls", "http://"+e.Addr,
		"--listen-peer-urls", "http://"+e.peer, "--initial-advertise-peer-urls", "http://"+e.peer,
		"--initial-cluster", "default=http://"+e.peer)
	var err error
	e.stdin, err = e.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := e.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, e.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	e.PID, err = strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	return e.answers(t)
}

// answers waits until etcd does, for half a minute.
func (e *Etcd) answers(t testing.TB) bool {
	client := e.Client(t, e.Addr)
	defer func() { _ = client.Close() }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if _, err := client.Get(t.Context(), "any"); err == nil {
			return true
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", e.PID)); os.IsNotExist(err) {
			return false
		}
	}
	return false
}

// Kill ends it at once, as a crash does.
func (e *Etcd) Kill() {
	if e.cmd != nil {
		_ = e.stdin.Close()
		_ = e.cmd.Wait()
		e.cmd = nil
	}
}

// Client returns a client of the etcd behind addr, for the length of the test.
func (e *Etcd) Client(t testing.TB, addr string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{addr}, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		BackoffWaitBetween: 10 * time.Millisecond, BackoffJitterFraction: 0.1,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// freeAddr returns an address on which nobody listens at the moment.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}
