//go:build invariant

package anet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
)

func TestReturningABufferTwicePanics(t *testing.T) {
	buf := anet.GetBuffer(50_000)
	anet.PutBuffer(buf)
	require.Panics(t, func() { anet.PutBuffer(buf) })
	require.NotZero(t, buf[0], "a returned buffer is overwritten")
}
