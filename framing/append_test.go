package framing_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestAppendKeepsWhatIsInFront(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		b, err := c.append([]byte("front"), 0x01020304, []byte("back"))
		require.NoError(t, err)
		want := append([]byte("front"), c.header(8, 0x01020304)...)
		requireBytes(t, append(want, "back"...), b)
	})
}

func TestAppendRefusesOneByteTooMuchAndReturnsTheSliceUnchanged(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		payload := bytes.Repeat([]byte{0x5a}, c.maxPayload+1)
		b := append(make([]byte, 0, 64), "front"...)
		got, err := c.append(b, 1, payload)
		requireLengthError(t, err, framing.ErrMaxLenExceeded, int64(c.limit())+1)
		require.Len(t, got, len(b))
		require.Same(t, &b[0], &got[0])
		require.Equal(t, make([]byte, 64-len(b)), b[len(b):cap(b)], "wrote behind the end")

		got, err = c.append(b, 1, payload[1:])
		require.NoError(t, err)
		require.Len(t, got, len(b)+c.headerSize+c.maxPayload)
	})
}

func TestAppendUsesExactlyTheCapacityItNeeds(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		room := make([]byte, c.headerSize+3)
		b, err := c.append(room[:0], 1, []byte("abc"))
		require.NoError(t, err)
		require.Same(t, &room[0], &b[0])
	})
}

func TestReserveLeavesAZeroedGapOfTheHeadersSize(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		dirty := bytes.Repeat([]byte{0xff}, 32)
		require.Equal(t, append([]byte{0xff}, make([]byte, c.headerSize)...), c.reserve(dirty[:1]))
	})
}

func TestSealEqualsAppend(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		var want, got []byte
		for size := 0; size <= min(c.maxPayload, 300); size++ {
			payload := bytes.Repeat([]byte{byte(size)}, size)
			var err error
			want, err = c.append(want, 7, payload)
			require.NoError(t, err)

			start := len(got)
			got = append(c.reserve(got), payload...)
			require.NoError(t, c.seal(got, start, 7))
		}
		requireBytes(t, want, got)
	})
}

func TestSealTakesTheLargestPayloadAndRefusesOneByteMore(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		b := append([]byte("front"), make([]byte, c.headerSize+c.maxPayload)...)
		require.NoError(t, c.seal(b, 5, 9))
		frame, n, err := c.parse(b[5:])
		require.NoError(t, err)
		require.Equal(t, len(b)-5, n)
		require.Len(t, frame.Payload, c.maxPayload)

		b = append(b, 0)
		before := bytes.Clone(b)
		err = c.seal(b, 5, 10)
		requireLengthError(t, err, framing.ErrMaxLenExceeded, int64(c.limit())+1)
		requireBytes(t, before, b)
	})
}

// A handler that returns less than it was given must not take the server down.
func TestSealRefusesASliceThatEndsInsideTheGap(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		b := bytes.Repeat([]byte{0xee}, 5+c.headerSize)
		for end := range b {
			before := bytes.Clone(b)
			err := c.seal(b[:end], 5, 9)
			requireLengthError(t, err, framing.ErrInvalidMsgLength, int64(end-5-c.lengthSize()))
			requireBytes(t, before, b)
		}
		require.NoError(t, c.seal(b, 5, 9))
	})
}
