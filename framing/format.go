package framing

import (
	"encoding/binary"
	"fmt"

	"github.com/ringwire/ringwire/taskid"
)

const (
	wideLengthSize = 4
	// The default bound of a wide frame. It is far below what the field can
	// hold because a receiver has to be ready to store that much for each
	// connection.
	wideMaxFrame = 16 << 20
	// The largest bound that may be configured. With it, sizes and offsets fit
	// into an int on 32-bit machines.
	wideMaxFrameLimit = 1 << 30
)

// Format describes a variant of the frame. The zero value is the anet frame.
// Nothing on the wire tells the formats apart: both ends must be set alike.
//
// A Format is a plain value, safe for concurrent use. Its methods have the
// contracts of the package's functions of the same names, with its own limits.
// They expect a Format that Validate accepts; a MaxFrame that the length field
// cannot hold is treated as the largest that it can, so no method ever writes a
// truncated length.
type Format struct {
	// LengthSize is the size of the length field in bytes: 2 or 4. 0 means 2.
	LengthSize int
	// MaxFrame is the largest value of the length field, which counts the task
	// ID and the payload, in bytes: 4 to 65,535 (the default) if LengthSize is
	// 2; 4 to 1 GiB, by default 16 MiB, if it is 4. 0 means the default. It
	// holds for both directions and cannot be turned off.
	MaxFrame int
}

// Validate returns an error that names the field, its value and the range, or
// nil if the Format is usable.
func (f Format) Validate() error {
	limit := maxLength
	switch f.LengthSize {
	case 0, LengthSize:
	case wideLengthSize:
		limit = wideMaxFrameLimit
	default:
		return fmt.Errorf("framing: Format.LengthSize is %d; use 2 or 4, or 0 for 2", f.LengthSize)
	}
	if f.MaxFrame != 0 && (f.MaxFrame < IDSize || f.MaxFrame > limit) {
		return fmt.Errorf("framing: Format.MaxFrame is %d; use %d to %d bytes, or 0 for the default",
			f.MaxFrame, IDSize, limit)
	}
	return nil
}

// WithDefaults returns the Format with its defaults written out.
func (f Format) WithDefaults() Format {
	if f.LengthSize == 0 {
		f.LengthSize = LengthSize
	}
	if f.MaxFrame == 0 {
		f.MaxFrame = f.maxLength()
	}
	return f
}

// HeaderSize returns the number of bytes in front of the payload: 6 or 8.
func (f Format) HeaderSize() int { return f.lengthSize() + IDSize }

// MaxPayload returns the size of the largest payload in bytes.
func (f Format) MaxPayload() int { return f.maxLength() - IDSize }

// Append appends one frame to b, like the function [Append].
func (f Format) Append(b []byte, id taskid.ID, payload []byte) ([]byte, error) {
	if f.isDefault() {
		return Append(b, id, payload)
	}
	b, err := f.appendHeader(b, id, len(payload))
	if err != nil {
		return b, err
	}
	return append(b, payload...), nil
}

// Reserve appends a gap for the header, like the function [Reserve].
func (f Format) Reserve(b []byte) []byte {
	var gap [wideLengthSize + IDSize]byte
	return append(b, gap[:f.HeaderSize()]...)
}

// Seal turns b[start:] into a frame, like the function [Seal].
func (f Format) Seal(b []byte, start int, id taskid.ID) error {
	if f.isDefault() {
		return Seal(b, start, id)
	}
	length, limit := len(b)-start-f.lengthSize(), f.maxLength()
	if length < IDSize {
		return invalid(int64(length), limit)
	}
	if length > limit {
		return exceeded(length, limit)
	}
	f.putHeader(b[start:], id, length)
	return nil
}

// Parse takes one frame off the front of b, like the function [Parse].
func (f Format) Parse(b []byte) (frame Frame, n int, err error) {
	if f.isDefault() {
		return Parse(b)
	}
	n, err = f.FrameSize(b)
	if n == 0 || n > len(b) {
		return Frame{}, 0, err
	}
	header := f.HeaderSize()
	id := binary.BigEndian.Uint32(b[header-IDSize:])
	return Frame{taskid.ID(id), b[header:n:n]}, n, nil
}

// FrameSize returns the size of the frame that b begins with, like the function
// [FrameSize].
func (f Format) FrameSize(b []byte) (n int, err error) {
	size := f.lengthSize()
	if len(b) < size {
		return 0, nil
	}
	// Unsigned until it is known to be in range: an int may have 32 bits.
	length := uint32(binary.BigEndian.Uint16(b))
	if size == wideLengthSize {
		length = binary.BigEndian.Uint32(b)
	}
	if limit := f.maxLength(); length < IDSize || int64(length) > int64(limit) {
		return 0, invalid(int64(length), limit)
	}
	return size + int(length), nil
}

// isDefault reports whether the format is the anet frame with nothing changed.
// Its methods then run the package's functions, inlined, in half the time.
func (f Format) isDefault() bool {
	return f.LengthSize != wideLengthSize && (f.MaxFrame == 0 || f.MaxFrame >= maxLength)
}

// appendHeader appends the header of a frame with that many bytes of payload,
// or returns b unchanged and the error of Append.
func (f Format) appendHeader(b []byte, id taskid.ID, payload int) ([]byte, error) {
	if limit := f.maxLength(); payload > limit-IDSize {
		return b, exceeded(IDSize+payload, limit)
	}
	start := len(b)
	b = f.Reserve(b)
	f.putHeader(b[start:], id, IDSize+payload)
	return b, nil
}

// putHeader overwrites the start of b with a header. The length is in range.
func (f Format) putHeader(b []byte, id taskid.ID, length int) {
	if f.LengthSize == wideLengthSize {
		binary.BigEndian.PutUint32(b, uint32(length))
		binary.BigEndian.PutUint32(b[wideLengthSize:], uint32(id))
		return
	}
	binary.BigEndian.PutUint16(b, uint16(length))
	binary.BigEndian.PutUint32(b[LengthSize:], uint32(id))
}

func (f Format) lengthSize() int {
	if f.LengthSize == wideLengthSize {
		return wideLengthSize
	}
	return LengthSize
}

// maxLength returns the largest value of the length field.
func (f Format) maxLength() int {
	standard, limit := maxLength, maxLength
	if f.LengthSize == wideLengthSize {
		standard, limit = wideMaxFrame, wideMaxFrameLimit
	}
	if f.MaxFrame == 0 {
		return standard
	}
	return min(f.MaxFrame, limit)
}
