package peer

import (
	"context"
	"io"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// What the raw server reads at once, and holds per connection. Over TLS it is so little that
// nearly all of a connection's memory is that of crypto/tls.
const (
	netConnBuffer = 64 << 10
	tlsConnBuffer = 512
)

// NetConn is a bare net.Conn without frames: what Go's network costs when a
// connection carries one request at a time and a goroutine serves it.
func NetConn() Peer { return netConnOver(nil) }

// netConnOver appears in results as "tls.Conn" if there is an identity.
func netConnOver(id *Identity) Peer {
	const note = perCaller + ", no frames, a goroutine on either side"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking(id.bare(), note, pid, func(_ context.Context, callers int) (bench.Client, error) {
			return dialLines(callers, func() (line, error) {
				conn, err := id.Dial(addr)
				if err != nil {
					return nil, err
				}
				return netLine{conn}, nil
			})
		}), nil
	}
	serve := func(addr string) (*Server, error) { return serveStreams(id, addr) }
	return Peer{Name: "net.Conn", Note: note, Serve: serve, Target: target, Secured: netConnOver, Identity: id}
}

type netLine struct{ conn net.Conn }

func (l netLine) call(dst, req []byte) ([]byte, error) {
	if _, err := l.conn.Write(req); err != nil {
		return nil, err
	}
	reply := append(dst, req...)[:len(req)] // grows dst; the bytes are overwritten
	clear(reply)
	_, err := io.ReadFull(l.conn, reply)
	return reply, err
}

func (l netLine) close() error { return l.conn.Close() }

// serveStreams echoes whatever arrives, with a goroutine for each connection,
// which ends when its client does.
func serveStreams(id *Identity, addr string) (*Server, error) {
	size := netConnBuffer
	if id != nil {
		size = tlsConnBuffer
	}
	accept := func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go echoStream(conn, size)
		}
	}
	return serve(addr, func(l net.Listener) { accept(id.over(l)) }, func() {})
}

func echoStream(conn net.Conn, size int) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, size)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}
