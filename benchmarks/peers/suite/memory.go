package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/ringwire/ringwire/framing"
)

const (
	memoryTitle = "Memory of the server for connections that were used once and are idle"
	memoryConns = 8000
	// memoryTLSConns are fewer, because they cost more and take a handshake each.
	memoryTLSConns = 2000
	// memoryWarmUp connections come first, so that what a server needs once is
	// not divided among the others.
	memoryWarmUp = 200
	memoryRounds = 3
	// memorySettle is how long the server may take to give back what it no longer
	// needs before its memory is read.
	memorySettle = 500 * time.Millisecond
	dialTimeout  = 5 * time.Second
)

// Memory is what idle connections cost a server's process.
type Memory struct {
	System string `json:"system"`
	Conns  int    `json:"conns"`
	// BytesPerConn is the growth of the process's anonymous memory divided by the
	// connections, one figure a round; every round has a new server.
	BytesPerConn []float64 `json:"bytes_per_conn_rounds"`
}

// Those that are compared: event loops, anet, and a goroutine with a buffer for each
// connection; over TLS, our server, and a bare tls.Conn with a goroutine that waits in Read,
// which is the share of crypto/tls.
var (
	memoryPeers    = []string{bench.Ringwire, bench.Anet, "net.Conn"}
	memoryTLSPeers = []string{bench.Ringwire, "net.Conn"}
)

// idle are the systems whose memory is measured, and their rows.
func (b *builder) idle() (peers []peer.Peer, rows []Memory, err error) {
	for _, name := range memoryPeers {
		if p, _ := peer.Find(name); b.wanted(p) {
			peers, rows = append(peers, p), append(rows, Memory{System: name, Conns: memoryConns})
		}
	}
	id, err := b.identity()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range memoryTLSPeers {
		if p, _ := peer.Find(name); b.wanted(p) {
			peers = append(peers, p.Secured(id))
			rows = append(rows, Memory{System: securedName(name), Conns: memoryTLSConns})
		}
	}
	return peers, rows, nil
}

// securedName is that of a system over TLS where the one without it has a row, too.
func securedName(name string) string {
	if name == "net.Conn" {
		return "a bare tls.Conn and a goroutine"
	}
	return name + " over TLS"
}

// measureMemory runs all rounds, interleaved.
func (b *builder) measureMemory(ctx context.Context, rounds int, progress func(string)) ([]Memory, error) {
	peers, results, err := b.idle()
	if err != nil {
		return nil, err
	}
	for round := range min(rounds, memoryRounds) {
		for i := range results {
			progress(fmt.Sprintf("round %d: %s, %d idle connections", round+1, results[i].System, results[i].Conns))
			bytes, err := b.idleBytes(ctx, peers[i], results[i].Conns)
			if err != nil {
				return results, fmt.Errorf("memory: %s: %w", results[i].System, err)
			}
			results[i].BytesPerConn = append(results[i].BytesPerConn, bytes)
		}
	}
	return results, nil
}

// idleBytes starts a server, connects, and reads how much the server's memory
// has grown per connection.
func (b *builder) idleBytes(ctx context.Context, p peer.Peer, conns int) (float64, error) {
	server, err := b.fleet.start(ctx, p, idleArgs(p)...)
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	message := make([]byte, payload)
	if p.Name != "net.Conn" { // the others speak our frame
		if message, err = framing.Append(nil, 1, message); err != nil {
			return 0, err
		}
	}
	open := idleConns{dial: func() (net.Conn, error) { return p.Identity.Dial(server.Addr) }}
	defer open.close()
	if err := open.add(ctx, memoryWarmUp, message); err != nil {
		return 0, err
	}
	before, err := settled(ctx, server.PID())
	if err != nil {
		return 0, err
	}
	if err := open.add(ctx, conns, message); err != nil {
		return 0, err
	}
	after, err := settled(ctx, server.PID())
	return float64(after-before) / float64(conns), err
}

// idleArgs are the arguments of a server whose memory is read: without them the garbage of
// handshakes counts.
func idleArgs(p peer.Peer) []string {
	if p.Identity == nil {
		return nil
	}
	return []string{"--trim"}
}

// settled is the process's memory after a pause.
func settled(ctx context.Context, pid int) (int64, error) {
	timer := time.NewTimer(memorySettle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return proc.RSS(pid)
}

// idleConns are connections that are held open.
type idleConns struct {
	dial func() (net.Conn, error)
	open []net.Conn
}

// add opens n connections, each of which carries one message and its reply.
func (c *idleConns) add(ctx context.Context, n int, message []byte) error {
	reply := make([]byte, len(message))
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		c.open = append(c.open, conn)
		_ = conn.SetDeadline(time.Now().Add(dialTimeout))
		if _, err := conn.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, reply); err != nil {
			return err
		}
		if string(reply) != string(message) {
			return errors.New("wrong reply: it is not the request's echo")
		}
	}
	return nil
}

func (c *idleConns) close() {
	for _, conn := range c.open {
		_ = conn.Close()
	}
}
