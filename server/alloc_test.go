//go:build !race

package server

import (
	"fmt"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/invariant"
)

// fakeConn is what the loop's callbacks use of a gnet connection.
type fakeConn struct {
	gnet.Conn
	conn    *Conn
	in      []byte
	written int
}

func (c *fakeConn) Context() any                { return c.conn }
func (c *fakeConn) Peek(int) ([]byte, error)    { return c.in, nil }
func (c *fakeConn) Discard(n int) (int, error)  { return n, nil }
func (c *fakeConn) Write(p []byte) (int, error) { c.written += len(p); return len(p), nil }
func (c *fakeConn) OutboundBuffered() int       { return 0 }

// traffic returns a front with one connection, open, without an event loop.
func traffic(t testing.TB, cfg Config) (*front, *fakeConn) {
	s, err := New(cfg)
	require.NoError(t, err)
	f := &front{srv: s}
	gc := &fakeConn{conn: &Conn{srv: s}}
	gc.conn.begin(onlyLink{&gnetLink{conn: gc}}, newLoop())
	return f, gc
}

// onlyLink is a link whose event loop has nothing else to do.
type onlyLink struct{ *gnetLink }

func (onlyLink) hear(bool, bool) bool { return true }
func (onlyLink) othersWait() bool     { return false }

func TestRequestPathDoesNotAlloc(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "small": 64, "large": framing.MaxPayload} {
		t.Run(name, func(t *testing.T) {
			f, gc := traffic(t, Config{Handler: HandlerFunc(echo), LatencyEvery: 1})
			frame, err := framing.Append(nil, 1, make([]byte, size))
			require.NoError(t, err)
			for len(gc.in) < readBufferBytes {
				gc.in = append(gc.in, frame...)
			}
			turn := func() {
				if f.OnTraffic(gc) != gnet.None {
					t.Fatal("closed")
				}
			}
			turn() // the output buffer grows to its size
			gc.written = 0
			require.Zero(t, testing.AllocsPerRun(200, turn))
			require.Equal(t, 201*len(gc.in), gc.written, "everything was echoed")
		})
	}
}

// A frame that arrives in two reads borrows a buffer and gives it back.
func TestStraddlingFrameDoesNotAlloc(t *testing.T) {
	f, gc := traffic(t, Config{Handler: HandlerFunc(echo)})
	frame, err := framing.Append(nil, 1, make([]byte, 1000))
	require.NoError(t, err)
	turn := func() {
		for _, part := range [][]byte{frame[:1], frame[1:500], frame[500:]} {
			gc.in = part
			f.OnTraffic(gc)
		}
	}
	if invariant.Enabled {
		t.Skip("the assertions allocate")
	}
	// So many returns that the pools have learned what comes back, and would drop
	// what they take for too large.
	for range 100_000 {
		turn()
	}
	require.Zero(t, testing.AllocsPerRun(200, turn))
}

func BenchmarkTurn(b *testing.B) {
	for _, frames := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("frames=%d", frames), func(b *testing.B) {
			f, gc := traffic(b, Config{Handler: HandlerFunc(echo)})
			for range frames {
				gc.in, _ = framing.Append(gc.in, 1, make([]byte, 64))
			}
			b.ReportAllocs()
			for b.Loop() {
				f.OnTraffic(gc)
			}
		})
	}
}
