package framing_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestPlainFramesFollowEachOther(t *testing.T) {
	var b []byte
	for _, payload := range []string{"one", "", "three"} {
		var err error
		b, err = framing.AppendPlain(b, []byte(payload))
		require.NoError(t, err)
	}
	var got []string
	for len(b) > 0 {
		payload, n := framing.ParsePlain(b)
		require.Equal(t, framing.LengthSize+len(payload), n)
		got = append(got, string(payload))
		b = b[n:]
	}
	require.Equal(t, []string{"one", "", "three"}, got)
}

func TestParsePlainAliasesItsInputAndCutsTheCapacity(t *testing.T) {
	b := []byte{0, 2, 'a', 'b', 'n', 'e', 'x', 't'}
	payload, n := framing.ParsePlain(b)
	require.Same(t, &b[2], &payload[0])
	require.Equal(t, 2, cap(payload))
	require.Equal(t, 4, n)
}

func TestAppendPlainRefusesOneByteTooMuchAndReturnsTheSliceUnchanged(t *testing.T) {
	payload := bytes.Repeat([]byte{1}, framing.MaxPlainPayload+1)
	b, err := framing.AppendPlain([]byte("front"), payload)
	requireLengthError(t, err, framing.ErrMaxLenExceeded, 65536)
	require.Equal(t, "front", string(b))

	b, err = framing.AppendPlain([]byte("front"), payload[1:])
	require.NoError(t, err)
	got, n := framing.ParsePlain(b[len("front"):])
	require.Equal(t, 65537, n)
	requireBytes(t, payload[1:], got)
}

// anet prepends the ID to the payload of a plain frame; that is the whole
// relation between the two.
func TestFrameIsAPlainFrameWhosePayloadBeginsWithTheID(t *testing.T) {
	framed, err := framing.Append(nil, 0x01020304, []byte("abc"))
	require.NoError(t, err)
	plain, err := framing.AppendPlain(nil, []byte("\x01\x02\x03\x04abc"))
	require.NoError(t, err)
	require.Equal(t, plain, framed)
}
