package faultnet

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exchange sends want to an echo server and reads it back.
func exchange(c net.Conn, want []byte) error {
	if _, err := c.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return io.ErrShortBuffer
	}
	return nil
}

// TestHangHoldsAllConnectionsAndLosesNothing ends hangs by hand, so that time decides
// nothing.
func TestHangHoldsAllConnectionsAndLosesNothing(t *testing.T) {
	var got atomic.Int64
	p := start(t, Config{
		Target: serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			for buf := make([]byte, 1000); ; {
				n, err := c.Read(buf)
				if got.Add(int64(n)); err != nil {
					return
				}
			}
		}).Addr().String(),
		HangAfter: Range{1000, 1000}, HangMax: time.Minute,
	})
	has := func(want int64) {
		t.Helper()
		require.Eventually(t, func() bool { return got.Load() == want }, bound, time.Millisecond)
	}
	one, two := dial(t, p), dial(t, p)
	send := func(c net.Conn, n int) {
		t.Helper()
		_, err := c.Write(make([]byte, n))
		require.NoError(t, err)
	}
	for round := range int64(3) {
		held := min(round, 1) * 200 // of the last round; they count in this one
		send(one, 999-int(held))
		has(1000*round + 999)
		assert.EqualValues(t, round, p.Stats().Hangs)
		send(two, 1)
		has(1000*round + 1000)
		require.Eventually(t, func() bool { return p.Stats().Hangs == uint64(round+1) }, bound, time.Millisecond)

		send(one, 100)
		send(two, 100)
		before, late := p.Stats(), dial(t, p) // accepted, and led nowhere
		require.Eventually(t, func() bool { return p.Stats().Held == 3 }, bound, time.Millisecond)
		assert.EqualValues(t, 1000*round+1000, got.Load())
		assert.Equal(t, before.Conns, p.Stats().Conns)
		p.Resume()
		has(1000*round + 1200)
		require.Eventually(t, func() bool { return p.Stats().Conns == before.Conns+1 }, bound, time.Millisecond)
		require.NoError(t, late.Close())
	}
	assert.Zero(t, p.Stats().Resets)
}

// TestHangEndsByItself has a proxy hang again and again, and all bytes come.
func TestHangEndsByItself(t *testing.T) {
	p := start(t, Config{
		Target:    serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(),
		HangAfter: Range{1, 200_000}, HangMax: 2 * time.Millisecond,
	})
	want := noise(1<<20, 1)
	got, err := roundTrip(dial(t, p), want)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	assert.GreaterOrEqual(t, p.Stats().Hangs, uint64(5))
}

// TestPauseInAHangStaysUntilResume: the hang's end does not end the pause, not even one that
// comes just when the pause begins.
func TestPauseInAHangStaysUntilResume(t *testing.T) {
	p := start(t, Config{
		Target:    serve(t, "tcp", "127.0.0.1:0", echo).Addr().String(),
		HangAfter: Range{2, 2}, HangMax: time.Minute,
	})
	c := dial(t, p)
	require.NoError(t, exchange(c, []byte{1}))
	require.Eventually(t, func() bool { return p.Stats().Hangs == 1 }, bound, time.Millisecond)
	gate := p.open()
	p.Pause()
	p.hangOver(gate)
	_, err := c.Write([]byte{2})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Stats().Held == 1 }, bound, time.Millisecond)
	p.Resume()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(bound)))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
}
