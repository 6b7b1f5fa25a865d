package framing

import (
	"bufio"
	"io"

	"github.com/ringwire/ringwire/taskid"
)

// Writer writes frames to an [io.Writer]. It gathers small frames in a buffer of
// 16 KiB; the destination sees them when the buffer is full or on Flush. A large
// payload is written from the caller's slice.
//
// A Writer is not safe for concurrent use.
type Writer struct {
	dst    *bufio.Writer
	format Format
	// The header under construction; here because it would escape otherwise.
	header [wideLengthSize + IDSize]byte
	// From Format.Validate, returned by every WriteFrame.
	refused error
}

// NewWriter returns a Writer of frames of that format. If [Format.Validate]
// refuses the format, every WriteFrame returns its error.
func NewWriter(dst io.Writer, format Format) *Writer {
	return &Writer{
		dst:     bufio.NewWriterSize(dst, bufferSize),
		format:  format,
		refused: format.Validate(),
	}
}

// WriteFrame writes one frame, or buffers it until Flush. The payload is the
// caller's again when WriteFrame returns.
//
// A payload larger than [Format.MaxPayload] is refused with a [LengthError] that
// wraps [ErrMaxLenExceeded]; nothing of it is written and the Writer goes on.
// After an error of the destination nobody knows how much of which frame is out:
// WriteFrame and Flush return that error ever after.
func (w *Writer) WriteFrame(id taskid.ID, payload []byte) error {
	if w.refused != nil {
		return w.refused
	}
	header, err := w.format.appendHeader(w.header[:0], id, len(payload))
	if err != nil {
		return err
	}
	if _, err := w.dst.Write(header); err != nil {
		return err
	}
	_, err = w.dst.Write(payload)
	return err
}

// Flush writes what is buffered to the destination.
func (w *Writer) Flush() error { return w.dst.Flush() }

// Buffered returns the number of bytes that wait for Flush.
func (w *Writer) Buffered() int { return w.dst.Buffered() }
