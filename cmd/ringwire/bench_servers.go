package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/engine"
)

// baselines are the programs that are anet's servers, the newest first.
var baselines = []struct{ system, program string }{
	{bench.AnetV1, "anet-v1-baseline-server"},
	{bench.AnetV0, "anet-baseline-server"},
}

// servers starts the server processes of a benchmark and knows those that run.
type servers struct {
	ctx      context.Context
	flags    benchFlags
	secure   *tls.Config       // of our client; nil: plain
	self     string            // this program
	programs map[string]string // of the baselines, by system
	running  map[key]bench.Server
	children []*proc.Child
}

// key is what tells servers apart.
type key struct {
	system string
	setup  bench.Setup
}

// targets finds the programs and starts a server process for each system.
func (s *servers) targets(cfg bench.Config) ([]bench.Target, error) {
	var err error
	if s.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program, which is also the server: %w", err)
	}
	s.running, s.programs = make(map[key]bench.Server), make(map[string]string)
	for _, b := range baselines {
		if s.flags.baseline != bench.Anet {
			break
		}
		if s.programs[b.system], err = findBaseline(s.self, b.program); err != nil {
			return nil, err
		}
	}
	ours, err := s.start(bench.Ringwire, bench.Setup{})
	if err != nil {
		return nil, err
	}
	adjust := func(c *engine.Config) {
		c.ConnsPerAddr, c.BusyPoll, c.TLS = cfg.Conns, s.flags.busyPoll, s.secure
	}
	targets := []bench.Target{
		bench.NewRingwireVariant(bench.Ringwire, ours.Addr, ours.PID, adjust)}
	for _, b := range baselines {
		if s.programs[b.system] == "" {
			continue
		}
		theirs, err := s.start(b.system, bench.Setup{})
		if err != nil {
			return nil, err
		}
		targets = append(targets, bench.NewAnet(b.system, theirs.Addr, theirs.PID, cfg.Conns))
	}
	return targets, nil
}

// start returns the server of the system with the setup, which it starts unless it runs.
func (s *servers) start(system string, setup bench.Setup) (bench.Server, error) {
	k := key{system, setup}
	if server, ok := s.running[k]; ok {
		return server, nil
	}
	path, args := s.command(system, setup)
	child, err := proc.Start(s.ctx, path, args...)
	if err != nil {
		return bench.Server{}, err
	}
	s.children = append(s.children, child)
	s.running[k] = bench.Server{Addr: child.Addr, PID: child.PID()}
	return s.running[k], nil
}

// command is what starts such a server.
func (s *servers) command(system string, setup bench.Setup) (path string, args []string) {
	args = []string{"--addr", "127.0.0.1:0", "--stdin"}
	if setup.Latency > 0 {
		args = append(args, "--latency", setup.Latency.String())
	}
	if program, ok := s.programs[system]; ok {
		return program, args
	}
	busyPoll := s.flags.busyPoll
	if setup.NoPolling {
		busyPoll = -1
	}
	args = append(args, s.flags.tls.arguments()...)
	return s.self, append([]string{"serve", "--loops", strconv.Itoa(s.flags.loops),
		"--busy-poll", busyPoll.String(), "--workers", strconv.Itoa(setup.Workers)}, args...)
}

// stop ends the servers.
func (s *servers) stop() {
	for _, child := range s.children {
		child.Stop()
	}
}

// findBaseline looks for a baseline's server beside this program, then in PATH.
func findBaseline(self, name string) (string, error) {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", usageError("%s is neither beside %s nor in PATH: build it with 'make build', "+
		"or use --baseline none", name, self)
}
