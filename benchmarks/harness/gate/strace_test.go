//go:build !race && !invariant

package gate

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
	"github.com/ringwire/ringwire/engine"
)

// roleClient is the role of the processes that strace watches as clients.
const roleClient = "gate-client"

// clientVariable tells such a process what to do: its server's address, API,
// callers and requests, with spaces between.
const clientVariable = "RINGWIRE_GATE_CLIENT"

// beClient puts one load on a server.
func beClient() error {
	var addr string
	var b budget
	if _, err := fmt.Sscan(os.Getenv(clientVariable), &addr, &b.api, &b.callers, &b.requests); err != nil {
		return fmt.Errorf("%s=%q: %w", clientVariable, os.Getenv(clientVariable), err)
	}
	// How often busy polling asks depends on time, and on what strace makes of it; the
	// server does without, too.
	broker, err := load.Connect(addr, b.callers, 1, func(c *engine.Config) { c.BusyPoll = -1 })
	if err != nil {
		return err
	}
	err = load.New(broker, b.api, b.callers, payloadBytes).Run(b.requests)
	if closeErr := broker.Close(); err == nil {
		err = closeErr
	}
	return err
}

// calls is how many system calls of each name a process made.
type calls map[string]int

// notCounted are the calls that grow with time, threads and the heap, and say
// nothing about a request: pauses of the runtime's monitor, signals by which it
// preempts, memory.
var notCounted = []string{
	"nanosleep", "clock_nanosleep", "sched_yield", "tgkill", "getpid", "rt_sigreturn",
	"rt_sigprocmask", "sigaltstack", "clone", "clone3", "mmap", "munmap", "madvise", "restart_syscall",
}

func (c calls) sum() (n int) {
	for name, made := range c {
		if !slices.Contains(notCounted, name) {
			n += made
		}
	}
	return n
}

// parseCalls reads the table that strace -c writes:
//
//	% time     seconds  usecs/call     calls    errors syscall
//	------ ----------- ----------- --------- --------- ----------------
//	 61.63    0.000249           1       210         3 futex
func parseCalls(text string) (calls, error) {
	c := make(calls)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 5 || len(f) > 6 || f[len(f)-1] == "total" {
			continue
		}
		if _, err := strconv.ParseFloat(f[0], 64); err != nil {
			continue // the heading and the rules
		}
		n, err := strconv.Atoi(f[3])
		if err != nil {
			return nil, fmt.Errorf("strace -c: calls in %q: %w", lines.Text(), err)
		}
		c[f[len(f)-1]] += n
	}
	if len(c) == 0 {
		return nil, fmt.Errorf("strace -c wrote no table: %q", text)
	}
	return c, nil
}

// trace counts the calls of a client with b's load, and of its server, from the
// start to the end of both processes.
func trace(t *testing.T, b budget) (client, server calls) {
	t.Helper()
	dir := t.TempDir()
	strace := func(name string) []string {
		args := []string{"strace", "-f", "-c", "-o", filepath.Join(dir, name), "-E", load.BusyPollVariable + "=-1ns"}
		if b.tracedProcs > 0 {
			args = append(args, "-E", fmt.Sprintf("GOMAXPROCS=%d", b.tracedProcs))
		}
		return args
	}
	srv, err := load.Start(strace("server")...)
	require.NoError(t, err)
	defer func() { _ = srv.Stop() }()
	cmd, err := load.Command(roleClient, strace("client")...)
	require.NoError(t, err)
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s %s %d %d", clientVariable, srv.Addr, b.api, b.callers, b.requests))
	require.NoError(t, cmd.Run())
	require.NoError(t, srv.Stop())
	read := func(name string) calls {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		c, err := parseCalls(string(text))
		require.NoError(t, err)
		return c
	}
	return read("client"), read("server")
}

func TestSystemCallsStayWithinTheirBudgets(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed (apt-get install strace): only the programs' own counts of reads and writes are checked")
	}
	if out, err := exec.Command("strace", "-f", "-c", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	// What the processes do beside the requests is taken off.
	idleClient, idleServer := trace(t, budget{api: load.SendInto, callers: 1, requests: 1})
	for _, b := range budgets {
		if b.tracedRequests == 0 {
			continue
		}
		t.Run(b.String(), func(t *testing.T) {
			b.requests = b.tracedRequests
			client, server := trace(t, b)
			requests := float64(b.requests)
			clientCalls := float64(client.sum()-idleClient.sum()) / requests
			serverCalls := float64(server.sum()-idleServer.sum()) / requests
			t.Logf("system calls/request %.4f, server %.4f", clientCalls, serverCalls)
			assert.LessOrEqual(t, clientCalls, b.clientCalls, "the client: %v", client)
			assert.LessOrEqual(t, serverCalls, b.serverCalls, "the server: %v", server)
		})
	}
}

func TestParseCallsReadsWhatStraceWrites(t *testing.T) {
	c, err := parseCalls(`% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.63    0.000249           1       210         3 futex
 20.00    0.000081           2        40           write
 18.37    0.000074           3         7           nanosleep
------ ----------- ----------- --------- --------- ----------------
100.00    0.000404           1       257         3 total
`)
	require.NoError(t, err)
	assert.Equal(t, calls{"futex": 210, "write": 40, "nanosleep": 7}, c)
	assert.Equal(t, 250, c.sum())
	_, err = parseCalls("strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted\n")
	assert.ErrorContains(t, err, "no table")
}
