package framing_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// script is a source that runs one step per Read, then returns io.EOF. It
// remembers the largest slice it was given.
type script struct {
	steps   []func(p []byte) (int, error)
	reads   int
	largest int
}

func (s *script) Read(p []byte) (int, error) {
	s.largest = max(s.largest, len(p))
	s.reads++
	if s.reads > len(s.steps) {
		return 0, io.EOF
	}
	return s.steps[s.reads-1](p)
}

func gives(b []byte, err error) func(p []byte) (int, error) {
	return func(p []byte) (int, error) { return copy(p, b), err }
}

// sample returns a stream of frames with payloads of these sizes, and how it
// decodes.
func sample(t *testing.T, c codec, sizes ...int) (stream []byte, want string) {
	t.Helper()
	for i, size := range sizes {
		var err error
		stream, err = c.append(stream, taskid.ID(i+1), bytes.Repeat([]byte{byte(i + 1)}, size))
		require.NoError(t, err)
	}
	return stream, referenceOutcome(c, stream)
}

func TestReaderReturnsTheFramesHoweverTheyArrive(t *testing.T) {
	for _, format := range []framing.Format{{}, {LengthSize: 4}} {
		// Frames around and above the buffer's first size and its doublings.
		stream, want := sample(t, codecOf(format),
			0, 1, 100, 16370, 16378, 16379, 5, 32768, 7, 65531, 0, 65531, 12)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole":         func(r io.Reader) io.Reader { return r },
			"byte by byte":  iotest.OneByteReader,
			"half":          iotest.HalfReader,
			"data with EOF": iotest.DataErrReader,
		} {
			t.Run(name, func(t *testing.T) {
				if got := readerOutcome(wrap(bytes.NewReader(stream)), format); got != want {
					t.Fatalf("%+v: frames differ", format)
				}
			})
		}
	}
}

func TestReaderReadsAllThatIsThereAtOnce(t *testing.T) {
	stream, _ := sample(t, anetCodec, 8, 8, 8, 8)
	src := &script{steps: []func([]byte) (int, error){gives(stream, nil)}}
	r := framing.NewReader(src, framing.Format{})
	for i := range 4 {
		frame, err := r.ReadFrame()
		require.NoError(t, err)
		require.Equal(t, taskid.ID(i+1), frame.ID)
		require.Equal(t, (3-i)*14, r.Buffered())
		require.Equal(t, 1, src.reads)
	}
	_, err := r.ReadFrame()
	require.Equal(t, io.EOF, err)
	_, err = r.ReadFrame()
	require.Equal(t, io.EOF, err)
}

func TestReaderReportsAnEndInsideAFrame(t *testing.T) {
	stream, _ := sample(t, anetCodec, 3)
	for end := 1; end < len(stream); end++ {
		r := framing.NewReader(bytes.NewReader(stream[:end]), framing.Format{})
		_, err := r.ReadFrame()
		require.Equal(t, io.ErrUnexpectedEOF, err, "%d bytes", end)
		_, err = r.ReadFrame()
		require.Equal(t, io.ErrUnexpectedEOF, err, "%d bytes, again", end)
	}
}

func TestReaderReportsABadLengthAfterTheGoodFramesAndEveryTimeAfter(t *testing.T) {
	stream, _ := sample(t, anetCodec, 3)
	r := framing.NewReader(bytes.NewReader(append(stream, 0, 2, 9, 9, 9, 9)), framing.Format{})
	frame, err := r.ReadFrame()
	require.NoError(t, err)
	require.Len(t, frame.Payload, 3)
	for range 3 {
		_, err = r.ReadFrame()
		requireLengthError(t, err, framing.ErrInvalidMsgLength, 2)
	}
}

