package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// What the sections of the server measure with.
const (
	handlerCallers = 256
	handlerWorkers = 256
	pollingCallers = 256
	// spareFiles is how many descriptors a process needs beside those of light clients.
	spareFiles = 200
)

var (
	handlerWaits = []time.Duration{0, 100 * time.Microsecond, time.Millisecond}
	// handlerPeers have handlers that can wait, ringwire first.
	handlerPeers = []string{bench.Ringwire, "grpc-go", "kitex", bench.Anet}
)

// DefaultClients are those of the section "light" and of its quick form.
func DefaultClients(quick bool) []int {
	if quick {
		return []int{10, 100, 1000}
	}
	return []int{10, 30, 100, 300, 1000, 3000, 10_000}
}

// lightCases are light clients of every server, each beside that of a goroutine for
// each connection.
func lightCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	clients, refused := b.affordable(b.options.Clients)
	if refused != "" {
		b.say(refused)
	}
	targets, err := targetsOf(peer.LightServers(), func(p peer.Peer) (*bench.Target, error) {
		return b.inRow(ctx, p, bench.Setup{})
	})
	if err != nil {
		return nil, err
	}
	cfg := b.options.config()
	cfg.Callers = clients
	return cfg.Plan(targets).Cases, nil
}

// affordable leaves out what needs more open files than a process may have, and says so.
func (b *builder) affordable(clients []int) (fit []int, refused string) {
	for _, n := range clients {
		if b.files == 0 || int64(n) <= b.files-spareFiles {
			fit = append(fit, n)
		} else if refused == "" {
			refused = fmt.Sprintf("%d light clients and more are left out: a process may have %d open files here, and %d are needed (ulimit -n)",
				n, b.files, n+spareFiles)
		}
	}
	return fit, refused
}

// handlerCases are callers of handlers that wait, on one client of each system.
func handlerCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	bound := peer.Sleepers()
	var cases []bench.Case
	for _, wait := range handlerWaits {
		for _, name := range handlerPeers {
			p, _ := peer.Find(name)
			setup := bench.Setup{Latency: wait}
			if name == bench.Ringwire {
				setup.Workers = handlerWorkers
			}
			t, err := b.inRow(ctx, p, setup)
			if err != nil {
				return nil, err
			}
			if t == nil {
				continue
			}
			if name == bench.Ringwire {
				t.Note = fmt.Sprintf("its server has %d workers", handlerWorkers)
			}
			c := oneConn(t, bench.Blocking, handlerCallers, payload)
			c.Handler = wait
			cases = append(cases, c)
		}
		if wait > 0 {
			c := oneConn(&bound, bench.Native, handlerCallers, payload)
			c.Handler = wait
			cases = append(cases, c)
		}
	}
	return cases, nil
}

// pollingCases are ringwire's broker in front of our server and of a bare loop.
func pollingCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	var cases []bench.Case
	for _, p := range []peer.Peer{peer.Ringwire(), peer.Polling()} {
		t, err := b.inRow(ctx, p, bench.Setup{})
		if err != nil || t == nil {
			return nil, err
		}
		cases = append(cases, oneConn(t, bench.Blocking, pollingCallers, payload))
	}
	return cases, nil
}

// inRow is target for a system that fails in its row when its server does not start:
// the row says why.
func (b *builder) inRow(ctx context.Context, p peer.Peer, setup bench.Setup) (*bench.Target, error) {
	if !b.wanted(p) {
		return nil, nil
	}
	t, err := b.fleet.targetOf(ctx, p, setup)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		t = bench.Target{Name: p.Name, Note: p.Note, APIs: []bench.API{bench.Blocking},
			Dial: func(context.Context, int) (bench.Client, error) { return nil, err }}
	}
	return &t, nil
}
