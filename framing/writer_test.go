package framing_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// writes remembers each Write; after the first good ones it fails.
type writes struct {
	all  [][]byte
	good int
	err  error
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, bytes.Clone(p))
	if w.err != nil && len(w.all) > w.good {
		return 0, w.err
	}
	return len(p), nil
}

func TestWriterGathersFramesUntilFlush(t *testing.T) {
	for _, format := range formats() {
		c := codecOf(format)
		var dst writes
		var want []byte
		w := framing.NewWriter(&dst, format)
		for i := range 10 {
			require.NoError(t, w.WriteFrame(taskid.ID(i), []byte("payload")))
			want, _ = c.append(want, taskid.ID(i), []byte("payload"))
			require.Equal(t, len(want), w.Buffered())
		}
		require.Empty(t, dst.all)
		require.NoError(t, w.Flush())
		require.Equal(t, [][]byte{want}, dst.all)
		require.Zero(t, w.Buffered())
		require.NoError(t, w.Flush())
		require.Len(t, dst.all, 1, "nothing to flush, but a Write")
	}
}

func TestWriterCopiesThePayload(t *testing.T) {
	var out bytes.Buffer
	w := framing.NewWriter(&out, framing.Format{})
	payload := []byte("abc")
	require.NoError(t, w.WriteFrame(1, payload))
	copy(payload, "xyz")
	require.NoError(t, w.Flush())
	require.Equal(t, "\x00\x07\x00\x00\x00\x01abc", out.String())
}

func TestWriterWritesFramesOfEverySizeInOrder(t *testing.T) {
	for _, format := range []framing.Format{{}, {LengthSize: 4}} {
		stream, want := sample(t, codecOf(format), 16370, 3, 16376, 16378, 65531, 0, 40000, 1)
		var out bytes.Buffer
		w := framing.NewWriter(&out, format)
		r := framing.NewReader(bytes.NewReader(stream), format)
		for {
			frame, err := r.ReadFrame()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			require.NoError(t, w.WriteFrame(frame.ID, frame.Payload))
			require.LessOrEqual(t, w.Buffered(), 16<<10)
		}
		require.NoError(t, w.Flush())
		requireBytes(t, stream, out.Bytes())
		if readerOutcome(&out, format) != want {
			t.Fatalf("%+v: frames differ", format)
		}
	}
}

func TestWriterGoesOnAfterAPayloadThatDoesNotFit(t *testing.T) {
	var out bytes.Buffer
	w := framing.NewWriter(&out, framing.Format{})
	require.NoError(t, w.WriteFrame(1, []byte("a")))
	err := w.WriteFrame(2, make([]byte, framing.MaxPayload+1))
	requireLengthError(t, err, framing.ErrMaxLenExceeded, 65536)
	require.NoError(t, w.WriteFrame(3, []byte("b")))
	require.NoError(t, w.Flush())
	require.Equal(t, "\x00\x05\x00\x00\x00\x01a\x00\x05\x00\x00\x00\x03b", out.String())
}

func TestWriterReturnsTheDestinationsErrorEverAfter(t *testing.T) {
	broken := errors.New("broken pipe")
	dst := &writes{good: 1, err: broken}
	w := framing.NewWriter(dst, framing.Format{})
	require.NoError(t, w.WriteFrame(1, []byte("a")))
	require.NoError(t, w.Flush())
	require.NoError(t, w.WriteFrame(2, []byte("b")))
	require.Equal(t, broken, w.Flush())
	attempts := len(dst.all)
	for range 3 {
		require.Equal(t, broken, w.WriteFrame(3, []byte("c")))
		require.Equal(t, broken, w.Flush())
	}
	require.Len(t, dst.all, attempts, "wrote behind a torn frame")
}
