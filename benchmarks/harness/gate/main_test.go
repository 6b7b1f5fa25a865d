//go:build !race && !invariant

package gate

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
	"github.com/ringwire/ringwire/engine"
)

func TestMain(m *testing.M) {
	load.ServeIfStarted()
	if load.Role() == roleClient {
		if err := beClient(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "gate: the client:", err)
			os.Exit(1)
		}
		return
	}
	runtime.GOMAXPROCS(processors)
	if err := os.Setenv("GOMAXPROCS", strconv.Itoa(processors)); err != nil { // for the servers
		panic(err)
	}
	os.Exit(m.Run())
}

// startServer returns a server process that ends with the test.
func startServer(t *testing.T, wrap ...string) *load.Server {
	t.Helper()
	srv, err := load.Start(wrap...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Stop()) })
	return srv
}

// connect returns a broker with one connection to addr, and a load on it whose
// every caller has sent and the server has reported once, so that all memory that
// stays is there.
func connect(t *testing.T, addr string, b budget) (*engine.Broker, *load.Load) {
	t.Helper()
	broker, err := load.Connect(addr, b.callers, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	l := load.New(broker, b.api, b.callers, payloadBytes)
	require.NoError(t, l.Run(max(20*b.callers, 2000)))
	_, err = load.Ask(broker)
	require.NoError(t, err)
	return broker, l
}

// fill has every caller in flight at once, so that each has made what it blocks with,
// and so has the runtime. While the server answers that may never happen, and then, in
// a run that is measured, it may.
func fill(t *testing.T, srv *load.Server, broker *engine.Broker, l *load.Load, callers int) {
	t.Helper()
	letGo := hold(t, srv.PID())
	if letGo == nil {
		t.Log("this system cannot stop a process: callers may allocate late")
		return
	}
	ran := make(chan error, 1)
	go func() { ran <- l.Run(fillRequests) }() // the server has stopped
	assert.Eventually(t, func() bool { return broker.Stats().InFlight == callers }, fillTimeout, time.Millisecond)
	letGo()
	require.NoError(t, <-ran)
}

const (
	// fillTimeout bounds the wait for all callers to be in flight.
	fillTimeout = 10 * time.Second
	// fillRequests is more than a server answers in the moment in which it is stopped.
	fillRequests = 200_000
)
