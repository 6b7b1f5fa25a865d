package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// fleet is the servers that run, each in a process of its own. One goroutine
// uses it.
type fleet struct {
	self     string // this program, which is also most of the servers
	programs string // folder of the others
	servers  map[key]*proc.Child
}

// key is what tells servers apart.
type key struct {
	name    string // the peer's
	secured bool   // over TLS with the run's identity
	setup   bench.Setup
}

func newFleet(programs string) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which is also the servers: %w", err)
	}
	if programs == "" {
		programs = filepath.Dir(self)
	}
	return &fleet{self: self, programs: programs, servers: make(map[key]*proc.Child)}, nil
}

func (f *fleet) stop() {
	for _, server := range f.servers {
		server.Stop()
	}
	clear(f.servers)
}

// server returns the running server of p, and starts it if need be.
func (f *fleet) server(ctx context.Context, p peer.Peer) (*proc.Child, error) {
	return f.with(ctx, p, bench.Setup{})
}

// with is server for one that is set up in that way.
func (f *fleet) with(ctx context.Context, p peer.Peer, setup bench.Setup) (*proc.Child, error) {
	k := key{p.Name, p.Identity != nil, setup}
	if server := f.servers[k]; server != nil {
		return server, nil
	}
	server, err := f.start(ctx, p, setupArgs(setup)...)
	if err != nil {
		return nil, err
	}
	f.servers[k] = server
	return server, nil
}

// setupArgs are the arguments of the programs that can be set up.
func setupArgs(setup bench.Setup) []string {
	var args []string
	if setup.Workers > 0 {
		args = append(args, "--workers", strconv.Itoa(setup.Workers))
	}
	if setup.NoPolling {
		args = append(args, "--busy-poll", "-1ns")
	}
	if setup.Latency > 0 {
		args = append(args, "--latency", setup.Latency.String())
	}
	return args
}

// start runs another server of p, which the caller stops.
func (f *fleet) start(ctx context.Context, p peer.Peer, args ...string) (*proc.Child, error) {
	command := append([]string{f.self, "serve", p.Name}, "--stdin")
	if p.Program != nil {
		path, err := f.find(p.Program[0])
		if err != nil {
			return nil, err
		}
		command = append(append([]string{path}, p.Program[1:]...), "--addr", "127.0.0.1:0", "--stdin")
	}
	if p.Identity != nil {
		command = append(command, "--tls-cert", p.Identity.Cert, "--tls-key", p.Identity.Key)
	}
	return proc.Start(ctx, command[0], append(command[1:], args...)...)
}

// find looks for a program in the folder of the servers.
func (f *fleet) find(name string) (string, error) {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(f.programs, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s does not exist: build it with 'make build'", path)
	}
	return path, nil
}

// target is p's client for its running server.
func (f *fleet) target(ctx context.Context, p peer.Peer) (bench.Target, error) {
	return f.targetOf(ctx, p, bench.Setup{})
}

// targetOf is target for a server that is set up in that way.
func (f *fleet) targetOf(ctx context.Context, p peer.Peer, setup bench.Setup) (bench.Target, error) {
	server, err := f.with(ctx, p, setup)
	if err != nil {
		return bench.Target{}, err
	}
	t, err := p.Target(server.Addr, server.PID())
	if err != nil {
		return t, fmt.Errorf("%s: %w", p.Name, err)
	}
	return t, nil
}
