package tlswire_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/internal/tlswire"
)

// end is one end of a TLS connection, over a Wire.
type end struct {
	*tls.Conn
	w *tlswire.Wire
}

func (e end) tryRead(p []byte) (int, error)  { return e.w.TryRead(e.Conn, p) }
func (e end) tryWrite(p []byte) (int, error) { return e.w.TryWrite(e.Conn, p) }
func (e end) writeAll(p []byte) error        { _, err := e.w.WriteAll(e.Conn, p); return err }

// read waits until something has come and reads it.
func (e end) read(t testing.TB, p []byte) int {
	for {
		require.NoError(t, e.w.WaitRead())
		n, err := e.tryRead(p)
		require.NoError(t, err)
		if n > 0 {
			return n
		}
	}
}

// held keeps what is written while it is to, instead of sending it.
type held struct {
	net.Conn
	holds bool
	b     []byte
}

func (h *held) Write(p []byte) (int, error) {
	if h.holds {
		h.b = append(h.b, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// rig is a TLS connection: the server over a Wire, the client over one or not.
type rig struct {
	client end // w is nil if it has none
	server end
	below  *held // the client's, if it has no Wire
}

func secured(t testing.TB, version uint16, clientWire bool) rig {
	return securedOver(t, "tcp", "127.0.0.1:0", version, clientWire)
}

func securedOver(t testing.TB, network, addr string, version uint16, clientWire bool) rig {
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer ln.Close()
	a, err := net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	b, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	r := rig{below: &held{Conn: a}}
	below := net.Conn(r.below)
	if clientWire {
		r.client.w = wire(t, a)
		below = r.client.w
	}
	r.server.w = wire(t, b)
	ca := testca.New(t)
	r.client.Conn = tls.Client(below, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: version})
	r.server.Conn = tls.Server(r.server.w, &tls.Config{
		Certificates: []tls.Certificate{ca.Server(t, "localhost")}, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- r.server.Handshake() }()
	require.NoError(t, r.client.Handshake())
	require.NoError(t, <-done)
	return r
}

func wire(t testing.TB, nc net.Conn) *tlswire.Wire {
	if !rawio.Available {
		t.Skip("not available on this system")
	}
	w, ok := tlswire.New(nc)
	require.True(t, ok)
	return w
}

// encrypt returns the records that the client would send.
func (r rig) encrypt(t testing.TB, p []byte) []byte {
	r.below.holds, r.below.b = true, nil
	_, err := r.client.Write(p)
	require.NoError(t, err)
	r.below.holds = false
	return r.below.b
}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func TestBytesPassInBothDirections(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := secured(t, version, true)
			want := make([]byte, 3<<20)
			for i := range want {
				want[i] = byte(rand.Uint32())
			}
			echoed, sent := make(chan error, 1), make(chan error, 1)
			go func() { echoed <- echo(r.server) }()
			go func() { sent <- send(r.client, want) }()
			got, p := []byte(nil), make([]byte, 50_000)
			for len(got) < len(want) {
				got = append(got, p[:r.client.read(t, p)]...)
			}
			require.NoError(t, <-sent)
			require.NoError(t, <-echoed)
			require.True(t, bytes.Equal(want, got))
			for range 2 {
				require.NoError(t, r.client.w.WaitRead())
				_, err := r.client.tryRead(p)
				require.ErrorIs(t, err, io.EOF)
			}
		})
	}
}

// send sends b in pieces, and the end.
func send(e end, b []byte) error {
	for len(b) > 0 {
		n := min(1+rand.IntN(100<<10), len(b))
		if err := e.writeAll(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return e.CloseWrite()
}

// echo sends back what comes until the end.
func echo(e end) error {
	p := make([]byte, 64<<10)
	for {
		if err := e.w.WaitRead(); err != nil {
			return err
		}
		n, err := e.tryRead(p)
		switch {
		case errors.Is(err, io.EOF):
			return e.CloseWrite()
		case err != nil:
			return err
		case n > 0:
			if err := e.writeAll(p[:n]); err != nil {
				return err
			}
		}
	}
}

// What has come is read although another record has begun and does not end.
func TestARecordThatComesInPiecesHoldsUpNothing(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := secured(t, version, false)
			first, second := r.encrypt(t, []byte("first")), r.encrypt(t, bytes.Repeat([]byte("second"), 50))
			p := make([]byte, 64<<10)
			_, err := r.below.Write(append(bytes.Clone(first), second[:3]...))
			require.NoError(t, err)
			require.Equal(t, "first", string(p[:r.server.read(t, p)]))
			for _, b := range second[3 : len(second)-1] {
				_, err = r.below.Write([]byte{b})
				require.NoError(t, err)
				n, err := r.server.tryRead(p)
				require.NoError(t, err)
				require.Zero(t, n)
			}
			_, err = r.below.Write(second[len(second)-1:])
			require.NoError(t, err)
			require.Equal(t, 300, r.server.read(t, p))
		})
	}
}

// A record that does not fit the reader's buffer is read in several goes, the last of them
// without the socket.
func TestARecordIsReadInSmallPieces(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	want := bytes.Repeat([]byte("0123456789"), 100)
	require.NoError(t, r.client.writeAll(want))
	got, p := []byte(nil), make([]byte, 100)
	for len(got) < len(want) {
		got = append(got, p[:r.server.read(t, p)]...)
	}
	require.Equal(t, want, got)
	n, err := r.server.tryRead(p)
	require.NoError(t, err)
	require.Zero(t, n)
}

