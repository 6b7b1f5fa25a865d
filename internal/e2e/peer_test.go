package e2e

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A peer is a server made by hand, for what a real one never does.
type peer struct {
	ln     net.Listener
	handle func(net.Conn)
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	conns  map[net.Conn]struct{}
	closed bool
}

// newPeer runs handle for every connection. The connection is closed when handle
// returns, and under it when the peer is.
func newPeer(t testing.TB, handle func(net.Conn)) *peer {
	t.Helper()
	return newPeerAt(t, "tcp", "127.0.0.1:0", handle)
}

func newPeerAt(t testing.TB, network, addr string, handle func(net.Conn)) *peer {
	t.Helper()
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	return newPeerOn(t, ln, handle)
}

// newPeerOn owns ln.
func newPeerOn(t testing.TB, ln net.Listener, handle func(net.Conn)) *peer {
	p := &peer{ln: ln, handle: handle, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *peer) addr() string { return p.ln.Addr().String() }

func (p *peer) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_ = c.Close()
			return
		}
		p.conns[c] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
			p.handle(c)
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
	}
}

// close may be called more than once.
func (p *peer) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
