package framing

import "encoding/binary"

// MaxPlainPayload is the size in bytes of the largest payload of a frame without
// a task ID.
const MaxPlainPayload = maxLength

// AppendPlain appends one frame without a task ID to b and returns the extended
// slice: a uint16, big endian, then as many bytes of payload. anet's Read and
// Write exchange such frames; nothing but the order matches replies to requests.
//
// A payload larger than [MaxPlainPayload] is refused: AppendPlain then returns b
// unchanged and a [LengthError] that wraps [ErrMaxLenExceeded]. The payload is
// copied, and must not lie in the unused capacity of b.
func AppendPlain(b, payload []byte) ([]byte, error) {
	if len(payload) > MaxPlainPayload {
		return b, &LengthError{int64(len(payload)), 0, MaxPlainPayload, ErrMaxLenExceeded}
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...), nil
}

// ParsePlain takes one frame without a task ID off the front of b and returns
// its size in bytes, length field included; 0 means that b does not hold a whole
// frame yet. There is no error, since every length is a valid one.
//
// The payload is part of b, its capacity cut: b[LengthSize:n:n]. An empty one is
// not nil.
func ParsePlain(b []byte) (payload []byte, n int) {
	if len(b) < LengthSize {
		return nil, 0
	}
	n = LengthSize + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, 0
	}
	return b[LengthSize:n:n], n
}
