package faultnet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSeed = 0x5eed

// bound is how long a test waits for what must happen.
const bound = 10 * time.Second

// serve runs handle for each connection to a listener and stops with the test.
func serve(t testing.TB, network, addr string, handle func(net.Conn)) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * bound))
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln
}

func echo(c net.Conn) {
	_, _ = io.Copy(c, struct{ io.Reader }{c})
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
}

// start returns a proxy before target that is closed before the target's server
// waits for its connections.
func start(t testing.TB, cfg Config) *Proxy {
	t.Helper()
	cfg.Seed = testSeed
	p, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func dial(t testing.TB, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr(), bound)
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(bound)))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// dialAndRead returns the error of whichever sees a reset at accept first.
func dialAndRead(p *Proxy) error {
	c, err := net.DialTimeout("tcp", p.Addr(), bound)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(bound))
	_, err = c.Read(make([]byte, 1))
	return err
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = src.Read(b)
	return b
}

// roundTrip sends want to an echo server and returns what came back.
func roundTrip(c *net.TCPConn, want []byte) ([]byte, error) {
	errs := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		errs <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	return got, errors.Join(err, <-errs)
}

func TestBytesComeThroughIntact(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		size int
	}{
		{"no faults", Config{}, 4 << 20},
		{"splits", Config{SplitRate: 1, SplitMax: 3}, 32 << 10},
		{"merges", Config{MergeRate: 1, MergeMax: 20_000}, 1 << 20},
		{"everything", Config{SplitRate: 0.3, MergeRate: 0.3, DelayRate: 0.05, MergeMax: 4 << 10}, 1 << 20},
		{"throttle", Config{BytesPerSecond: 1 << 20}, 128 << 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const conns = 4
			tc.cfg.Target = serve(t, "tcp", "127.0.0.1:0", echo).Addr().String()
			p := start(t, tc.cfg)
			var wg sync.WaitGroup
			var failed [conns]error
			for i := range conns {
				c, want := dial(t, p), noise(tc.size, uint64(i))
				wg.Go(func() {
					got, err := roundTrip(c, want)
					if err == nil && !bytes.Equal(got, want) {
						err = errors.New("bytes differ")
					}
					failed[i] = err
				})
			}
			wg.Wait()
			assert.NoError(t, errors.Join(failed[:]...))
			s := p.Stats()
			assert.EqualValues(t, conns, s.Conns)
			assert.EqualValues(t, conns*tc.size, s.BytesUp)
			assert.EqualValues(t, conns*tc.size, s.BytesDown)
			assert.Equal(t, tc.cfg.SplitRate > 0, s.Splits > 0)
			assert.Equal(t, tc.cfg.MergeRate > 0, s.Merges > 0)
			assert.Equal(t, tc.cfg.DelayRate > 0, s.Delays > 0)
			assert.Zero(t, s.Resets+s.HalfCloses)
		})
	}
}

func TestMergedBytesGoOnAfterTheirWait(t *testing.T) {
	p := start(t, Config{
		Target:    serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(),
		MergeRate: 1,
	})
	c := dial(t, p)
	for range 20 { // each less than a segment, none followed by a FIN
		_, err := c.Write([]byte("abc"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 3))
		require.NoError(t, err)
	}
}

func TestUnixTargetIsReached(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, "unix", path, echo)
	p := start(t, Config{Target: "unix://" + path})
	got, err := roundTrip(dial(t, p), []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
}

func TestResetIsSeenAsECONNRESET(t *testing.T) {
	p := start(t, Config{
		Target:     serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(),
		ResetAfter: Range{1000, 2000},
	})
	c := dial(t, p)
	_, err := roundTrip(c, noise(4000, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	assert.EqualValues(t, 1, p.Stats().Resets)
}

// TestResetPositionReplaysFromTheSeed looks at the proxy from outside: the same
// seed forwards the same number of bytes on the nth connection.
func TestResetPositionReplaysFromTheSeed(t *testing.T) {
	forwarded := func(t *testing.T) (each []uint64) {
		sink := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
		p := start(t, Config{
			Target:     serve(t, "tcp", "127.0.0.1:0", sink).Addr().String(),
			ResetAfter: Range{1, 10_000}, DropTail: 500, SplitRate: 0.2,
		})
		for range 20 {
			before := p.Stats().BytesUp
			c := dial(t, p)
			_, _ = c.Write(make([]byte, 10_000))
			_, err := io.Copy(io.Discard, c)
			require.ErrorIs(t, err, syscall.ECONNRESET)
			each = append(each, p.Stats().BytesUp-before)
		}
		return each
	}
	first := forwarded(t)
	assert.Equal(t, first, forwarded(t))
	assert.NotEqual(t, first[0], first[1], "each connection has its own decisions")
	for i := range first {
		assert.EqualValues(t, newPlan(&Config{
			Seed: testSeed, ResetAfter: Range{1, 10_000}, DropTail: 500,
		}, uint64(i), up).forward, first[i])
	}
}

func TestHalfCloseEndsOneDirectionOnly(t *testing.T) {
	reply := noise(50_000, 2)
	got := make(chan int, 1)
	p := start(t, Config{
		Target: serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			n, _ := io.Copy(io.Discard, c) // ends with the proxy's FIN
			got <- int(n)
			_, _ = c.Write(reply)
		}).Addr().String(),
		HalfCloseAfter: Range{60_000, 60_000}, // the reply stays below it
	})
	c := dial(t, p)
	_, err := c.Write(noise(100_000, 3))
	require.NoError(t, err)
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, reply, back)
	assert.Equal(t, 60_000, <-got)
	assert.EqualValues(t, 1, p.Stats().HalfCloses)
}

