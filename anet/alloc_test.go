//go:build !race && !invariant

package anet_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
)

func TestBuffersAndWriteDoNotAlloc(t *testing.T) {
	payload := make([]byte, 100)
	require.Zero(t, int(testing.AllocsPerRun(1000, func() { anet.PutBuffer(anet.GetBuffer(1000)) })))
	require.Zero(t, int(testing.AllocsPerRun(1000, func() { _ = anet.Write(io.Discard, payload) })))
}

// The reply's memory is the caller's.
func TestSendAllocsTheReplyOnly(t *testing.T) {
	b := start(t, 1, nil, newOwnPool(1, dialer(echo(t))))
	req := make([]byte, 64)
	send := func() {
		if _, err := b.Send(&req); err != nil {
			t.Error(err)
		}
	}
	for range 100 {
		send()
	}
	require.LessOrEqual(t, testing.AllocsPerRun(1000, send), 2.0)
}
