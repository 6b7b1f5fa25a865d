package tlswire_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/tlswire"
)

// A goroutine that computes has a place, and has none while it waits for the socket or for something else.
func TestAPlaceIsHeldWhileNothingIsWaitedFor(t *testing.T) {
	r := secured(t, tls.VersionTLS13, false)
	places, done := make(chan struct{}, 1), make(chan struct{})
	require.NoError(t, r.server.w.Compute(places, done))
	assert.Len(t, places, 1)
	r.server.w.Aside(func() { assert.Empty(t, places) })
	assert.Len(t, places, 1)

	read := make(chan error, 1)
	go func() {
		_, err := r.server.Read(make([]byte, 1))
		read <- err
	}()
	places <- struct{}{} // the reader has given it up: it waits
	<-places
	_, err := r.client.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, <-read)
	assert.Len(t, places, 1, "it has it back")

	require.NoError(t, r.server.w.Compute(nil, nil))
	assert.Empty(t, places)
}

// Those that wait for one place get it one after another, and let everybody run in between.
func TestWhoHasAPlaceLetsOthersRunFirst(t *testing.T) {
	const many = 20
	pairs := make([]rig, many)
	for i := range pairs {
		pairs[i] = secured(t, tls.VersionTLS13, false)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	places := make(chan struct{}, 1)
	places <- struct{}{}
	var computed, chain, longest atomic.Int64
	var all sync.WaitGroup
	for _, r := range pairs {
		all.Go(func() {
			_ = r.server.w.Compute(places, nil)
			computed.Add(1)
			longest.Store(max(longest.Load(), chain.Add(1))) // by one at a time
			_ = r.server.w.Compute(nil, nil)
		})
	}
	runtime.Gosched() // they wait
	<-places
	for computed.Load() < many {
		chain.Store(0)
		runtime.Gosched()
	}
	all.Wait()
	assert.Less(t, longest.Load(), int64(many/2), "so many in a row while another goroutine was to run")
}

// The wait for a place ends, and says why, when nobody is to wait any more.
func TestTheWaitForAPlaceEnds(t *testing.T) {
	r := secured(t, tls.VersionTLS13, false)
	places, done := make(chan struct{}, 1), make(chan struct{})
	places <- struct{}{} // of somebody who never ends
	close(done)
	require.ErrorContains(t, r.server.w.Compute(places, done), "too many handshakes at once")
	_, err := r.client.Write([]byte("x"))
	require.NoError(t, err)
	_, err = r.server.Read(make([]byte, 1))
	require.ErrorContains(t, err, "too many handshakes at once")
	assert.Len(t, places, 1, "it is that of the other one")
}

// A Read of crypto/tls waits, also after a TryRead that did not.
func TestAReadWaitsAfterATryRead(t *testing.T) {
	r := secured(t, tls.VersionTLS13, false)
	p := make([]byte, 100)
	_, err := r.below.Write(r.encrypt(t, []byte("first")))
	require.NoError(t, err)
	require.Equal(t, 5, r.server.read(t, p))
	require.NoError(t, r.server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = r.server.Read(p)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// Over a connection without a socket of its own a place is given up for each Read and Write, which
// may wait; what was read needs one again.
func TestALayerOverAnyConnectionGivesItsPlaceUpToWait(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	l := tlswire.Over(near)
	assert.Same(t, near, l.NetConn())
	places, done := make(chan struct{}, 1), make(chan struct{})
	require.NoError(t, l.Compute(places, done))
	assert.Len(t, places, 1)
	l.Aside(func() { assert.Empty(t, places) })
	assert.Len(t, places, 1)

	ended := make(chan error, 1)
	for what, wait := range map[string]func(p []byte) (int, error){"Read": l.Read, "Write": l.Write} {
		go func() { _, err := wait([]byte{1}); ended <- err }()
		places <- struct{}{} // the other one waits, and has given it up
		go func() { <-places }()
		peer := far.Read
		if what == "Read" {
			peer = far.Write
		}
		_, err := peer([]byte{1})
		require.NoError(t, err)
		require.NoError(t, <-ended, what)
		l.Aside(func() {}) // as Read does after a Write
	}
	require.NoError(t, l.Compute(nil, nil))
	assert.Empty(t, places)

	require.NoError(t, l.Compute(places, done))
	go func() { _, err := l.Read([]byte{1}); ended <- err }()
	places <- struct{}{} // of somebody who never ends
	close(done)
	_, err := far.Write([]byte{1})
	require.NoError(t, err)
	require.ErrorContains(t, <-ended, "too many handshakes at once")
	assert.Len(t, places, 1, "it is that of the other one")
	require.NoError(t, l.Compute(nil, nil))
	go func() { _, err := l.Read([]byte{1}); ended <- err }()
	require.NoError(t, far.Close())
	require.ErrorIs(t, <-ended, io.EOF)
	l.Release()
}
