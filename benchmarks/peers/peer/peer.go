// Package peer has one file for each system that ringwire is compared with: how
// its echo server runs, and how its client is reached through the harness's
// interface. Every adapter uses the fastest configuration that the system's own
// documentation recommends for many callers on one connection, sends the
// harness's bytes as they are, and returns the reply for the harness to check.
package peer

import (
	"net"
	"runtime/debug"
	"slices"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/engine"
)

// Peer is one system.
type Peer struct {
	// Name is that of the system in results, and of its server on the command line.
	Name string
	// Module is the Go module whose version is reported; "" when it is no module.
	Module string
	// Note is what a reader must know to compare it; "" when there is nothing.
	Note string
	// Serve starts the echo server at addr, HOST:PORT, where port 0 takes a free
	// one. It is nil for the systems whose server is a program of its own.
	Serve func(addr string) (*Server, error)
	// Program is that program, which lies beside this one, and its arguments.
	Program []string
	// Target is the client for the server at addr, whose process, or the process
	// that started it, is pid.
	Target func(addr string, pid int) (bench.Target, error)
}

// Server is a running server.
type Server struct {
	Addr  string // HOST:PORT
	Close func() // ends it; called once
}

// All lists ringwire and its peers, in the order of reports.
func All() []Peer {
	return []Peer{Ringwire(), Anet(), AnetV0(), AnetQueue(), Rueidis(), GRPC(), DRPC(), ARPC(), Gorpc(), Kitex(),
		RPCX(), NATS(), NetConn()}
}

// Find returns the peer of that name.
func Find(name string) (Peer, bool) {
	all := All()
	if i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name }); i >= 0 {
		return all[i], true
	}
	return Peer{}, false
}

// Ringwire is our own system with its defaults.
func Ringwire() Peer {
	return Peer{Name: bench.Ringwire, Program: []string{"ringwire", "serve"},
		Target: func(addr string, pid int) (bench.Target, error) { return bench.NewRingwire(addr, pid, 1), nil }}
}

// RingwireAsleep is our own system without busy polling. It is no peer of its own.
func RingwireAsleep() Peer {
	never := func(c *engine.Config) { c.BusyPoll = -1 }
	const name = bench.Ringwire + " BusyPoll off"
	return Peer{Name: name, Program: []string{"ringwire", "serve", "--busy-poll", "-1ns"},
		Target: func(addr string, pid int) (bench.Target, error) {
			return bench.NewRingwireVariant(name, addr, pid, never), nil
		}}
}

// Version is that of the module in this program; "" when it is not linked.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

// serve runs accept, which returns when the listener closes, on a listener of
// its own. stop ends the server, and with it the listener.
func serve(addr string, accept func(net.Listener), stop func()) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		accept(listener)
	}()
	return &Server{Addr: listener.Addr().String(), Close: func() {
		stop()
		_ = listener.Close()
		<-ended
	}}, nil
}

// blocking is the target of a client that has nothing but calls.
func blocking(name, note string, pid int, dial dialer) bench.Target {
	return bench.Target{Name: name, Note: note, APIs: []bench.API{bench.Blocking}, PID: pid, Dial: dial}
}
