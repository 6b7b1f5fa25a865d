package peer

import (
	"context"
	"net"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
)

const (
	warmUpPart  = 4      // of a slice, as the harness does
	latencyKept = 20_000 // latencies of a slice at most
	// stalled bounds how long one of these loops may go without an answer.
	stalled = 10 * time.Second
)

// A loop is what a native target does on its connection.
type loop struct {
	step func() (int, error) // sends and receives once: how many requests were answered
	end  func()              // called once, after the connection was closed; nil: nothing to end
	// streams says that a step is no round trip, so its time is no latency.
	streams bool
}

// native is a target that runs a loop on a bare connection of its own.
func native(id *Identity, name, note, addr string, pid int, start func(conn net.Conn, c bench.Case) loop) bench.Target {
	measure := func(ctx context.Context, c bench.Case, d time.Duration) (bench.Sample, error) {
		conn, err := id.Dial(addr)
		if err != nil {
			return bench.Sample{}, err
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		l := start(conn, c)
		if l.end != nil {
			defer l.end()
		}
		defer func() { _ = conn.Close() }()
		if _, err := repeat(conn, l.step, d/warmUpPart, 0); err != nil {
			return bench.Sample{}, err
		}
		before, known := cpuTime(pid)
		kept := latencyKept
		if l.streams {
			kept = 0
		}
		sample, err := repeat(conn, l.step, d, kept)
		if after, ok := cpuTime(pid); ok && known {
			sample.CPU = after - before
		}
		return sample, err
	}
	return bench.Target{Name: name, Note: note, APIs: []bench.API{bench.Native}, PID: pid, Measure: measure}
}

// repeat runs step for d and keeps the first latencies, kept at most.
func repeat(conn net.Conn, step func() (int, error), d time.Duration, kept int) (bench.Sample, error) {
	sample := bench.Sample{Latencies: make([]int64, 0, kept)}
	if err := conn.SetDeadline(time.Now().Add(d + stalled)); err != nil {
		return sample, err
	}
	start := time.Now()
	for last := start; ; {
		n, err := step()
		if err != nil {
			return sample, err
		}
		now := time.Now()
		if len(sample.Latencies) < cap(sample.Latencies) {
			sample.Latencies = append(sample.Latencies, int64(now.Sub(last)))
		}
		last = now
		sample.Requests += uint64(n)
		if sample.Elapsed = now.Sub(start); sample.Elapsed >= d {
			return sample, nil
		}
	}
}

// cpuTime is what this process and the server have used.
func cpuTime(pid int) (time.Duration, bool) {
	client, err := proc.CPUTime(0)
	if err != nil || pid == 0 {
		return 0, false
	}
	server, err := proc.CPUTime(pid)
	return client + server, err == nil
}
