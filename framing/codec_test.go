package framing_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// codec lets a test run over the package's functions and over a Format's
// methods, which have the same contract.
type codec struct {
	name                   string
	headerSize, maxPayload int

	append    func(b []byte, id taskid.ID, payload []byte) ([]byte, error)
	reserve   func(b []byte) []byte
	seal      func(b []byte, start int, id taskid.ID) error
	parse     func(b []byte) (framing.Frame, int, error)
	frameSize func(b []byte) (int, error)
}

var anetCodec = codec{
	"functions", framing.HeaderSize, framing.MaxPayload,
	framing.Append, framing.Reserve, framing.Seal, framing.Parse, framing.FrameSize,
}

func codecOf(f framing.Format) codec {
	return codec{
		"format", f.HeaderSize(), f.MaxPayload(),
		f.Append, f.Reserve, f.Seal, f.Parse, f.FrameSize,
	}
}

// codecs returns the variants that differ in code: the fast path, the fast path
// behind the methods, a lower limit, and the wide frame with small and default
// limits.
func codecs() []codec {
	all := []codec{anetCodec}
	for _, f := range formats() {
		all = append(all, codecOf(f))
	}
	return all
}

func formats() []framing.Format {
	return []framing.Format{
		{},
		{LengthSize: 2, MaxFrame: 65535},
		{MaxFrame: 24},
		{LengthSize: 4, MaxFrame: 24},
		{LengthSize: 4},
	}
}

// lengthSize returns the size of the codec's length field.
func (c codec) lengthSize() int { return c.headerSize - framing.IDSize }

// limit returns the largest value of the codec's length field.
func (c codec) limit() int { return c.maxPayload + framing.IDSize }

// header returns a header with any value in the length field.
func (c codec) header(length uint32, id taskid.ID) []byte {
	b := []byte{
		byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length),
		byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id),
	}
	return b[4-c.lengthSize():]
}

func forEachCodec(t *testing.T, test func(t *testing.T, c codec)) {
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) { test(t, c) })
	}
}

func requireLengthError(t *testing.T, err, sentinel error, length int64) {
	t.Helper()
	require.ErrorIs(t, err, sentinel)
	var e *framing.LengthError
	require.True(t, errors.As(err, &e), "%v is no LengthError", err)
	require.Equal(t, length, e.Length)
}

// requireBytes compares without printing megabytes.
func requireBytes(t *testing.T, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Fatalf("got %d bytes %x…, want %d bytes %x…", len(got), head(got), len(want), head(want))
	}
}

func head(b []byte) []byte { return b[:min(len(b), 32)] }
