package peer

import (
	"context"
	"io"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// netConnBuffer is what the raw server reads at once, and holds per connection.
const netConnBuffer = 64 << 10

// NetConn is a bare net.Conn without frames: what Go's network costs when a
// connection carries one request at a time and a goroutine serves it.
func NetConn() Peer {
	const note = perCaller + ", no frames, a goroutine on either side"
	target := func(addr string, pid int) (bench.Target, error) {
		return blocking("net.Conn", note, pid, func(_ context.Context, callers int) (bench.Client, error) {
			return dialLines(callers, func() (line, error) {
				conn, err := net.DialTimeout("tcp", addr, dialTimeout)
				if err != nil {
					return nil, err
				}
				return netLine{conn}, nil
			})
		}), nil
	}
	return Peer{Name: "net.Conn", Note: note, Serve: serveNetConn, Target: target}
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

// serveNetConn echoes whatever arrives, with a goroutine for each connection,
// which ends when its client does.
func serveNetConn(addr string) (*Server, error) {
	accept := func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go echoStream(conn)
		}
	}
	return serve(addr, accept, func() {})
}

func echoStream(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, netConnBuffer)
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
