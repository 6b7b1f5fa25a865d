package framing

import "github.com/ringwire/ringwire/taskid"

// The anet frame, big endian throughout:
//
//	 0              1 2                             5 6
//	┌────────────────┬───────────────────────────────┬─────────────────────┐
//	│ length         │ task ID                       │ payload             │
//	│ uint16         │ uint32                        │ 0 to 65,531 bytes   │
//	└────────────────┴───────────────────────────────┴─────────────────────┘
//	                 │◀─────────────── length bytes ──────────────────────▶│
//
// The length counts what follows it, ID and payload, and not itself. The wide
// frame differs in one thing: its length is a uint32, and so its ID starts at
// byte 4.
const (
	// LengthSize is the size of the length field in bytes.
	LengthSize = 2
	// IDSize is the size of the task ID in bytes, the same in every [Format].
	IDSize = 4
	// HeaderSize is the number of bytes in front of the payload.
	HeaderSize = LengthSize + IDSize
	// MaxPayload is the size of the largest payload in bytes.
	MaxPayload = maxLength - IDSize

	maxLength = 1<<(8*LengthSize) - 1
)

// Frame is one request or one reply.
type Frame struct {
	// ID names the request. The reply carries the ID of its request.
	ID taskid.ID
	// Payload is part of the slice the frame was parsed from: it has the same
	// owner and is valid for as long as that slice is. It may be empty, but in
	// a parsed frame it is never nil, and appending to it never overwrites the
	// bytes behind it.
	Payload []byte
}
