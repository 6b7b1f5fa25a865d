package bench

import (
	"encoding/binary"
	"fmt"
)

// A request's payload names the caller that sent it and which of its requests it is, so
// that an echo can be told from every other one that is or was in flight:
//
//	[uint32 caller][uint32 number][bytes that depend on the caller]
//
// Both numbers are big endian.
const identityBytes = 8

// newRequest returns a payload of n bytes, at least identityBytes, for a caller.
func newRequest(n int, caller uint32) []byte {
	req := make([]byte, n)
	binary.BigEndian.PutUint32(req, caller)
	for i := identityBytes; i < n; i++ {
		req[i] = byte(caller) + byte(caller>>8)*31 + byte(i)
	}
	return req
}

// setNumber makes req the caller's number'th request.
func setNumber(req []byte, number uint32) {
	binary.BigEndian.PutUint32(req[4:], number)
}

// mismatch describes a reply that is not its request's echo, without quoting it.
func mismatch(req, reply []byte) error {
	want := fmt.Sprintf("caller %d's request %d (%d bytes)",
		binary.BigEndian.Uint32(req), binary.BigEndian.Uint32(req[4:]), len(req))
	if len(reply) != len(req) {
		return fmt.Errorf("wrong reply: %s was answered with %d bytes", want, len(reply))
	}
	caller, number := binary.BigEndian.Uint32(reply), binary.BigEndian.Uint32(reply[4:])
	if caller == binary.BigEndian.Uint32(req) && number == binary.BigEndian.Uint32(req[4:]) {
		return fmt.Errorf("wrong reply: %s came back with other bytes", want)
	}
	return fmt.Errorf("wrong reply: %s got the reply of caller %d's request %d", want, caller, number)
}
