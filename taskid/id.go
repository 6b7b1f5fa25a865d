package taskid

import "strconv"

// ID names one request in flight on one connection. It travels in the frame
// and comes back unchanged in the reply.
//
//	 31              s s-1       0
//	┌─────────────────┬───────────┐
//	│ generation      │ slot      │    s = log2 of the table's capacity
//	└─────────────────┴───────────┘
//
// The slot is the place in the connection's [Table], the generation counts how
// often the place was used, so that a late reply to an earlier request never
// matches the slot's next one. Generation 0 is never issued.
type ID uint32

// None is the ID that names no request. A Table never issues it; on the wire it
// is reserved for control frames.
const None ID = 0

// String returns the ID as eight hexadecimal digits, the form used in logs.
func (id ID) String() string {
	s := strconv.FormatUint(uint64(id), 16)
	return "00000000"[len(s):] + s
}