func TestReaderGoesOnAfterATimeout(t *testing.T) {
	timeout := errors.New("i/o timeout")
	stream, _ := sample(t, anetCodec, 3, 4)
	src := &script{steps: []func([]byte) (int, error){
		gives(stream[:4], timeout), // some bytes, then the deadline
		gives(nil, timeout),        // the deadline alone
		gives(stream[4:], nil),
	}}
	r := framing.NewReader(src, framing.Format{})
	for range 2 {
		_, err := r.ReadFrame()
		require.Equal(t, timeout, err)
	}
	for _, size := range []int{3, 4} {
		frame, err := r.ReadFrame()
		require.NoError(t, err)
		require.Len(t, frame.Payload, size)
	}
	_, err := r.ReadFrame()
	require.Equal(t, io.EOF, err)
}

func TestReaderReturnsBufferedFramesBeforeTheSourcesError(t *testing.T) {
	broken := errors.New("connection reset")
	stream, _ := sample(t, anetCodec, 3, 4)
	src := &script{steps: []func([]byte) (int, error){gives(stream, broken)}}
	r := framing.NewReader(src, framing.Format{})
	for range 2 {
		_, err := r.ReadFrame()
		require.NoError(t, err)
	}
	_, err := r.ReadFrame()
	require.Equal(t, broken, err)
}

func TestReaderGivesUpOnASourceWithoutProgress(t *testing.T) {
	src := &script{}
	for range 1000 {
		src.steps = append(src.steps, gives(nil, nil))
	}
	_, err := framing.NewReader(src, framing.Format{}).ReadFrame()
	require.Equal(t, io.ErrNoProgress, err)
	require.Equal(t, 100, src.reads)
}

func TestReaderSurvivesASourceThatLiesAboutItsCount(t *testing.T) {
	for _, n := range []int{-1, 1 << 20} {
		src := &script{steps: []func([]byte) (int, error){func([]byte) (int, error) { return n, nil }}}
		_, err := framing.NewReader(src, framing.Format{}).ReadFrame()
		require.ErrorContains(t, err, "impossible byte count")
	}
}

// A peer that announces 16 MiB and sends little must not cost 16 MiB.
func TestReaderGrowsWithWhatArrivedNotWithWhatWasAnnounced(t *testing.T) {
	format := framing.Format{LengthSize: 4}
	src := &script{steps: []func([]byte) (int, error){
		gives(codecOf(format).header(16<<20, 1), nil),
		gives(make([]byte, 10000), nil),
	}}
	_, err := framing.NewReader(src, format).ReadFrame()
	require.Equal(t, io.ErrUnexpectedEOF, err)
	require.LessOrEqual(t, src.largest, 16<<10)
}

func TestReaderNeverGrowsPastTheLargestFrame(t *testing.T) {
	for _, format := range []framing.Format{{}, {LengthSize: 4, MaxFrame: 100000}} {
		c := codecOf(format)
		stream, want := sample(t, c, c.maxPayload, c.maxPayload, 1, c.maxPayload)
		src := &largestRead{src: bytes.NewReader(stream)}
		if readerOutcome(src, format) != want {
			t.Fatalf("%+v: frames differ", format)
		}
		require.LessOrEqual(t, src.largest, c.headerSize+c.maxPayload)
	}
}

type largestRead struct {
	src     io.Reader
	largest int
}

func (l *largestRead) Read(p []byte) (int, error) {
	l.largest = max(l.largest, len(p))
	return l.src.Read(p)
}

func TestReaderAndWriterReturnTheErrorOfABadFormat(t *testing.T) {
	bad := framing.Format{LengthSize: 3}
	r := framing.NewReader(bytes.NewReader([]byte{0, 4, 0, 0, 0, 1}), bad)
	_, err := r.ReadFrame()
	require.Equal(t, bad.Validate(), err)

	var out bytes.Buffer
	w := framing.NewWriter(&out, bad)
	require.Equal(t, bad.Validate(), w.WriteFrame(1, nil))
	require.NoError(t, w.Flush())
	require.Zero(t, out.Len())
}
