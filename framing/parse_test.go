package framing_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

func TestParseTakesOneFrameAfterTheOther(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		var b []byte
		for i, payload := range []string{"", "a", "bc"} {
			var err error
			b, err = c.append(b, taskid.ID(i+1), []byte(payload))
			require.NoError(t, err)
		}
		var got []string
		for len(b) > 0 {
			frame, n, err := c.parse(b)
			require.NoError(t, err)
			require.Equal(t, c.headerSize+len(frame.Payload), n)
			got = append(got, frame.ID.String()+string(frame.Payload))
			b = b[n:]
		}
		require.Equal(t, []string{"00000001", "00000002a", "00000003bc"}, got)
	})
}

func TestParseAliasesItsInputAndCutsTheCapacity(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		for _, payload := range []string{"", "abc"} {
			b, err := c.append(nil, 1, []byte(payload))
			require.NoError(t, err)
			b = append(b, "next"...)
			frame, n, err := c.parse(b)
			require.NoError(t, err)
			require.Len(t, frame.Payload, len(payload))
			require.Equal(t, len(payload), cap(frame.Payload))
			if len(payload) > 0 {
				require.Same(t, &b[c.headerSize], &frame.Payload[0])
			}
			_ = append(frame.Payload, "XXXX"...)
			require.Equal(t, "next", string(b[n:]), "appending to a payload overwrote the next frame")
		}
	})
}

// Every value of the length field near its limits, with nothing behind it.
func TestParseJudgesTheLengthAsSoonAsItIsThere(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		lengths := []uint32{0, 1, 2, 3, 4, 5, uint32(c.limit()) - 1, uint32(c.limit())}
		if c.limit() < 65535 || c.lengthSize() == 4 {
			lengths = append(lengths, uint32(c.limit())+1, 65535)
		}
		if c.lengthSize() == 4 {
			lengths = append(lengths, 65536, 1<<30, 1<<31-1, 1<<31, 1<<32-4, 1<<32-1)
		}
		for _, length := range lengths {
			field := c.header(length, 0)[:c.lengthSize()]
			frame, n, err := c.parse(field)
			size, sizeErr := c.frameSize(field)
			require.Zero(t, n)
			require.Zero(t, frame)
			if 4 <= length && int64(length) <= int64(c.limit()) {
				require.NoError(t, err)
				require.NoError(t, sizeErr)
				require.Equal(t, c.lengthSize()+int(length), size)
				continue
			}
			requireLengthError(t, err, framing.ErrInvalidMsgLength, int64(length))
			requireLengthError(t, sizeErr, framing.ErrInvalidMsgLength, int64(length))
			require.Zero(t, size)
		}
	})
}

func TestParseWaitsForTheLengthField(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		for _, first := range []byte{0x00, 0xff} {
			for size := range c.lengthSize() {
				b := bytes.Repeat([]byte{first}, size)
				_, n, err := c.parse(b)
				require.NoError(t, err)
				require.Zero(t, n)
				n, err = c.frameSize(b)
				require.NoError(t, err)
				require.Zero(t, n)
			}
		}
	})
}

func TestIDTravelsUnchanged(t *testing.T) {
	forEachCodec(t, func(t *testing.T, c codec) {
		for _, id := range []taskid.ID{0, 1, 0x80, 0xff00, 0x01020304, 0x7fffffff, 0x80000000, 0xffffffff} {
			b, err := c.append(nil, id, nil)
			require.NoError(t, err)
			requireBytes(t, c.header(4, id), b)
			frame, _, err := c.parse(b)
			require.NoError(t, err)
			require.Equal(t, id, frame.ID)
		}
	})
}
