package framing

import (
	"encoding/binary"

	"github.com/ringwire/ringwire/taskid"
)

// Append appends one frame to b and returns the extended slice. A payload
// larger than [MaxPayload] is refused: Append then returns b unchanged and a
// [LengthError] that wraps [ErrMaxLenExceeded].
//
// The payload is copied; Append keeps neither slice. The payload must not lie in
// the unused capacity of b.
func Append(b []byte, id taskid.ID, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return b, exceeded(IDSize+len(payload), maxLength)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(IDSize+len(payload)))
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	return append(b, payload...), nil
}

// Reserve appends the gap that [Seal] fills, [HeaderSize] bytes of zeros, and
// returns the extended slice. The frame starts where b ended.
func Reserve(b []byte) []byte {
	var gap [HeaderSize]byte
	return append(b, gap[:]...)
}

// Seal turns b[start:] into a frame: the gap that [Reserve] left at b[start] is
// overwritten with the header, and everything behind it is the payload. So a
// handler can append its reply to the output buffer before anybody knows its
// size, and nothing is copied.
//
// When the payload is larger than [MaxPayload], Seal returns a [LengthError] that
// wraps [ErrMaxLenExceeded]; when b ends inside the gap, one that wraps
// [ErrInvalidMsgLength]. Either way b keeps its bytes: cut it back to b[:start]
// and put another reply there, or none. A negative start panics.
func Seal(b []byte, start int, id taskid.ID) error {
	length := len(b) - start - LengthSize
	if length < IDSize {
		return invalid(int64(length), maxLength)
	}
	if length > maxLength {
		return exceeded(length, maxLength)
	}
	binary.BigEndian.PutUint16(b[start:], uint16(length))
	binary.BigEndian.PutUint32(b[start+LengthSize:], uint32(id))
	return nil
}