// A socket that keeps writes apart shows how many there were.
func TestAWriteIsOneSystemCall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no such sockets")
	}
	r := securedOver(t, "unixpacket", filepath.Join(t.TempDir(), "s"), tls.VersionTLS13, true)
	p := make([]byte, 64<<10)
	for range 2 { // of many small records first, as crypto/tls begins, then of larger ones
		const size = 40_000
		require.NoError(t, r.client.writeAll(make([]byte, size)))
		require.NoError(t, r.server.w.WaitRead())
		n, err := r.server.tryRead(p)
		require.NoError(t, err)
		require.Equal(t, size, n)
	}
}

// A write in pieces takes whole ones until the socket has no more room, and goes on where it was.
func TestAWriteInPiecesTakesWholeOnes(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	const piece = 10_000
	sent := make([]byte, 64<<20+1)
	n, err := r.client.w.TryWritePieces(r.client.Conn, sent, piece)
	require.NoError(t, err)
	require.Positive(t, n)
	require.Less(t, n, len(sent), "nobody reads")
	assert.Zero(t, n%piece)
	assert.True(t, r.client.w.Pending())
	got := make(chan int64, 1)
	go func() {
		n, err := io.Copy(io.Discard, r.server.Conn)
		assert.NoError(t, err)
		got <- n
	}()
	for n < len(sent) {
		m, err := r.client.w.TryWritePieces(r.client.Conn, sent[n:], piece)
		require.NoError(t, err)
		if n += m; m == 0 {
			runtime.Gosched()
		}
	}
	require.NoError(t, r.client.CloseWrite())
	assert.EqualValues(t, len(sent), <-got)
}

// TryWrite to a peer that does not read takes nothing that it has not sent whole, and goes on
// where it was when the peer reads.
func TestTryWriteGoesOnWhereItWas(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	sent, blocked := 0, 0
	piece := func() []byte {
		b := make([]byte, 60_000)
		for i := range b {
			b[i] = byte((sent + i) % 251)
		}
		return b
	}
	for blocked < 3 {
		n, err := r.client.tryWrite(piece())
		require.NoError(t, err)
		assert.Contains(t, []int{0, 60_000}, n)
		sent += n
		if n == 0 {
			blocked++
			assert.True(t, r.client.w.Pending())
		}
	}
	go func() {
		n, err := r.client.w.WriteAll(r.client.Conn, append(piece(), "end"...))
		assert.NoError(t, err)
		assert.Equal(t, 60_003, n)
		assert.NoError(t, r.client.CloseWrite())
	}()
	total, p := 0, make([]byte, 64<<10)
	var last []byte
	for {
		require.NoError(t, r.server.w.WaitRead())
		n, err := r.server.tryRead(p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for i, b := range p[:n] {
			if at := total + i; at < sent+60_000 && byte(at%251) != b {
				require.Fail(t, "a byte is wrong", "%d", at)
			}
		}
		total += n
		last = append(last, p[:n]...)
		last = last[max(0, len(last)-3):]
	}
	require.Equal(t, sent+60_003, total)
	require.Equal(t, "end", string(last))
}

func TestDeadlinesEndAWaitAndNothingElse(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	require.NoError(t, r.server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	require.ErrorIs(t, r.server.w.WaitRead(), os.ErrDeadlineExceeded)
	require.NoError(t, r.server.SetReadDeadline(time.Time{}))
	require.NoError(t, r.client.writeAll([]byte("hello")))
	p := make([]byte, 100)
	require.Equal(t, "hello", string(p[:r.server.read(t, p)]))
}

func TestAnAlertIsTold(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := secured(t, version, false)
			b := r.encrypt(t, []byte("hello"))
			b[len(b)-1] ^= 1
			_, err := r.below.Write(b)
			require.NoError(t, err)
			p := make([]byte, 100)
			for range 2 {
				require.NoError(t, r.server.w.WaitRead())
				_, err = r.server.tryRead(p)
				require.ErrorContains(t, err, "bad record MAC")
			}
			_, err = r.client.Read(p)
			require.ErrorContains(t, err, "bad record MAC", "the peer is told")
		})
	}
}

// A length that no record has is for crypto/tls to refuse, however little of it has come.
func TestARecordThatIsTooLongIsRefused(t *testing.T) {
	r := secured(t, tls.VersionTLS13, false)
	_, err := r.below.Write([]byte{23, 3, 3, 0xff, 0xff})
	require.NoError(t, err)
	require.NoError(t, r.server.w.WaitRead())
	_, err = r.server.tryRead(make([]byte, 100))
	require.ErrorContains(t, err, "oversized record")
}

func TestAResetIsTold(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	require.NoError(t, r.client.w.Conn.(*net.TCPConn).SetLinger(0))
	require.NoError(t, r.client.w.Conn.Close())
	p := make([]byte, 100)
	require.NoError(t, r.server.w.WaitRead())
	_, err := r.server.tryRead(p)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
}

func TestOtherConnectionsHaveNoWire(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_, ok := tlswire.New(a)
	assert.False(t, ok)
	tc, w := tlswire.Below(a)
	assert.Nil(t, tc)
	assert.Nil(t, w)
	_, w = tlswire.Below(tls.Client(a, &tls.Config{InsecureSkipVerify: true}))
	assert.Nil(t, w)
}
