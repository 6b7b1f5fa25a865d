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
	"time"

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
	// ServerNote is that of the server where its clients are the same as the others'.
	ServerNote string
	// Serve starts the echo server at addr, HOST:PORT, where port 0 takes a free
	// one. It is nil for the systems whose server is a program of its own.
	Serve func(addr string) (*Server, error)
	// Late is Serve with a handler that waits so long before it answers, and lets others
	// answer meanwhile. It is nil where there is none, and for the programs, of which those
	// that can wait have a flag.
	Late func(addr string, latency time.Duration) (*Server, error)
	// Program is that program, which lies beside this one, and its arguments.
	Program []string
	// Secured is the same system over TLS, under the same name, whose server shows the identity
	// and whose client trusts nothing else. It is nil for those that are not measured so.
	Secured func(*Identity) Peer
	// Identity is that of a system over TLS; nil: it is plain.
	Identity *Identity
	// Target is the client for the server at addr, whose process, or the process
	// that started it, is pid.
	Target func(addr string, pid int) (bench.Target, error)
	// Window is how its client has many requests in flight at once; nil: with a goroutine for each.
	Window *Window
	// Missing says why this machine cannot run it, "" when it can; nil: every one can.
	Missing func() string
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

// Servers lists those that have no client of their own, and are measured with the same
// clients: LightServers, Polling.
func Servers() []Peer { return []Peer{Goroutines(), Gnet(), Netpoll(), Polling()} }

// Secured are ringwire and its peers over TLS with the identity, in the order of reports.
func Secured(id *Identity) []Peer {
	var all []Peer
	for _, p := range All() {
		if p.Secured != nil {
			all = append(all, p.Secured(id))
		}
	}
	return all
}

// Find returns the peer, or the server, of that name.
func Find(name string) (Peer, bool) {
	all := slices.Concat(All(), Servers())
	if i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name }); i >= 0 {
		return all[i], true
	}
	return Peer{}, false
}

// Ringwire is our own system with its defaults.
func Ringwire() Peer {
	return Peer{Name: bench.Ringwire, Program: []string{"ringwire", "serve"}, Secured: ringwireOver,
		Window: ringwireWindow(),
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

// RingwireTwoLoops is our own system with two event loops. It is no peer of its own.
func RingwireTwoLoops() Peer {
	p := Ringwire()
	p.Name, p.Program = bench.Ringwire+" Loops 2", []string{"ringwire", "serve", "--loops", "2"}
	return p
}

// late is Serve of a system that can wait, without waiting.
func late(serve func(addr string, latency time.Duration) (*Server, error)) func(addr string) (*Server, error) {
	return func(addr string) (*Server, error) { return serve(addr, 0) }
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

// wait is what a handler does that waits.
func wait(latency time.Duration) {
	if latency > 0 {
		time.Sleep(latency)
	}
}

// blocking is the target of a client that has nothing but calls.
func blocking(name, note string, pid int, dial dialer) bench.Target {
	return bench.Target{Name: name, Note: note, APIs: []bench.API{bench.Blocking}, PID: pid, Dial: dial}
}
