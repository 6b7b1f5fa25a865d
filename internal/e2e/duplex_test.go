package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// narrow gives a socket buffers of tinyBuffer. It must be done before the socket is
// connected: to a TCP connection that has offered a large window it takes the speed.
func narrow(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = shrinkBuffers(fd, tinyBuffer) })
	if failed != nil {
		return failed
	}
	return err
}

// narrowListener accepts connections with buffers of tinyBuffer. TCP connections inherit
// them from the listener, others do not.
type narrowListener struct{ net.Listener }

func (l narrowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err == nil {
		err = narrow("", "", raw)
	}
	return c, err
}

func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Control: narrow}
	return d.DialContext(ctx, network, addr)
}

// TestLargeRequestsInBothDirectionsNeverStall: 512 callers send requests of 60,000 bytes
// that come back, over one connection whose buffers hold a fifteenth of one. Both ends
// write nearly always. A server by hand does not read while it writes, so if the client
// did not either, neither would go on.
func TestLargeRequestsInBothDirectionsNeverStall(t *testing.T) {
	callers, size := sized(128, 512), 60_000
	rounds := sized(1, 30)
	for _, network := range []string{"tcp", "unix"} {
		for name, serve := range map[string]func(*testing.T, net.Listener){"server": serveEcho, "by hand": serveByHand} {
			t.Run(network+"/"+name, func(t *testing.T) {
				checkLeaks(t)
				ln := listenNarrow(t, network)
				serve(t, ln)
				b := newBroker(t, engine.Config{
					Addrs: []string{network + "://" + ln.Addr().String()}, ConnsPerAddr: 1, DialContext: dialNarrow,
					RequestTimeout: -1, ReadTimeout: -1, WriteTimeout: -1, // a stall is what the test finds
				})
				longest := flood(t, b, callers, rounds, size)
				require.NoError(t, b.Close()) // so that all is counted
				s := b.Stats()
				t.Logf("longest time without a reply %v\nbroker %+v", longest, s)
				assert.EqualValues(t, callers*rounds, s.Replies)
				assert.EqualValues(t, callers*rounds, s.FramesOut, "each is sent once")
				assert.EqualValues(t, 1, s.Dials)
				assert.Less(t, longest, stallBound)
			})
		}
	}
}

// stallBound is how long no reply may come while requests are open.
const stallBound = 5 * time.Second

// listenNarrow listens on a free address.
func listenNarrow(t *testing.T, network string) net.Listener {
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	listen := net.ListenConfig{Control: narrow}
	ln, err := listen.Listen(context.Background(), network, at)
	require.NoError(t, err)
	return narrowListener{ln}
}

// serveEcho returns what it gets.
func serveEcho(t *testing.T, ln net.Listener) {
	s, err := server.New(server.Config{
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			return append(dst, req...), nil
		}),
	})
	require.NoError(t, err)
	require.NoError(t, s.Serve(ln))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
}

// serveByHand returns what it gets, and takes no more before that has gone.
func serveByHand(t *testing.T, ln net.Listener) {
	newPeerOn(t, ln, func(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) })
}

// flood has callers send one request after another, and returns the longest time in
// which no reply came. It gives up, with a failure, when nothing moves for stallBound.
func flood(t *testing.T, b *engine.Broker, callers, rounds, size int) (longest time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	var wrong atomic.Int64
	replies := make(chan struct{}, callers)
	for caller := range callers {
		wg.Go(func() {
			req := bytes.Repeat([]byte{byte(caller)}, size)
			for round := range rounds {
				binary.BigEndian.PutUint32(req, uint32(caller*rounds+round))
				reply, err := b.Send(ctx, req)
				if err != nil || !bytes.Equal(reply, req) {
					wrong.Add(1)
				}
				replies <- struct{}{}
			}
		})
	}
	last := time.Now()
	for range callers * rounds {
		select {
		case <-replies:
			longest = max(longest, time.Since(last))
			last = time.Now()
		case <-time.After(stallBound):
			t.Errorf("no reply for %v\nbroker %+v", stallBound, b.Stats())
			cancel()
			<-replies
		}
	}
	wg.Wait()
	assert.Zero(t, wrong.Load(), "calls without their reply")
	return longest
}
