package engine

import (
	"bufio"
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// peer is a server for tests: it hands every request to answer, which may reply
// now, later or never through the connection it is given.
type peer struct {
	t      *testing.T
	ln     net.Listener
	answer func(c *peerConn, id taskid.ID, req []byte)
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[*peerConn]bool
}

type peerConn struct {
	net.Conn
	mu sync.Mutex
}

// reply sends one frame.
func (c *peerConn) reply(id taskid.ID, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := framing.Append(nil, id, payload)
	if err == nil {
		c.Write(b) // the client may be gone: that is for the test to notice
	}
}

// echo answers at once.
func echo(c *peerConn, id taskid.ID, req []byte) { c.reply(id, req) }

// silent never answers.
func silent(*peerConn, taskid.ID, []byte) {}

func newPeer(t *testing.T, answer func(*peerConn, taskid.ID, []byte)) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &peer{t: t, answer: answer, conns: map[*peerConn]bool{}}
	p.serve(ln)
	t.Cleanup(p.close)
	return p
}

// serve accepts on ln, in place of what the peer listened on before.
func (p *peer) serve(ln net.Listener) {
	if p.ln != nil {
		p.ln.Close()
	}
	p.ln = ln
	p.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.attach(nc)
		}
	})
}

// attach serves one connection.
func (p *peer) attach(nc net.Conn) {
	c := &peerConn{Conn: nc}
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		defer nc.Close()
		r := framing.NewReader(bufio.NewReaderSize(nc, 64<<10), framing.Format{})
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			p.answer(c, f.ID, append([]byte(nil), f.Payload...))
		}
	}()
}

func (p *peer) addr() string { return p.ln.Addr().String() }

// reset closes every connection with a RST.
func (p *peer) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tc, ok := c.Conn.(*net.TCPConn); ok {
			tc.SetLinger(0)
		}
		c.Close()
		delete(p.conns, c)
	}
}

func (p *peer) close() {
	p.ln.Close()
	p.reset()
	p.wg.Wait()
}

// oneConn makes a test that counts connections independent of the processors.
func oneConn(cfg Config) Config {
	if cfg.ConnsPerAddr == 0 {
		cfg.ConnsPerAddr = 1
	}
	return cfg
}

// newBroker returns a broker that is closed, and must have left nothing behind,
// at the end of the test.
func newBroker(t *testing.T, cfg Config) *Broker {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	b, err := New(oneConn(cfg))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, b.Close())
		s := b.Stats()
		require.Zero(t, s.InFlight)
		require.Equal(t, s.Accepted, s.Replies+s.Failed+s.Timeouts+s.Cancelled, "%+v", s)
		goleak.VerifyNone(t, leaks)
	})
	return b
}

// ready waits until the broker has a connection.
func ready(t *testing.T, b *Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, b.WaitReady(ctx))
}

// until waits for a condition that comes true by itself. The bound is the test
// binary's.
func until(cond func() bool) {
	for !cond() {
		runtime.Gosched()
	}
}

// rawEcho returns bytes as they come: for frames that is an echo server, and it
// does not allocate, so that what a test counts is the broker's.
func rawEcho(tb testing.TB) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf := make([]byte, 256<<10)
				for {
					n, err := nc.Read(buf)
					if err != nil {
						return
					}
					if _, err := nc.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}
