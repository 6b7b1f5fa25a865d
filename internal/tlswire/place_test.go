package tlswire_test

import (
	"crypto/tls"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
