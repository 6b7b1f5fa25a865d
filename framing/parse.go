package framing

import (
	"encoding/binary"

	"github.com/ringwire/ringwire/taskid"
)

// Parse takes one frame off the front of b and returns its size in bytes,
// header included. A size of 0 without an error means that b does not hold a
// whole frame yet: read more and try again.
//
// A length field that cannot be right is reported as soon as it is there,
// without waiting for the rest, by a [LengthError] that wraps
// [ErrInvalidMsgLength]. After an error the stream is unusable.
//
// The payload is not copied: it is b[HeaderSize:n:n], belongs to the owner of b,
// and its capacity is cut, so that appending to it leaves the next frame alone.
func Parse(b []byte) (f Frame, n int, err error) {
	// FrameSize, written out: calling it would make Parse too large to inline.
	if len(b) < LengthSize {
		return f, 0, nil
	}
	length := int(binary.BigEndian.Uint16(b))
	if length < IDSize {
		return f, 0, invalid(int64(length), maxLength)
	}
	n = LengthSize + length
	if n > len(b) {
		return f, 0, nil
	}
	f.ID = taskid.ID(binary.BigEndian.Uint32(b[LengthSize:]))
	f.Payload = b[HeaderSize:n:n]
	return f, n, nil
}

// FrameSize returns the size in bytes, header included, of the frame that b
// begins with, which may be more than b holds; 0 without an error means that b
// is too short to tell. A reader that collects a frame in pieces learns from
// it how much is still to come. Its error is that of [Parse].
func FrameSize(b []byte) (n int, err error) {
	if len(b) < LengthSize {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(b))
	if length < IDSize {
		return 0, invalid(int64(length), maxLength)
	}
	return LengthSize + length, nil
}
