package anet_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
)

func TestWhatWriteWritesReadReads(t *testing.T) {
	for _, size := range []int{0, 1, 30, 31, 4096, 65535} {
		var wire bytes.Buffer
		payload := bytes.Repeat([]byte{'x'}, size)
		for range 2 {
			require.NoError(t, anet.Write(&wire, payload))
		}
		require.Equal(t, 2*(anet.LENGTHSIZE+size), wire.Len())
		got, err := anet.Read(&wire)
		require.NoError(t, err)
		require.NotNil(t, got)
		require.Equal(t, payload, got)
		got, err = anet.ReadPooled(&wire)
		require.NoError(t, err)
		require.Equal(t, payload, got)
		anet.PutBuffer(got)
		_, err = anet.Read(&wire)
		require.Equal(t, io.EOF, err)
	}
}

// writes counts calls of Write.
type writes struct {
	n   int
	err error
}

func (w *writes) Write(p []byte) (int, error) { w.n++; return len(p), w.err }

func TestFrameIsOneWrite(t *testing.T) {
	w := &writes{}
	require.NoError(t, anet.Write(w, make([]byte, 1000)))
	require.Equal(t, 1, w.n)
	require.Equal(t, anet.ErrMaxLenExceeded, anet.Write(w, make([]byte, 65536)))
	require.Equal(t, 1, w.n)
	w.err = errors.New("full")
	require.Equal(t, w.err, anet.Write(w, nil))
}

func TestEndInsideAFrameIsUnexpected(t *testing.T) {
	for wire, want := range map[string]error{
		"":            io.EOF,
		"\x00":        io.ErrUnexpectedEOF,
		"\x00\x02":    io.ErrUnexpectedEOF,
		"\x00\x02a":   io.ErrUnexpectedEOF,
		"\x00\x01a":   nil,
		"\x00\x00":    nil,
		"\xff\xffabc": io.ErrUnexpectedEOF,
	} {
		_, err := anet.Read(strings.NewReader(wire))
		require.Equal(t, want, err, "%q", wire)
		_, err = anet.ReadPooled(strings.NewReader(wire))
		require.Equal(t, want, err, "%q", wire)
	}
}

func TestBuffersHaveTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{-1, 0} {
		buf := anet.GetBuffer(size)
		require.NotNil(t, buf)
		require.Empty(t, buf)
	}
	for bits := range 18 {
		for _, size := range []int{1<<bits - 1, 1 << bits, 1<<bits + 1} {
			buf := anet.GetBuffer(size)
			require.Len(t, buf, size)
			anet.PutBuffer(buf)
		}
	}
	anet.PutBuffer(nil)
}

// A buffer of an odd capacity goes to the class below, so a caller that gets it finds
// room.
func TestForeignBufferIsNeverTooSmall(t *testing.T) {
	for range 100 {
		anet.PutBuffer(make([]byte, 10, 100))
		buf := anet.GetBuffer(100)
		require.Len(t, buf, 100)
		anet.PutBuffer(buf)
	}
}

func TestRingBufferIsAQueue(t *testing.T) {
	var none anet.RingBuffer[int]
	require.False(t, none.Enqueue(1))
	_, ok := none.Dequeue()
	require.False(t, ok)
	require.Zero(t, none.Len()+none.Cap())

	for size, capacity := range map[uint64]uint64{0: 1, 1: 1, 2: 2, 3: 4, 100: 128} {
		r := anet.NewRingBuffer[uint64](size)
		require.Equal(t, capacity, r.Cap())
		for round := range uint64(3) {
			for i := range capacity {
				require.True(t, r.Enqueue(round+i))
			}
			require.False(t, r.Enqueue(0))
			require.Equal(t, capacity, r.Len())
			for i := range capacity {
				item, ok := r.Dequeue()
				require.True(t, ok)
				require.Equal(t, round+i, item)
			}
			_, ok := r.Dequeue()
			require.False(t, ok)
		}
	}
}

func TestTaskHasNoContext(t *testing.T) {
	require.Nil(t, new(anet.Task).Context())
}
