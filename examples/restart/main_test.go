//go:build unix

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var restarts = flag.Int("restarts", 2, "how often the server is restarted under load")

const (
	beServer = "RINGWIRE_RESTART_TEST_SERVER"
	patience = 20 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(beServer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// generation is a process that says in its log that it serves.
type generation struct {
	pid  int
	addr string
}

// announcements reads what the processes log, all of them into one pipe.
func announcements(t *testing.T, log *os.File) <-chan generation {
	all := make(chan generation, 16)
	go func() {
		defer close(all)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var g generation
			if i := strings.Index(lines.Text(), "process "); i < 0 {
				t.Log(lines.Text())
			} else if _, err := fmt.Sscanf(lines.Text()[i:], "process %d serves %s", &g.pid, &g.addr); err == nil {
				all <- g
			}
		}
	}()
	return all
}

func next(t *testing.T, all <-chan generation) generation {
	t.Helper()
	select {
	case g := <-all:
		return g
	case <-time.After(patience):
		t.Fatal("no process says that it serves")
		return generation{}
	}
}

// gone waits for the end of a process.
func gone(t *testing.T, pid int) {
	t.Helper()
	assert.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) }, patience, 5*time.Millisecond,
		"process %d is still there", pid)
}

// zombie reports whether a process has ended and nobody has asked for its status, as in a
// container whose first process asks for none.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// Real processes take over from each other while clients send as fast as they can: no call
// fails, and no connection is lost.
func TestRestartUnderLoadLosesNothing(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	first := exec.Command(os.Args[0], "-addr", "127.0.0.1:0")
	first.Env = append(os.Environ(), beServer+"=1")
	first.Stderr = write
	require.NoError(t, first.Start())
	require.NoError(t, write.Close())
	go func() { _ = first.Wait() }()
	all := announcements(t, read)
	serving := next(t, all)
	defer func() { _ = syscall.Kill(serving.pid, syscall.SIGKILL) }()

	b, err := engine.New(engine.Config{Addrs: []string{serving.addr}, ConnsPerAddr: 2, Extensions: true})
	require.NoError(t, err)
	defer b.Close()
	var stop atomic.Bool
	var calls atomic.Int64
	var callers sync.WaitGroup
	for who := range 16 {
		callers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				req := fmt.Sprint(who, " ", n)
				reply, err := b.Send(context.Background(), []byte(req))
				if err != nil || string(reply) != req {
					t.Errorf("call %q: %q, %v", req, reply, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for range *restarts {
		before := calls.Load()
		require.Eventually(t, func() bool { return t.Failed() || calls.Load() > before+1000 }, patience, time.Millisecond)
		require.NoError(t, syscall.Kill(serving.pid, syscall.SIGHUP))
		successor := next(t, all)
		gone(t, serving.pid)
		serving = successor
	}
	before := calls.Load()
	require.Eventually(t, func() bool { return t.Failed() || calls.Load() > before+1000 }, patience, time.Millisecond)
	stop.Store(true)
	callers.Wait()
	st := b.Stats()
	assert.Zero(t, st.ConnsLost, "%+v", st)
	assert.Zero(t, st.DialErrors)
	assert.GreaterOrEqual(t, st.Goaways, uint64(*restarts))
	t.Logf("%d calls, %d restarts, %d goaways", calls.Load(), *restarts, st.Goaways)
	require.NoError(t, syscall.Kill(serving.pid, syscall.SIGTERM))
	gone(t, serving.pid)
}
