package tlswire_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/invariant"
)

// What cannot be written is told by each way to write, also when it is tried again.
func TestAFailedWriteIsTold(t *testing.T) {
	write := map[string]func(e end) error{
		"WriteAll": func(e end) error { return e.writeAll([]byte("x")) },
		"TryWrite": func(e end) error { _, err := e.tryWrite([]byte("x")); return err },
		"Write":    func(e end) error { _, err := e.Write([]byte("x")); return err },
	}
	fail := map[string]func(nc *net.TCPConn) error{"closed": (*net.TCPConn).Close, "shut down": (*net.TCPConn).CloseWrite}
	for how, write := range write {
		for what, fail := range fail {
			t.Run(how+", "+what, func(t *testing.T) {
				r := secured(t, tls.VersionTLS13, true)
				require.NoError(t, fail(r.client.w.Conn.(*net.TCPConn)))
				for range 2 {
					require.Error(t, write(r.client))
				}
			})
		}
	}
}

// A socket tells once that it was reset. A TryRead, which does not wait, tells it as well.
func TestAResetThatATryReadFindsIsTold(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	require.NoError(t, r.client.w.Conn.(*net.TCPConn).SetLinger(0))
	require.NoError(t, r.client.w.Conn.Close())
	p := make([]byte, 100)
	var err error
	for err == nil {
		runtime.Gosched()
		_, err = r.server.tryRead(p)
	}
	require.NotErrorIs(t, err, io.EOF)
}

// fill writes pieces until output waits for the peer, and returns a piece and how much was taken.
func (e end) fill(t *testing.T) (piece []byte, total int) {
	t.Helper()
	piece = bytes.Repeat([]byte("p"), 60_000)
	for !e.w.Pending() {
		n, err := e.tryWrite(piece)
		require.NoError(t, err)
		total += n
	}
	return piece, total
}

// drain reads until the peer has sent all, and tells then how much that was.
func (e end) drain(t *testing.T) <-chan int64 {
	read := make(chan int64, 1)
	go func() {
		n, err := io.Copy(io.Discard, e.Conn)
		assert.NoError(t, err)
		read <- n
	}()
	return read
}

// While output waits for a peer that does not read, what crypto/tls has to say waits behind it,
// and the caller that has it say something does not.
func TestAnAnswerDoesNotWaitForPendingOutput(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	piece, total := r.client.fill(t)
	require.NoError(t, r.client.CloseWrite())
	require.NoError(t, r.client.w.Conn.SetWriteDeadline(time.Time{})) // CloseWrite lets no more be written
	read := r.server.drain(t)
	require.NoError(t, r.client.writeAll(piece))
	assert.EqualValues(t, total+len(piece), <-read)
}

// A write that begins after one which had to go on is written from its beginning.
func TestAWriteAfterOneThatHasGoneOnIsWhole(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	piece, total := r.client.fill(t)
	read := r.server.drain(t)
	require.NoError(t, r.client.writeAll(piece))
	assert.False(t, r.client.w.Pending())
	require.NoError(t, r.client.writeAll([]byte("more")))
	require.NoError(t, r.client.CloseWrite())
	assert.EqualValues(t, total+len(piece)+4, <-read)
}

// crypto/tls may have asked for a record of which there is only a part. It goes on when the rest has
// come, with nothing behind it.
func TestARecordThatWasBegunIsReadWhenTheRestHasCome(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := secured(t, version, false)
			first, second := bytes.Clone(r.encrypt(t, []byte("first"))), r.encrypt(t, []byte("second"))
			_, err := r.below.Write(append(first, second[:10]...))
			require.NoError(t, err)
			p := make([]byte, len("first")) // filled, so that there may be more
			require.Equal(t, len(p), r.server.read(t, p))
			for range 2 {
				n, err := r.server.tryRead(p)
				require.NoError(t, err)
				require.Zero(t, n)
			}
			_, err = r.below.Write(second[10:])
			require.NoError(t, err)
			p = make([]byte, 100)
			require.Equal(t, "second", string(p[:r.server.read(t, p)]))
		})
	}
}

// No memory is held while nothing is under way, and none after Release whatever was.
func TestNoMemoryIsHeldWhileNothingIsUnderWay(t *testing.T) {
	if !invariant.Enabled {
		t.Skip("only builds that count buffers tell")
	}
	lent := bytepool.Outstanding()
	r := secured(t, tls.VersionTLS13, true)
	p := make([]byte, 1000)
	require.NoError(t, r.client.writeAll([]byte("all")))
	require.Equal(t, 3, r.server.read(t, p))
	n, err := r.server.tryRead(p)
	require.NoError(t, err)
	require.Zero(t, n)
	assert.Equal(t, lent, bytepool.Outstanding())
	n, err = r.client.tryWrite([]byte("at once"))
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.Equal(t, 7, r.server.read(t, p))
	assert.Equal(t, lent, bytepool.Outstanding())

	for !r.client.w.Pending() {
		_, err := r.client.tryWrite(make([]byte, 60_000))
		require.NoError(t, err)
	}
	require.Positive(t, r.server.read(t, p))
	assert.Greater(t, bytepool.Outstanding(), lent+1)
	r.client.w.Release()
	r.server.w.Release()
	assert.Equal(t, lent, bytepool.Outstanding())
}
