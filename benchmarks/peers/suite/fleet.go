package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// fleet is the servers that run, each in a process of its own. One goroutine
// uses it.
type fleet struct {
	self     string // this program, which is also most of the servers
	programs string // folder of the others
	servers  map[string]*proc.Child
}

func newFleet(programs string) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which is also the servers: %w", err)
	}
	if programs == "" {
		programs = filepath.Dir(self)
	}
	return &fleet{self: self, programs: programs, servers: make(map[string]*proc.Child)}, nil
}

func (f *fleet) stop() {
	for _, server := range f.servers {
		server.Stop()
	}
	clear(f.servers)
}

// server returns the running server of p, and starts it if need be.
func (f *fleet) server(ctx context.Context, p peer.Peer) (*proc.Child, error) {
	if server := f.servers[p.Name]; server != nil {
		return server, nil
	}
	server, err := f.start(ctx, p)
	if err != nil {
		return nil, err
	}
	f.servers[p.Name] = server
	return server, nil
}

// start runs another server of p, which the caller stops.
func (f *fleet) start(ctx context.Context, p peer.Peer) (*proc.Child, error) {
	command := append([]string{f.self, "serve", p.Name}, "--stdin")
	if p.Program != nil {
		path, err := f.find(p.Program[0])
		if err != nil {
			return nil, err
		}
		command = append(append([]string{path}, p.Program[1:]...), "--addr", "127.0.0.1:0", "--stdin")
	}
	return proc.Start(ctx, command[0], command[1:]...)
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
	server, err := f.server(ctx, p)
	if err != nil {
		return bench.Target{}, err
	}
	t, err := p.Target(server.Addr, server.PID())
	if err != nil {
		return t, fmt.Errorf("%s: %w", p.Name, err)
	}
	return t, nil
}