func TestHalfClosedConnectionIsBrokenAfterItsLinger(t *testing.T) {
	p := start(t, Config{
		Target:         serve(t, "tcp", "127.0.0.1:0", hold).Addr().String(),
		HalfCloseAfter: Range{5000, 5000}, HalfCloseLinger: 20 * time.Millisecond,
	})
	c := dial(t, p)
	_, err := c.Write(make([]byte, 6000))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, c) // neither end closes: only the linger does
	require.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Zero(t, p.Stats().Resets, "not a reset by decision")
}

// hold writes a byte a millisecond until its peer breaks the connection. It
// reads nothing and never closes first.
func hold(c net.Conn) {
	for {
		if _, err := c.Write([]byte{0}); err != nil {
			return
		}
		if !sleep(nil, time.Millisecond) {
			return
		}
	}
}

func TestResetAllResetsEveryOpenConnection(t *testing.T) {
	p := start(t, Config{Target: serve(t, "tcp", "127.0.0.1:0", echo).Addr().String()})
	conns := make([]*net.TCPConn, 5)
	for i := range conns {
		conns[i] = dial(t, p)
		_, err := conns[i].Write([]byte{1})
		require.NoError(t, err)
		_, err = conns[i].Read(make([]byte, 1))
		require.NoError(t, err)
	}
	assert.Equal(t, len(conns), p.ResetAll())
	for _, c := range conns {
		_, err := c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
	assert.EqualValues(t, len(conns), p.Stats().Resets)
	assert.Zero(t, p.ResetAll())
	assert.Eventually(t, func() bool { return p.Stats().Active == 0 }, bound, time.Millisecond)
}

func TestPauseHoldsBytesUntilResume(t *testing.T) {
	p := start(t, Config{Target: serve(t, "tcp", "127.0.0.1:0", echo).Addr().String()})
	c := dial(t, p)
	require.NoError(t, exchange(c, []byte{6}))
	before := p.Stats()
	p.Pause()
	p.Pause() // harmless
	_, err := c.Write([]byte{7})
	require.NoError(t, err)
	late := dial(t, p) // accepted, not connected
	require.Eventually(t, func() bool { return p.Stats().Held == 2 }, bound, time.Millisecond)
	assert.Equal(t, before.BytesUp, p.Stats().BytesUp)
	assert.Equal(t, before.Conns, p.Stats().Conns)

	p.Resume()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(bound)))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err, "what waited is forwarded")
	got, err := roundTrip(late, []byte("late"))
	require.NoError(t, err)
	assert.Equal(t, "late", string(got))
}

func TestThrottleTakesAtLeastItsTime(t *testing.T) {
	p := start(t, Config{
		Target:         serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(),
		BytesPerSecond: 20_000,
	})
	begin := time.Now()
	_, err := roundTrip(dial(t, p), make([]byte, 2000))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(begin), 100*time.Millisecond)
}

func TestConnectionsOverTheLimitAreReset(t *testing.T) {
	p := start(t, Config{Target: serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(), MaxConns: 1})
	first := dial(t, p)
	_, err := first.Write([]byte{1})
	require.NoError(t, err)
	_, err = first.Read(make([]byte, 1))
	require.NoError(t, err)
	require.ErrorIs(t, dialAndRead(p), syscall.ECONNRESET)
	assert.EqualValues(t, 1, p.Stats().Refused)
}

func TestUnreachableTargetResetsTheClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	target := ln.Addr().String()
	require.NoError(t, ln.Close())
	p := start(t, Config{Target: target})
	require.ErrorIs(t, dialAndRead(p), syscall.ECONNRESET)
	assert.EqualValues(t, 1, p.Stats().DialErrors)
}
