package framing

import (
	"errors"
	"io"
)

// The size of a Reader's buffer to begin with, and of a Writer's. Both are
// bytes.
const bufferSize = 16 << 10

// As many times a source may return neither bytes nor an error (as in bufio).
const maxEmptyReads = 100

var errBadCount = errors.New("framing: source returned an impossible byte count from Read")

// Reader reads frames from an [io.Reader], as many at a time as one Read yields.
// It owns its buffer and uses it again for every frame. The buffer starts at
// 16 KiB, doubles while bytes of a larger frame arrive, and never grows past the
// largest frame of the [Format]: a peer that announces much and sends little
// costs little.
//
// A Reader reads ahead, so nobody else may read from the source. It is not safe
// for concurrent use.
type Reader struct {
	src    io.Reader
	format Format
	// buf[head:tail] was read and not returned yet.
	buf        []byte
	head, tail int
	// What src returned together with its last bytes; due when they are used up.
	pending error
	// From Format.Validate, returned by every ReadFrame.
	refused error
}

// NewReader returns a Reader of frames of that format. If [Format.Validate]
// refuses the format, every ReadFrame returns its error.
func NewReader(src io.Reader, format Format) *Reader {
	return &Reader{src: src, format: format, refused: format.Validate()}
}

// ReadFrame returns the next frame. The payload belongs to the Reader and is
// valid until the next call.
//
// At the end of the source ReadFrame returns io.EOF if the last frame was
// complete, and io.ErrUnexpectedEOF if it was not. A length out of range is
// reported before the frame has arrived, by a [LengthError] that wraps
// [ErrInvalidMsgLength], again on every further call. Other errors are the
// source's own; no byte is lost by them, so after a timeout ReadFrame may be
// called again.
func (r *Reader) ReadFrame() (Frame, error) {
	if r.refused != nil {
		return Frame{}, r.refused
	}
	// Ends: each round adds at least a byte to a frame of bounded size.
	for {
		frame, n, err := r.format.Parse(r.buf[r.head:r.tail])
		if n > 0 || err != nil {
			r.head += n
			return frame, err
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

// Buffered returns the number of bytes that were read from the source and belong
// to frames not returned yet.
func (r *Reader) Buffered() int { return r.tail - r.head }

// fill adds at least one byte to the incomplete frame in the buffer, or returns
// an error.
func (r *Reader) fill() error {
	if err := r.pending; err != nil {
		r.pending = nil
		return r.ended(err)
	}
	r.makeRoom()
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.tail:])
		if n < 0 || n > len(r.buf)-r.tail {
			return errBadCount
		}
		if n > 0 {
			r.tail += n
			r.pending = err
			return nil
		}
		if err != nil {
			return r.ended(err)
		}
	}
	return io.ErrNoProgress
}

// makeRoom leaves at least one free byte behind tail. What is in the buffer is
// less than one frame, so a byte is moved to the front at most once.
func (r *Reader) makeRoom() {
	if r.head > 0 {
		r.tail = copy(r.buf, r.buf[r.head:r.tail])
		r.head = 0
	}
	if r.tail < len(r.buf) {
		return
	}
	// A full buffer without a whole frame is smaller than the largest frame, so
	// the bound leaves room for growth.
	largest := r.format.HeaderSize() + r.format.MaxPayload()
	grown := make([]byte, max(bufferSize, min(2*len(r.buf), largest)))
	copy(grown, r.buf[:r.tail])
	r.buf = grown
}

// ended tells an end between two frames from one inside a frame.
func (r *Reader) ended(err error) error {
	if err == io.EOF && r.tail > r.head {
		return io.ErrUnexpectedEOF
	}
	return err
}
