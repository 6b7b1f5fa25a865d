// Package benchmarks holds the benchmarks of the library from outside: framing,
// task IDs, and a client against a server in a process of its own. Their names are
// key=value, so that benchstat can pivot them (make microbench). The rings are
// compared with other queues in benchmarks/queues, whole systems with each other
// by `ringwire bench` and in benchmarks/peers.
package benchmarks

import (
	"fmt"
	"os"
	"testing"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
	"github.com/ringwire/ringwire/engine"
)

// echo is the one server process of a run, started by the first benchmark that
// needs it; nil until then.
var echo *load.Server

func TestMain(m *testing.M) {
	load.ServeIfStarted()
	code := m.Run()
	if echo != nil {
		if err := echo.Stop(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// connect returns a broker that is connected to the server process until the
// benchmark ends.
func connect(b *testing.B, callers, conns int) *engine.Broker {
	b.Helper()
	if echo == nil {
		srv, err := load.Start()
		if err != nil {
			b.Fatal(err)
		}
		echo = srv
	}
	broker, err := load.Connect(echo.Addr, callers, conns)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := broker.Close(); err != nil {
			b.Error(err)
		}
	})
	return broker
}

// traffic is the difference between two looks at both ends' counters.
type traffic struct {
	broker *engine.Broker
	client engine.Stats
	server load.Report
}

func startTraffic(b *testing.B, broker *engine.Broker) traffic {
	b.Helper()
	report, err := load.Ask(broker)
	if err != nil {
		b.Fatal(err)
	}
	return traffic{broker, broker.Stats(), report}
}

// reportBatches adds how many frames went into a write, on either end. The
// timer must be stopped.
func (t traffic) reportBatches(b *testing.B) {
	b.Helper()
	client := t.broker.Stats()
	report, err := load.Ask(t.broker)
	if err != nil {
		b.Fatal(err)
	}
	perWrite := func(frames, writes uint64) float64 { return float64(frames) / float64(max(writes, 1)) }
	b.ReportMetric(perWrite(client.FramesOut-t.client.FramesOut, client.Writes-t.client.Writes), "frames/write")
	b.ReportMetric(perWrite(report.Server.Replies-t.server.Server.Replies, report.Server.Writes-t.server.Server.Writes), "replies/write")
}
