package peer

import (
	"os"
	"runtime/debug"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// securedGCPercent is what "ringwire serve" sets: its command measures the same server.
const securedGCPercent = 25

// ringwireOver is our own system over TLS with its defaults.
func ringwireOver(id *Identity) Peer {
	const note = "its server is in this program, with the defaults of \"ringwire serve\""
	serve := func(addr string) (*Server, error) { return serveRingwire(id, addr) }
	target := func(addr string, pid int) (bench.Target, error) {
		t := bench.NewRingwireVariant(bench.Ringwire, addr, pid, func(c *engine.Config) {
			c.ConnsPerAddr, c.TLS = 1, id.client()
		})
		t.Note = note
		return t, nil
	}
	return Peer{Name: bench.Ringwire, Note: note, Serve: serve, Target: target, Window: ringwireWindow(),
		Secured: ringwireOver, Identity: id}
}

// RingwirePlainName is that of our own system without TLS, beside the one with it.
const RingwirePlainName = bench.Ringwire + " plain"

// RingwirePlain is the system of that name. It is no peer of its own.
func RingwirePlain(addr string, pid int) bench.Target {
	return bench.NewRingwireVariant(RingwirePlainName, addr, pid, func(c *engine.Config) { c.ConnsPerAddr = 1 })
}

// serveRingwire runs our server over TLS. It sets the collector's target of this process.
func serveRingwire(id *Identity, addr string) (*Server, error) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(securedGCPercent)
	}
	srv, err := server.New(server.Config{Addr: addr, TLS: id.server(),
		Handler: server.HandlerFunc(func(_ *server.Conn, reply, req []byte) ([]byte, error) {
			return append(reply, req...), nil
		})})
	if err != nil {
		return nil, err
	}
	if err := srv.Start(); err != nil {
		return nil, err
	}
	return &Server{Addr: srv.Addr().String(), Close: func() { _ = srv.Close() }}, nil
}
