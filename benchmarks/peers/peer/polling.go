package peer

import (
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/engine"
)

// PollingName is the server that does nothing but poll and echo.
const PollingName = "polling"

// Polling is an echo of the anet frame in one loop of non-blocking reads and writes,
// which never sleeps while anybody is connected: what a server in Go can do at most for
// a fast client. When nothing has come it yields, since client and server share this
// machine's processors. Its client is ringwire's broker.
func Polling() Peer {
	const note = "a bare loop of non-blocking reads, writes and yields that never sleeps, without handlers, bounds or timeouts; ringwire's broker is its client"
	target := func(addr string, pid int) (bench.Target, error) {
		t := bench.NewRingwireVariant(PollingName, addr, pid, func(*engine.Config) {})
		t.Note = note
		return t, nil
	}
	return Peer{Name: PollingName, Note: note, Serve: servePolling, Target: target, Missing: pollingMissing}
}
