package suite

import (
	"context"
	"fmt"
	"os"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// securedCallers are the blocking callers of the section "tls".
var securedCallers = []int{1, 16, 64, 256}

// securedCases are all systems that speak TLS, beside ringwire without it and beside what
// crypto/tls itself can do.
func securedCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	ours := peer.Ringwire().Secured(id)
	server, err := b.fleet.server(ctx, ours)
	if err != nil {
		return nil, err
	}
	addr, pid, err := b.ringwire(ctx)
	if err != nil {
		return nil, err
	}
	plain := peer.RingwirePlain(addr, pid)
	pingPong, limit := peer.PingPong(id, server.Addr, server.PID()), peer.FramesLimit(id, server.Addr, server.PID())
	targets, err := b.secured(ctx, id)
	if err != nil {
		return nil, err
	}
	us := &targets[0]
	var cases []bench.Case
	for _, callers := range securedCallers {
		for i := range targets {
			cases = append(cases, oneConn(&targets[i], bench.Blocking, callers, payload))
		}
		if pingPong.CallersMax == callers {
			cases = append(cases, oneConn(&pingPong, bench.Native, callers, payload))
		}
		cases = append(cases, oneConn(&plain, bench.Blocking, callers, payload))
	}
	return append(cases,
		oneConn(us, bench.Callback, window, payload), oneConn(us, bench.Batch, window, payload),
		oneConn(&limit, bench.Native, window, payload),
		oneConn(&plain, bench.Callback, window, payload), oneConn(&plain, bench.Batch, window, payload)), nil
}

// secured are the systems over TLS that are asked for, ringwire first.
func (b *builder) secured(ctx context.Context, id *peer.Identity) ([]bench.Target, error) {
	return targetsOf(peer.Secured(id), func(p peer.Peer) (*bench.Target, error) { return b.overTLS(ctx, p) })
}

// windowCases are the systems over TLS with a window of requests in flight, each as its API has it.
func windowCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	var cases []bench.Case
	for _, p := range peer.Secured(id) {
		t, err := b.overTLS(ctx, p)
		if err != nil {
			return nil, err
		}
		if t != nil {
			cases = append(cases, oneConn(t, p.InWindow(t), window, payload))
		}
	}
	return cases, nil
}

// overTLS is the target of a system over TLS; nil when it is not asked for, or when this machine
// cannot run it over TLS, which is said. One whose server does not start fails in its row, but
// nothing runs without ringwire.
func (b *builder) overTLS(ctx context.Context, p peer.Peer) (*bench.Target, error) {
	if !b.options.wants(p.Name) {
		return nil, nil
	}
	if p.Name == bench.Ringwire {
		t, err := b.fleet.target(ctx, p)
		return &t, err
	}
	if p.Missing != nil {
		if why := p.Missing(); why != "" {
			b.say(p.Name + " over TLS is left out: " + why)
			return nil, nil
		}
	}
	return b.inRow(ctx, p, bench.Setup{})
}

// identity is that of the run, which is made when it is first asked for.
func (b *builder) identity() (*peer.Identity, error) {
	if b.id != nil {
		return b.id, nil
	}
	dir, err := os.MkdirTemp("", "ringwire-peers-")
	if err != nil {
		return nil, fmt.Errorf("a folder for the certificate of the run: %w", err)
	}
	b.idDir = dir
	b.id, err = peer.NewIdentity(dir)
	return b.id, err
}

// forget removes the identity's files.
func (b *builder) forget() {
	if b.idDir != "" {
		_ = os.RemoveAll(b.idDir)
	}
}
